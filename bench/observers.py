"""What watching costs, in one process and one run.

    python bench/observers.py [rounds] [calls]

Prints microseconds per call of `client.create` and its ratio to bare: bare (no report, no
observer), with the report that `samecall top` shows (the default), and with each observer; for a
hit in memory, a hit in a Valkey server of this machine (L1 off), one of 50 callers who ask the same
at once, and a miss whose provider answers at once. The ways take turns in rounds of a few calls,
and the fastest tenth of a way's rounds counts, so that what else the machine does is left out. Then
what OpenTelemetry's SDK itself takes for a bare span, for one like a follower's, and for one number
in a histogram, which is the floor of what an observer can cost.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, SpanContext

from hit import client, question, timed
from samecall import Cache
from samecall.instructor import cached
from samecall.logs import LogObserver
from samecall.otel import OpenTelemetryObserver
from samecall.prometheus import PrometheusObserver
from samecall.testing.servers import LocalServer

__all__ = ["measure"]

BARE = "bare"
AT_ONCE = 50
Ask = Callable[[], Awaitable[Any]]


def hit(create: Callable[..., Awaitable[Any]]) -> Ask:
    return lambda: create(**question())


def miss(create: Callable[..., Awaitable[Any]]) -> Ask:
    numbers = itertools.count()
    return lambda: create(**question(f"Ada is {next(numbers)}"))


def together(create: Callable[..., Awaitable[Any]]) -> Ask:
    numbers = itertools.count()

    async def ask() -> None:
        asked = question(f"Ada is {next(numbers)}")
        await asyncio.gather(*(create(**asked) for _ in range(AT_ONCE)))

    return ask


def kinds(url: str) -> dict[str, tuple[Callable[..., Ask], dict[str, Any], int]]:
    """By name: what is asked, of which cache, and how many calls that is."""
    return {
        "a hit in memory": (hit, {}, 1),
        "a hit in Valkey": (hit, {"url_or_store": url, "l1": None}, 1),
        f"one of {AT_ONCE} at once": (together, {}, AT_ONCE),
        "a miss": (miss, {}, 1),
    }


def telemetry(share: float = 1.0, **more: Any) -> OpenTelemetryObserver:
    """One whose spans are sampled: so many of all."""
    return OpenTelemetryObserver(
        tracer_provider=TracerProvider(sampler=ParentBased(TraceIdRatioBased(share))),
        meter_provider=MeterProvider([InMemoryMetricReader()]),
        **more,
    )


def ways() -> dict[str, dict[str, Any]]:
    return {
        BARE: {"report": False},
        "report (default)": {},
        "logs": {"observers": [LogObserver()]},
        "prometheus": {"observers": [PrometheusObserver(None)]},
        "otel": {"observers": [telemetry()]},
        "otel, callers=False": {"observers": [telemetry(callers=False)]},
        "otel, 5 % sampled": {"observers": [telemetry(0.05)]},
    }


def floors(rounds: int, calls: int) -> dict[str, float]:
    """Microseconds that the SDK takes by itself."""
    tracer = TracerProvider().get_tracer("floor")
    meter = MeterProvider([InMemoryMetricReader()]).get_meter("floor")
    histogram = meter.create_histogram("floor", "s")
    labels = {"samecall.how": "l2", "gen_ai.request.model": "m", "gen_ai.provider.name": "openai"}
    facts = {f"fact {number}": "some text" for number in range(5)}
    links = [Link(SpanContext(1, 2, is_remote=True), {"samecall.link": "leader"})]
    kinds: dict[str, Callable[[], object]] = {
        "a bare span": lambda: tracer.start_span("s").end(),
        "a span with 8 attributes and a link": lambda: tracer.start_span(
            "s", attributes={**labels, **facts}, links=links
        ).end(),
        "a number in a histogram": lambda: histogram.record(0.1, labels),
    }
    took: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, act in kinds.items():
            began = time.perf_counter()
            for _ in range(calls):
                act()
            took[name].append((time.perf_counter() - began) / calls * 1e6)
    return {name: statistics.quantiles(times, n=10)[0] for name, times in took.items()}


async def measure(
    asking: Callable[..., Ask], of: dict[str, Any], rounds: int, calls: int
) -> dict[str, float]:
    """Microseconds of what is asked, by way."""
    took: dict[str, list[float]] = {name: [] for name in ways()}
    async with AsyncExitStack() as stack:
        asks: dict[str, Ask] = {}
        for name, settings in ways().items():
            cache = await stack.enter_async_context(Cache(**of, **settings, namespace=name))
            asks[name] = asking(cached(client(), cache).create)
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
    with LocalServer() as server:
        for kind, (asking, of, each) in kinds(server.url).items():
            print(kind)
            few, some = (rounds, calls) if each == 1 else (rounds // 5, max(1, calls // 10))
            figures = asyncio.run(measure(asking, of, few, some))
            for name, micros in figures.items():
                part = micros / figures[BARE]
                print(f"  {name:20} {micros / each:8.1f} us  {part:6.3f}")
    print("OpenTelemetry's SDK alone")
    for name, micros in floors(rounds, calls).items():
        print(f"  {name:36} {micros:8.1f} us")


if __name__ == "__main__":
    main()
