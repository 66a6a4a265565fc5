"""Cancels: storms of cancellations and timeouts over the Redis store and the cache.

    python bench/cancels.py [cancels] [url]
    python bench/cancels.py [cancels] cluster

Every key and answer is unique, so that an answer to another question is seen. In the store's way
stands a proxy that delays replies and breaks them into pieces; a cluster (three primaries, three
replicas) is met without it, since its nodes name each other's addresses. Promised: no crossed
answer; no lease, subscription, connection or task left. The control shows that the harness can see
a crossing: plain redis-py with its own defaults hands out a stray reply, our store does not.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import ResponseError

from samecall import Cache, Policy
from samecall._entry import Entry, Key, Kind, Payload, encode_entry, new_stamp
from samecall._errors import StoreError
from samecall._ports import Failed, Hit, Lead
from samecall._redis import RedisStore, open_redis
from samecall.testing import FaultProxy, LocalCluster, LocalServer

__all__ = ["LOOPS", "SOURCES", "Storm", "control", "run", "storm"]

PATIENT = 60.0
WORKERS = 400
LOOPS = ("asyncio", "uvloop")


@dataclass(slots=True)
class Storm:
    """What one storm came to."""

    asked: int = 0
    cancelled: int = 0
    completed: int = 0
    crossed: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    leaked: list[str] = field(default_factory=list)
    connections: int = 0

    def judge(self, what: str, got: object, wanted: object) -> None:
        """An answer to another question is a crossing."""
        if got != wanted:
            self.crossed.append(f"{what}: {got!r:.80} for {wanted!r:.80}")


# --- what is asked ------------------------------------------------------------------------------


@dataclass(slots=True)
class Ground:
    """Two stores and four caches, as of two processes, on one server."""

    storm: Storm
    stores: list[RedisStore]
    caches: list[Cache]


def _key(namespace: str = "storm") -> Key:
    return Key(os.urandom(32), namespace)


def _data(key: Key, kind: Kind = Kind.VALUE) -> bytes:
    return encode_entry(key, Entry(kind, Payload("t", key.digest), new_stamp(), 600.0, 600.0))


async def _set_and_get(ground: Ground) -> None:
    store, key = random.choice(ground.stores), _key()
    data = _data(key)
    await store.set(key, data, 600.0)
    found = await store.get(key)
    ground.storm.judge("get", found and found.data, data)


async def _lead_and_commit(ground: Ground) -> None:
    one, two = ground.stores
    key, token = _key(), os.urandom(16)
    data = _data(key)
    ground.storm.judge("acquire", await one.acquire(key, token, b"", 600.0), Lead(b""))
    ground.storm.judge("renew", await one.renew(key, token, 600.0), True)
    ground.storm.judge("commit", await one.commit(key, token, b"", data, 600.0), True)
    found = await two.acquire(key, os.urandom(16), b"", 600.0)
    ground.storm.judge("hit", isinstance(found, Hit) and found.data, data)


async def _lead_and_fail(ground: Ground) -> None:
    one, two = ground.stores
    key, token = _key(), os.urandom(16)
    data = _data(key, Kind.ERROR)
    ground.storm.judge("acquire", await one.acquire(key, token, b"", 600.0), Lead(b""))
    ground.storm.judge("fail", await one.fail(key, token, data, 600.0), True)
    found = await two.acquire(key, os.urandom(16), b"", 600.0)
    ground.storm.judge("error", isinstance(found, Failed) and found.data, data)


async def _listen_and_hear(ground: Ground) -> None:
    one, two = ground.stores
    key, token = _key(), os.urandom(16)
    data = _data(key)
    async with two.listen(key) as bell:
        await one.acquire(key, token, b"", 600.0)
        await one.commit(key, token, b"", data, 600.0)
        rung = await bell.wait(PATIENT)
        if rung == b"":  # the subscription was lost and renewed: look for yourself
            found = await two.get(key)
            rung = found and found.data
        ground.storm.judge("ring", rung, data)


async def _call(ground: Ground) -> None:
    name = os.urandom(8).hex()
    await _asks(ground, random.choice(ground.caches), name)


async def _call_together(ground: Ground) -> None:
    """Callers of one key in both processes; one of them is cancelled, the others are not."""
    name = os.urandom(8).hex()
    tasks = [asyncio.ensure_future(_asks(ground, cache, name)) for cache in ground.caches]
    try:
        await asyncio.sleep(random.random() * 0.004)
        tasks[0].cancel()
        await asyncio.gather(*tasks[1:])
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _asks(ground: Ground, cache: Cache, name: str) -> None:
    async def call() -> str:
        await asyncio.sleep(random.random() * 0.004)
        return f"answer to {name}"

    got = await cache.get_or_call(name, call)
    ground.storm.judge("call", got, f"answer to {name}")


OPERATIONS: tuple[Callable[[Ground], Coroutine[Any, Any, None]], ...] = (
    _set_and_get,
    _lead_and_commit,
    _lead_and_fail,
    _listen_and_hear,
    _call,
    _call,
    _call_together,
)

# --- how it is cancelled ------------------------------------------------------------------------


async def _after_turns(task: asyncio.Task[None]) -> None:
    for _ in range(random.randrange(12)):
        await asyncio.sleep(0)
    task.cancel()


async def _after_time(task: asyncio.Task[None]) -> None:
    await asyncio.sleep(random.random() * 0.012)
    task.cancel()


async def _twice(task: asyncio.Task[None]) -> None:
    await _after_time(task)
    await asyncio.sleep(0)
    task.cancel()


async def _by_timeout(task: asyncio.Task[None]) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(task), random.random() * 0.01)
    task.cancel()


async def _not(task: asyncio.Task[None]) -> None:
    await asyncio.wait({task})


WAYS = (_after_turns, _after_time, _twice, _by_timeout, _by_timeout, _not)


async def _worker(ground: Ground, cancels: int) -> None:
    found = ground.storm
    while found.cancelled < cancels:
        found.asked += 1
        task = asyncio.ensure_future(random.choice(OPERATIONS)(ground))
        with suppress(StoreError):  # counted below
            await random.choice(WAYS)(task)
        await asyncio.wait({task})
        if task.cancelled():
            found.cancelled += 1
        elif (error := task.exception()) is not None:
            found.errors[f"{type(error).__name__}: {error}"[:100]] += 1
        else:
            found.completed += 1


# --- the storm ----------------------------------------------------------------------------------


def _blocking(url: str) -> Redis:
    return Redis(connection_pool=BlockingConnectionPool.from_url(url, max_connections=4))


SOURCES: dict[str, Callable[[str], Any]] = {
    "url": lambda url: url,
    "client": Redis.from_url,
    "RESP2 client": lambda url: Redis.from_url(url, protocol=2, socket_timeout=0.03),
    "single connection": lambda url: Redis.from_url(url, single_connection_client=True),
    "blocking pool": _blocking,
}


class _Past:
    """The servers themselves, past whatever stands in the way."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._raws = [Redis.from_url(url, protocol=2) for url in urls]

    async def clients(self) -> int:
        return sum([len(await raw.client_list()) for raw in self._raws])

    async def channels(self) -> list[bytes]:
        found: list[bytes] = []
        for raw in self._raws:
            found += await raw.pubsub_channels()
            with suppress(ResponseError):  # a server that knows no sharded ones
                found += await raw.execute_command("PUBSUB", "SHARDCHANNELS")
        return found

    async def leases(self) -> int:
        scans = [raw.scan_iter("cache-*:l:*", count=10_000) for raw in self._raws]
        return sum([len([name async for name in scan]) for scan in scans])

    async def aclose(self) -> None:
        for raw in self._raws:
            await raw.aclose()


