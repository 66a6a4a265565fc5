"""L2 reads at the store, and L2 hits through `client.create`, beside MGET, GET and the peers.

python bench/reads.py [--redis URL] [--short] [--json FILE] [--rounds N] [--hits N]
"""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiocache
import cashews
from redis.asyncio import Redis
from rich.progress import track

from common import Row, arguments, redis_url, report
from hit import User, client, question
from samecall import Cache
from samecall._entry import Entry, Key, Kind, Payload, encode_entry, new_stamp
from samecall._redis import names, open_redis
from samecall.instructor import cached
from versus_instructor import DocumentedRedisCache

__all__ = ["at_the_store", "through_the_client"]

DATA = b"x" * 600
ROUNDS = 5


class Reads:
    """So many reads at once, in four ways."""

    def __init__(self, url: str, tasks: int) -> None:
        self.store = open_redis(url, op_timeout=10)()
        # no more connections than may queue up at the server's door at once
        self.redis, self.door = Redis.from_url(url), asyncio.Semaphore(100)
        self.keys = [Key(os.urandom(32), "bench-reads") for _ in range(tasks)]
        self.names = [names.value(key) for key in self.keys]
        self.token = os.urandom(16)

    async def fill(self) -> None:
        for key in self.keys:
            entry = Entry(Kind.VALUE, Payload("b", DATA), new_stamp(), 600.0, 600.0)
            await self.store.set(key, encode_entry(key, entry), 600)

    async def ours(self) -> None:
        async def one(key: Key) -> None:
            await self.store.acquire(key, self.token, b"", 5)

        await asyncio.gather(*map(one, self.keys))

    async def mget(self) -> None:
        await self.redis.mget(self.names)

    async def tasks(self) -> None:
        # what nobody who answers so many tasks by one command can do without
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[None]] = [loop.create_future() for _ in self.keys]

        async def waits(future: asyncio.Future[None]) -> None:
            await future

        waiting = [asyncio.ensure_future(waits(future)) for future in futures]
        await asyncio.sleep(0)
        await self.redis.mget(self.names)
        for future in futures:
            future.set_result(None)
        await asyncio.gather(*waiting)

    async def get(self) -> None:
        async def one(name: str) -> None:
            async with self.door:
                await self.redis.get(name)

        await asyncio.gather(*map(one, self.names))

    async def aclose(self) -> None:
        await self.store.aclose()
        await self.redis.aclose()


async def at_the_store(url: str, tasks: int, rounds: int) -> list[Row]:
    """ACQUIRE, one MGET of the same keys, one that wakes a task for each, and a GET for each."""
    reads = Reads(url, tasks)
    await reads.fill()
    ways = {"ours": reads.ours, "mget": reads.mget, "tasks": reads.tasks, "get": reads.get}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in track(range(rounds + 1), f"{tasks} reads"):
        for name, ask in ways.items():
            began = time.perf_counter()
            await ask()
            if number:
                found[name].append(time.perf_counter() - began)
    await reads.aclose()
    us = {name: 1e6 * statistics.median(values) / tasks for name, values in found.items()}
    share, times = us["mget"] / us["ours"], us["get"] / us["ours"]
    reach = us["tasks"] / us["ours"]
    floor = f"MGET {us['mget']:.1f} µs a key"
    return [
        Row(f"L2 read at the store, {tasks} tasks", us["ours"], "µs a key", "", None, "", floor),
        Row(f"share of a bare MGET, {tasks} tasks", 100 * share, "%", "at least 50", share >= 0.5,
            "", floor),
        Row(f"share of an MGET that wakes {tasks} tasks", 100 * reach, "%", "", None, "",
            f"MGET and tasks {us['tasks']:.1f} µs a key"),
        Row(f"faster than a GET per call, {tasks} tasks", times, "times", "at least 8", times >= 8,
            f"redis-py GET {us['get']:.1f} µs", ""),
    ]  # fmt: skip


class LiteLLM:
    """LiteLLM's Redis cache, asked as its client asks it."""

    def __init__(self, url: str) -> None:
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it asks GitHub for prices, else
        from litellm.caching.redis_cache import RedisCache

        where = Redis.from_url(url).connection_pool.connection_kwargs
        if "path" in where:
            raise ValueError("LiteLLM's cache takes no unix socket: give a redis:// URL")
        self._cache = RedisCache(
            host=where.get("host", "localhost"), port=where.get("port", 6379),
            password=where.get("password"), namespace="bench-litellm",
        )  # fmt: skip

    async def __call__(self, text: str, call: Callable[[], Awaitable[Any]]) -> Any:
        found = await self._cache.async_get_cache(text)
        if found is None:
            found = await call()
            await self._cache.async_set_cache(text, found, ttl=600)
        return found

    async def aclose(self) -> None:
        """Close its connections."""
        await self._cache.disconnect()


