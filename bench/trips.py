"""Round trips, counted by a proxy; a leader's way to its call; connections; copies that end.

python bench/trips.py [--redis URL] [--short] [--json FILE] [--rounds N] [--tasks N] [--wait S]

None of the counts depends on the machine. A round trip is a request that is sent after a reply.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis
from rich.progress import track

from common import Row, arguments, percentile, redis_url, report
from samecall import L1, Cache, Policy
from samecall._entry import Key
from samecall._redis import names
from samecall._redis.scripts import ACQUIRE
from samecall.testing import FaultProxy

__all__ = ["before_the_call", "copies", "crowd", "trips"]

PATIENT = Policy(op_timeout=10)
"""What is counted is to be counted on a busy machine, too."""
LARGE = os.urandom(100_000).hex()
"""More than rides in a message."""
FOLLOWERS = 100
BARE = "samecall-bench-trips:bare"


async def answer() -> str:
    return "answer"


def new_key() -> Key:
    return Key(os.urandom(32), "samecall-bench-trips")


async def settled(cache: Cache) -> None:
    """Return once every answer is stored."""
    while cache._rooms.here().flights.statistics().storing:
        await asyncio.sleep(0.001)


async def warm(cache: Cache) -> None:
    """Make its connections, and let it hear of changes."""
    await cache.get_or_call(new_key(), answer)
    await settled(cache)
    await asyncio.sleep(0.1)


async def spent(proxy: FaultProxy, act: Callable[[], Awaitable[object]]) -> tuple[int, int]:
    """Round trips and commands."""
    before = proxy.counts()
    await act()
    after = proxy.counts()
    return after.round_trips - before.round_trips, after.commands - before.commands


async def _led(proxy: FaultProxy, cache: Cache) -> tuple[int, int]:
    """Round trips of a leader before its call, and after it."""
    at: list[int] = [proxy.counts().round_trips]

    async def call() -> str:
        at.append(proxy.counts().round_trips)
        return "answer"

    await cache.get_or_call(new_key(), call)
    await settled(cache)
    return at[1] - at[0], proxy.counts().round_trips - at[1]


async def _waited(url: str, l1: L1 | None, *waits: tuple[str, float]) -> list[tuple[int, int]]:
    """Round trips and commands of 100 who wait in one process for a call of another, each time.

    waits: what the call answers, and the seconds that it takes. The first wait is not counted: it
    makes the connection that listens.
    """
    counted: list[tuple[int, int]] = []
    async with (
        FaultProxy(url) as proxy,
        Cache(url, policy=PATIENT, report=False) as leads,
        Cache(proxy.url, policy=PATIENT, l1=l1, report=False) as follows,
        Redis.from_url(url) as raw,
    ):
        await warm(follows)
        for text, seconds in (("first", 0.1), *waits):
            key, gate, called = new_key(), asyncio.Event(), asyncio.Event()

            async def call(
                text: str = text, gate: asyncio.Event = gate, called: asyncio.Event = called
            ) -> str:
                called.set()
                await gate.wait()
                return text

            async def follow(
                key: Key = key, seconds: float = seconds, gate: asyncio.Event = gate
            ) -> None:
                ask = follows.get_or_call
                waiting = [asyncio.ensure_future(ask(key, answer)) for _ in range(FOLLOWERS)]
                channel = names.channel(key, raw.connection_pool.connection_kwargs.get("db", 0))
                while (await raw.pubsub_numsub(channel))[0][1] == 0:
                    await asyncio.sleep(0.001)
                await asyncio.sleep(seconds)  # the second look goes out meanwhile
                gate.set()
                await asyncio.gather(*waiting)

            leading = asyncio.ensure_future(leads.get_or_call(key, call))
            await called.wait()
            counted.append(await spent(proxy, follow))
            await leading
        if follows.statistics().coalesced_remote != FOLLOWERS * len(counted):
            raise RuntimeError(f"not all of them followed: {follows.statistics()}")
    return counted[1:]


async def trips(url: str, wait: float) -> list[Row]:
    """What each way of a request sends."""
    # without copies in memory, nobody listens for their changes with a PING a second
    long = asyncio.ensure_future(_waited(url, None, ("answer", wait)))
    tries = [await _waited(url, L1(), ("answer", 0.1), (LARGE, 0.1)) for _ in range(3)]
    # the least of three: a PING of the line that hears of changes may have come between
    followed, read = (min(each[at][0] for each in tries) for at in range(2))
    key = new_key()
    async with (
        FaultProxy(url) as proxy,
        Cache(proxy.url, policy=PATIENT, report=False) as near,
        Cache(proxy.url, policy=PATIENT, report=False, l1=None) as cache,
    ):
        await warm(near)
        await warm(cache)
        await near.get_or_call(key, answer)
        await settled(near)
        nearest, _ = await spent(proxy, lambda: near.get_or_call(key, answer))
        hit, _ = await spent(proxy, lambda: cache.get_or_call(key, answer))
        before, after = await _led(proxy, cache)
    [(_, waited)] = await long
    return [
        Row("round trips of an L1 hit", nearest, "", "0", nearest == 0),
        Row("round trips of an L2 hit", hit, "", "1", hit == 1),
        Row("round trips of a leader before its call", before, "", "1", before == 1),
        Row("round trips of a leader after it, its caller gone", after, "", "1", after == 1),
        # ACQUIRE, SUBSCRIBE, the second look
        Row(f"round trips of {FOLLOWERS} followers in another process", followed, "", "at most 3",
            followed <= 3),
        Row("the same, an answer too large to ride", read, "", "at most 4", read <= 4),
        Row(f"commands of a wait of {wait:g} s", waited, "", "at most 20", waited <= 20),
    ]  # fmt: skip


async def before_the_call(url: str, rounds: int) -> list[Row]:
    """From the question to the provider's call, beside a bare command of redis-py."""
    ways: dict[str, list[float]] = {"ours": [], "bare": [], "script": []}
    async with Cache(url, policy=PATIENT, report=False) as cache, Redis.from_url(url) as raw:
        await warm(cache)
        how = (*ACQUIRE.head, 1, os.urandom(16), b"%012d" % 5000)
        for number in track(range(rounds + 20), "before the call"):
            began = time.perf_counter()
            await raw.get(BARE)
            bare = time.perf_counter() - began
            name, began = names.value(new_key()), time.perf_counter()
            await raw.execute_command("EVALSHA", ACQUIRE.sha, 1, name, 1, *how)
            script = time.perf_counter() - began
            called: list[float] = []

            async def call(called: list[float] = called) -> str:
                called.append(time.perf_counter())
                return "answer"

            key, began = new_key(), time.perf_counter()
            await cache.get_or_call(key, call)
            if number >= 20:
                ways["bare"].append(bare)
                ways["script"].append(script)
                ways["ours"].append(called[0] - began)
            await settled(cache)
    us = {way: 1e6 * statistics.median(each) for way, each in ways.items()}
    times = us["ours"] / us["bare"]
    return [
        Row("a leader's way to its call, over a bare round trip", times, "times", "at most 1.5",
            times <= 1.5, "",
            f"GET {us['bare']:.0f} µs, ACQUIRE sent bare {us['script'] / us['bare']:.2f} times"),
    ]  # fmt: skip


