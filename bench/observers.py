"""What watching costs a hit, in one process and one run.

    python bench/observers.py [rounds] [calls]

Prints microseconds per call of `client.create` answered by L1 and its ratio to bare: bare (no
report, no observer), with the report that `samecall top` shows (the default), and with each
observer. The ways take turns in rounds of a few calls, and the fastest tenth of a way's rounds
counts, so that what else the machine does is left out.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from hit import client, question, timed
from samecall import Cache
from samecall.instructor import cached
from samecall.logs import LogObserver
from samecall.otel import OpenTelemetryObserver
from samecall.prometheus import PrometheusObserver

__all__ = ["measure"]

BARE = "bare"


def ways() -> dict[str, dict[str, Any]]:
    telemetry = OpenTelemetryObserver(
        tracer_provider=TracerProvider(), meter_provider=MeterProvider([InMemoryMetricReader()])
    )
    return {
        BARE: {"report": False},
        "report (default)": {},
        "logs": {"observers": [LogObserver()]},
        "prometheus": {"observers": [PrometheusObserver(None)]},
        "otel": {"observers": [telemetry]},
    }


async def measure(rounds: int, calls: int) -> dict[str, float]:
    """Microseconds of a call, by way."""
    took: dict[str, list[float]] = {name: [] for name in ways()}
    async with AsyncExitStack() as stack:
        asks: dict[str, Callable[[], Awaitable[Any]]] = {}
        for name, settings in ways().items():
            cache = await stack.enter_async_context(Cache(**settings))
            create = cached(client(), cache).create
            asks[name] = lambda create=create: create(**question())
            await asks[name]()
        await asyncio.sleep(0.1)  # what is on its way to a store gets there
        names = list(asks)
        for number in range(rounds):
            at = number % len(names)
            for name in names[at:] + names[:at]:
                took[name].append(await timed(asks[name], calls))
            await asyncio.sleep(0)
    return {name: statistics.quantiles(times, n=10)[0] for name, times in took.items()}


def main() -> None:
    rounds, calls = (int(word) for word in (sys.argv[1:] + ["500", "20"][len(sys.argv) - 1 :]))
    figures = asyncio.run(measure(rounds, calls))
    for name, micros in figures.items():
        print(f"{name:18} {micros:8.1f} us  {micros / figures[BARE]:6.3f}")


if __name__ == "__main__":
    main()