async def through_the_client(url: str, hits: int) -> list[Row]:
    """Hits a second of one process with 100 callers; each peer as its users would write it."""
    shared = Cache(url, namespace="bench-hits", l1=None)
    ours, documented = cached(client(), shared), client(cache=DocumentedRedisCache(url))
    bare = client()
    remembered = cashews.Cache()
    remembered.setup(url)

    @remembered(ttl="10m", key="bench:{text}")
    async def with_cashews(text: str) -> Any:
        # instructor makes a class for each call, which nobody can pickle
        return (await bare.create(**question(text))).model_dump()

    where = Redis.from_url(url).connection_pool.connection_kwargs

    @aiocache.cached(
        cache=aiocache.RedisCache, endpoint=where.get("host", "localhost"),
        port=where.get("port", 6379), serializer=aiocache.serializers.PickleSerializer(),
        key_builder=lambda _f, text: f"bench-aio:{text}",
    )  # fmt: skip
    async def with_aiocache(text: str) -> Any:
        return (await bare.create(**question(text))).model_dump()

    litellm = LiteLLM(url)

    async def with_litellm(text: str) -> Any:
        return await litellm(text, lambda: _dumped(bare.create(**question(text))))

    texts = [f"number {number}" for number in range(100)]
    ways: dict[str, Callable[[str], Awaitable[Any]]] = {
        "samecall": lambda text: ours.create(**question(text)),
        "instructor's Redis adapter": lambda text: documented.create(**question(text)),
        "cashews": lambda text: _validated(with_cashews(text)),
        "aiocache": lambda text: _validated(with_aiocache(text)),
        "LiteLLM": lambda text: _validated(with_litellm(text)),
    }
    for ask in ways.values():
        for text in texts:
            await ask(text)
    await asyncio.sleep(0.2)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in track(range(ROUNDS), "hits"):
        for name, ask in ways.items():  # in turns: who else uses the machine is there for all
            asked = hits if name == "samecall" else hits // 4
            found[name].append(await _rate(ask, texts, asked // ROUNDS))
    rates = {name: statistics.median(each) for name, each in found.items()}
    gc.collect()
    gc.freeze()  # what an application can do once it is up, see docs/operations.md
    frozen = await _rate(ways["samecall"], texts, hits // 4)
    gc.unfreeze()
    await shared.aclose()
    await remembered.close()
    await litellm.aclose()
    peers = {name: rate for name, rate in rates.items() if name != "samecall"}
    best = max(peers, key=lambda name: peers[name])
    told = ", ".join(f"{name} {rate:,.0f}" for name, rate in peers.items())
    rate, times = rates["samecall"], rates["samecall"] / peers[best]
    return [
        Row(
            "L2 hits through client.create",
            rate,
            "a second",
            "at least 15,000",
            rate >= 15_000,
            told,
        ),
        Row("the same after gc.freeze()", frozen, "a second"),
        Row(f"faster than the best peer ({best})", times, "times", "at least 5", times >= 5, told),
    ]


def with_uvloop(url: str, hits: int) -> list[Row]:
    """Our hits a second on uvloop, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return []

    async def rate() -> float:
        async with Cache(url, namespace="bench-hits", l1=None) as cache:
            ours = cached(client(), cache)
            texts = [f"number {number}" for number in range(100)]
            for text in texts:
                await ours.create(**question(text))
            return await _rate(lambda text: ours.create(**question(text)), texts, hits)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return [Row("the same on uvloop", runner.run(rate()), "a second")]


async def _dumped(answer: Awaitable[Any]) -> Any:
    return (await answer).model_dump()


async def _validated(kept: Awaitable[Any]) -> User:
    return User.model_validate(await kept)


async def _rate(ask: Callable[[str], Awaitable[Any]], texts: list[str], hits: int) -> float:
    began = time.perf_counter()
    for _ in range(max(1, hits // len(texts))):
        await asyncio.gather(*(ask(text) for text in texts))
    return max(1, hits // len(texts)) * len(texts) / (time.perf_counter() - began)


def main() -> None:
    """Print the rows."""
    told = arguments(__doc__, rounds=(60, 15), hits=(20_000, 3_000))
    rows: list[Row] = []
    with redis_url(told.redis) as url:
        for tasks in (100, 1_000):
            rows += asyncio.run(at_the_store(url, tasks, told.rounds))
        rows += asyncio.run(through_the_client(url, told.hits))
        rows += with_uvloop(url, told.hits)
    report(rows, told.json)


if __name__ == "__main__":
    main()