async def crowd(url: str, tasks: int) -> list[Row]:
    """So many tasks at once: half find an answer, half lead, and some follow another process."""
    gate, calls = asyncio.Event(), 0

    async def call() -> str:
        nonlocal calls
        calls += 1
        return "answer"

    async def slow() -> str:
        answered = await call()
        await gate.wait()
        return answered

    # on a busy machine so many take longer than a lease, which nobody is to take over here
    policy = Policy(op_timeout=60, lease=600)
    with FaultProxy.in_thread(url) as proxy:
        async with (
            Cache(proxy.url, policy=policy, report=False) as cache,
            Cache(url, policy=policy, report=False) as other,
        ):
            keys = [new_key() for _ in range(tasks)]
            await asyncio.gather(*(other.get_or_call(key, call) for key in keys[::2]))
            await settled(other)
            led = [asyncio.ensure_future(other.get_or_call(key, slow)) for key in keys[1:200:2]]
            while calls < len(keys[::2]) + len(led):
                await asyncio.sleep(0.001)
            asked = asyncio.gather(*(cache.get_or_call(key, call) for key in keys))
            store: Any = cache._rooms.here().store.store
            while store.statistics()["bells"] < len(led):
                await asyncio.sleep(0.001)
            gate.set()
            await asyncio.gather(asked, *led)
            await settled(cache)
            opened, seen = proxy.counts().connections, cache.statistics()
    wrong = abs(calls - tasks) + seen.store_faults + seen.errors
    return [
        Row(f"{tasks:,} tasks at once: connections of the process", opened, "", "at most 4",
            opened <= 4),
        Row(f"{tasks:,} tasks at once: errors, store faults, calls too many", wrong, "", "0",
            wrong == 0),
    ]  # fmt: skip


async def copies(url: str, rounds: int) -> list[Row]:
    """From a `forget` to the end of the copy in another cache's memory."""
    found: list[float] = []
    async with (
        Cache(url, policy=PATIENT, report=False) as one,
        Cache(url, policy=PATIENT, report=False) as other,
    ):
        for cache in (one, other):
            await warm(cache)
        held = other._rooms.here().l1
        if held is None:
            raise RuntimeError("this cache keeps copies")
        for _ in track(range(rounds), "copies"):
            key = new_key()
            await one.get_or_call(key, answer)
            await settled(one)
            await other.get_or_call(key, answer)
            if held.look(key) is None:
                raise RuntimeError("there is no copy to drop")
            began = time.perf_counter()
            forgetting = asyncio.ensure_future(one.forget(key))
            while held.look(key) is not None:
                await asyncio.sleep(0)
            found.append(1000 * (time.perf_counter() - began))
            await forgetting
    p99 = percentile(found, 0.99)
    return [
        Row("a copy in another L1 ends after a forget, p50", statistics.median(found), "ms"),
        Row("the same, p99", p99, "ms", "at most 10", p99 <= 10),
    ]  # fmt: skip


async def measure(told: Any, url: str) -> list[Row]:
    """All rows."""
    return [
        *await trips(url, told.wait),
        *await before_the_call(url, told.rounds),
        *await crowd(url, told.tasks),
        *await copies(url, told.rounds),
    ]


def main() -> None:
    """Print the rows."""
    told = arguments(__doc__, rounds=(1_000, 300), tasks=(10_000, 10_000), wait=(30, 30))
    with redis_url(told.redis) as url:
        rows = asyncio.run(measure(told, url))
    report(rows, told.json)


if __name__ == "__main__":
    main()