async def storm(
    url: str, past: str | Sequence[str], cancels: int, source: str, workers: int = WORKERS
) -> Storm:
    """Cancel so many, on stores opened from `source` at `url`; `past` are the servers."""
    found = Storm()
    raw = _Past([past] if isinstance(past, str) else past)
    before = await raw.clients()
    tasks_before = asyncio.all_tasks()
    async with AsyncExitStack() as stack:
        stores = [open_redis(SOURCES[source](url), op_timeout=PATIENT)() for _ in range(2)]
        caches = []
        for abandon in ("finish", "abandon"):
            policy = Policy(lease=600, op_timeout=PATIENT, on_abandon=abandon)
            for _ in range(2):
                given = SOURCES[source](url)
                caches.append(Cache(given, namespace=f"cache-{abandon}", policy=policy))
        for each in (*stores, *caches):
            stack.push_async_callback(each.aclose)
        ground = Ground(found, stores, caches)
        workers_at_work = [asyncio.ensure_future(_worker(ground, cancels)) for _ in range(workers)]
        while not all(task.done() for task in workers_at_work):
            found.connections = max(found.connections, await raw.clients() - before)
            await asyncio.wait(workers_at_work, timeout=0.25)
        await asyncio.gather(*workers_at_work)
        await _settled(found, ground, raw)

    async def more_clients() -> int:
        return max(0, await raw.clients() - before)

    await _gone(found, "connections", more_clients)
    await _gone(found, "channels", raw.channels)
    await raw.aclose()
    left = {t.get_name() for t in asyncio.all_tasks() - tasks_before if not t.done()}
    found.leaked += [f"task {name}" for name in left]
    return found


