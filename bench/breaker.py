"""Breaker: what a call costs while Redis is known to be away, alone and beside 100 others.

    python bench/breaker.py [calls]

Redis is gone and the breaker open; its probe goes on in the background. Each call has a key of its
own and a provider that answers after 10 ms. "added" is what a call waited beyond that. The same
calls through a bare `asyncio.sleep` and a `memory://` cache, in turn in the same run, show what the
machine and the event loop add by themselves. Promised: at most 5 ms more for a call. A hundred
calls that begin at one moment on one loop are done one after the other: the last column is what
each of them takes of the processor, and the last of them waits for all.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable

from samecall import Cache, Policy
from samecall.testing import LocalServer

LATENCY = 0.01
TOGETHER = 100
Ask = Callable[[], Awaitable[object]]


async def _call() -> str:
    await asyncio.sleep(LATENCY)
    return "answer"


async def _added(ask: Ask) -> float:
    began = time.perf_counter()
    await ask()
    return time.perf_counter() - began - LATENCY


def _through(cache: Cache) -> Ask:
    return lambda: cache.get_or_call(os.urandom(16), _call)


def _row(name: str, times: list[float], each: float | None) -> str:
    ordered = sorted(times)
    p50, p99 = (ordered[int(len(ordered) * part)] for part in (0.5, 0.99))
    took = "" if each is None else f"{each * 1e6:.0f}"
    return f"| {name} | {p50 * 1000:.2f} | {p99 * 1000:.2f} | {ordered[-1] * 1000:.2f} | {took} |"


async def measure(
    url: str, stop: Callable[[], None], calls: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds that calls waited beyond their provider, by what they went through; and for each of
    those at once, seconds of the processor.
    """
    away = Cache(url, policy=Policy(bulkhead=TOGETHER))
    memory = Cache()
    ways: dict[str, Ask] = {
        "the bare call": _call,
        "memory://": _through(memory),
        "breaker open": _through(away),
    }
    await ways["breaker open"]()
    stop()
    while away.statistics().store_faults == 0:
        await ways["breaker open"]()
    found: dict[str, list[float]] = {}
    took: dict[str, float] = {}
    for _ in range(calls):
        for name, ask in ways.items():
            found.setdefault(f"{name}, alone", []).append(await _added(ask))
    bursts = max(1, calls // TOGETHER)
    for _ in range(bursts):
        for way, ask in ways.items():
            name, before = f"{way}, {TOGETHER} at once", time.process_time()
            burst = await asyncio.gather(*(_added(ask) for _ in range(TOGETHER)))
            each = (time.process_time() - before) / TOGETHER / bursts
            took[name] = took.get(name, 0.0) + each
            found.setdefault(name, []).extend(burst)
    await away.aclose()
    await memory.aclose()
    return found, took


def main() -> None:
    """Print the table."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with LocalServer() as server:
        found, took = asyncio.run(measure(server.url, server.kill, calls))
    print("| calls through | added p50 ms | p99 | most | µs of CPU a call |")
    print("|---|---|---|---|---|")
    for name, times in found.items():
        print(_row(name, times, took.get(name)))


if __name__ == "__main__":
    main()