async def _settled(found: Storm, ground: Ground, raw: _Past) -> None:
    """With nobody left who asks, nothing is under way and no lease is held."""

    async def flights() -> int:
        return sum(c.statistics().flights + c.statistics().callers_waiting for c in ground.caches)

    async def jobs() -> int:
        all_of_them = [store.statistics() for store in ground.stores]
        return sum(part["reads"] + part["writes"] + part["bells"] for part in all_of_them)

    await _gone(found, "flights", flights)
    await _gone(found, "jobs and bells", jobs)
    await _gone(found, "leases", raw.leases)


async def _gone(found: Storm, what: str, count: Callable[[], Awaitable[Any]]) -> None:
    end = time.monotonic() + 20
    while left := await count():
        if time.monotonic() > end:
            found.leaked.append(f"{what}: {left}")
            return
        await asyncio.sleep(0.02)


# --- the control --------------------------------------------------------------------------------

STRAY = b"$5\r\nSTRAY\r\n"
# the whole answer to somebody else's look, in the form that our scripts give
FORGED = b"*2\r\n$3\r\n999\r\n*3\r\n$1\r\nH\r\n:60000\r\n$6\r\nFORGED\r\n"


async def control(proxy: FaultProxy, past: str) -> tuple[Storm, Storm]:
    """Stray replies on idle connections: what plain redis-py makes of them, and what we do."""
    raw = Redis.from_url(past, protocol=2)
    names = [os.urandom(8).hex() for _ in range(50)]
    for name in names:
        await raw.set(name, f"value of {name}")
    plain, ours = Storm(), Storm()
    client = Redis.from_url(proxy.url)
    for name in names:
        await client.get(name)
        proxy.inject(STRAY)
        await asyncio.sleep(0.002)
        plain.asked += 1
        plain.judge("get", await client.get(name), f"value of {name}".encode())
    await client.aclose()
    cache = Cache(proxy.url, l1=None, policy=Policy(op_timeout=PATIENT))
    store = open_redis(proxy.url, op_timeout=PATIENT)()
    ground = Ground(ours, [store, store], [cache])
    for stray in [STRAY, FORGED] * (len(names) // 2):
        for operation in (_call, _set_and_get):
            with suppress(StoreError):
                await operation(ground)  # the connections are there, and idle
            proxy.inject(stray)
            await asyncio.sleep(0.002)
            ours.asked += 1
            try:
                await operation(ground)
            except StoreError as error:
                ours.errors[type(error).__name__] += 1
    ours.errors["counted by the cache"] = cache.statistics().store_faults
    await store.aclose()
    await cache.aclose()
    await raw.aclose()
    return plain, ours


# --- running it ---------------------------------------------------------------------------------


@contextmanager
def _server(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    with LocalServer() as server:
        yield server.url


def run(loop: str, main: Coroutine[Any, Any, Any]) -> Any:
    """Run on asyncio's own loop or on uvloop."""
    if loop == "asyncio":
        return asyncio.run(main)
    import uvloop

    return uvloop.run(main)


def main() -> None:
    """Print the table; exit code 1 for a crossing, a leak, or a control that sees nothing."""
    cancels = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    given = sys.argv[2] if len(sys.argv) > 2 else None
    print(
        "| loop | source | asked | cancelled | completed | crossed | errors | leaked | most conn. |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    if given == "cluster":
        # a starved machine is no failover: after one, what had been settled may come back
        with LocalCluster(node_timeout=60) as cluster:
            past = [f"redis://127.0.0.1:{node.port}" for node in cluster.nodes]
            sys.exit(1 if _storms(cluster.url, past, cancels, ("url",)) else 0)
    with _server(given) as past, FaultProxy.in_thread(past) as proxy:
        proxy.set(latency=0.001, fragment=1024)
        failed = _storms(proxy.url, past, cancels, tuple(SOURCES))
        proxy.heal()
        plain, ours = asyncio.run(control(proxy, past))
    print(f"control: of {plain.asked} stray replies plain redis-py hands out {len(plain.crossed)};")
    print(f"  of {ours.asked} ours hands out {len(ours.crossed)} and counts {dict(ours.errors)}")
    sys.exit(1 if failed or ours.crossed or not plain.crossed else 0)


def _storms(url: str, past: str | Sequence[str], cancels: int, sources: Sequence[str]) -> bool:
    """One line for each loop and source; whether anything was wrong."""
    failed = False
    share = max(1, cancels // (len(LOOPS) * len(sources)))
    for loop in LOOPS:
        for source in sources:
            got = run(loop, storm(url, past, share, source))
            failed |= bool(got.crossed or got.leaked or got.errors)
            print(
                f"| {loop} | {source} | {got.asked} | {got.cancelled} | {got.completed} "
                f"| {len(got.crossed)} | {sum(got.errors.values())} | {len(got.leaked)} "
                f"| {got.connections} |",
                *got.crossed[:3], *got.leaked, *got.errors.items(),
                flush=True,
            )  # fmt: skip
    return failed


if __name__ == "__main__":
    main()
