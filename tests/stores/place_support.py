"""A place where caches of several processes share answers, and what a test does behind them."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis, RedisCluster

from samecall import Cache, Policy
from samecall._codec import PlainCodec
from samecall._disk import DiskStore
from samecall._disk.tables import space_of
from samecall._key import key_from
from samecall._memory import MemoryStore
from samecall._ports import ErrorRecord, Failure, Found, Reach
from samecall._redis import names as names_in_redis
from samecall._tiers import Tiers

PLACES = ["memory", "disk", "redis", "cluster", "tiers"]
PATIENT = 30.0
"""An op_timeout that no healthy store meets on any machine."""


class Place:
    """Makes caches on one store; each shares nothing with the others but that."""

    def __init__(self, where: object) -> None:
        self.where = where
        self.namespace = f"ns-{os.urandom(6).hex()}"
        self._caches: list[Cache] = []

    def cache(self, policy: Policy | None = None, **more: Any) -> Cache:
        """Another process's cache, which asks the store each time unless given an `l1`."""
        settings = {"namespace": self.namespace, "l1": None, **more}
        policy = (policy or Policy()).replace(op_timeout=PATIENT)
        self._caches.append(Cache(self.where, policy=policy, **settings))
        return self._caches[-1]

    async def close(self) -> None:
        for cache in self._caches:
            await cache.aclose()
            now = cache.statistics()
            assert now.flights == now.callers_waiting == now.store_faults == 0

    # --- behind a cache's back ------------------------------------------------------------------

    @staticmethod
    def store(cache: Cache) -> Any:
        return cache._rooms.here().store.store

    async def held(self, cache: Cache, name: str = "k") -> Found | None:
        return await self.store(cache).get(key_from(name, self.namespace, cache.secret))

    async def age(self, cache: Cache, seconds: float, name: str = "k") -> None:
        """Let what is kept be so much older."""
        found = await self.held(cache, name)
        assert found is not None
        key = key_from(name, self.namespace, cache.secret)
        await self.store(cache).set(key, found.data, found.left - seconds)

    async def settled(self, cache: Cache, name: str = "k") -> None:
        """Wait until a flight has nothing more to tell the store."""
        key = key_from(name, self.namespace, cache.secret)
        await cache._rooms.here().flights.settled(key)

    async def righted(self, cache: Cache) -> None:
        """Wait until what was to be sealed anew is."""
        await until(lambda: not cache._rooms.here().generations._righting)

    async def generation_lasts(self, cache: Cache, tag: str = "") -> float:
        """Seconds for which the store still knows the generation of a tag."""
        store = self.store(cache)
        store = store.far if isinstance(store, Tiers) else store
        if isinstance(store, MemoryStore):
            return float("inf")
        if isinstance(store, DiskStore):
            file = sqlite3.connect(str(self.where).removeprefix("disk://"))
            names = (space_of(self.namespace), space_of(tag))
            asked = "SELECT ends FROM generations WHERE space = ? AND tag = ?"
            ((ends,),) = file.execute(asked, names).fetchall()
            file.close()
            return float(ends) - store.disk._opened.ledger.now()
        async with self.raw() as client:
            return float(await client.pttl(names_in_redis.generation(self.namespace, tag))) / 1000

    async def generation(self, cache: Cache, tag: str) -> bytes:
        """What the store holds for a tag."""
        (held,) = await self.store(cache).generations(self.namespace, (tag,), 600.0)
        return bytes(held)

    async def put_generation(self, cache: Cache, tag: str, record: bytes) -> None:
        """As somebody with a login does it, in whatever store that is."""
        store = self.store(cache)
        store = store.far if isinstance(store, Tiers) else store
        if isinstance(store, MemoryStore):
            store._generations[self.namespace, tag] = record
        elif isinstance(store, DiskStore):
            file = sqlite3.connect(str(self.where).removeprefix("disk://"))
            await store.ping()  # which opens it
            how = "INSERT OR REPLACE INTO generations VALUES (?, ?, ?, ?)"
            ends = store.disk._opened.ledger.now() + 600.0
            file.execute(how, (space_of(self.namespace), space_of(tag), record, ends))
            file.commit()
            file.close()
        else:
            async with self.raw() as client:
                name = names_in_redis.generation(self.namespace, tag)
                assert await client.set(name, record, ex=600)

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[Any]:
        """A client of the Redis that is asked in the end, whatever lies before it."""
        where = self.where if isinstance(self.where, str) else self.where[-1]  # type: ignore[index]
        client: Any = (
            RedisCluster.from_url(where.replace("+cluster", "").partition(",")[0], protocol=2)
            if "cluster" in where
            else Redis.from_url(where.replace("redis+unix", "unix"), protocol=2)
        )
        yield client
        await client.aclose()

    async def values(self, cache: Cache) -> dict[bytes, bytes]:
        """All envelopes of the namespace, by the digests of their keys."""
        walk = self.store(cache).walk(self.namespace)
        return {key.digest: found.data async for key, found in walk}


class Wall:
    """The clock on the wall, which moves when it is told to."""

    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def time(self) -> float:
        self.at += 1e-4
        return self.at

    def time_ns(self) -> int:
        return int(self.time() * 1e9)


class FleetCodec(PlainCodec):
    """Plain data; every error of the call is everybody's."""

    def explain(self, error: BaseException) -> Failure:
        return Failure(Reach.FLEET, ErrorRecord(type(error).__name__, str(error)))


def says(answer: Any) -> Callable[[], Awaitable[Any]]:
    async def call() -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return call


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.001)


async def stored(cache: Cache, count: int = 1) -> None:
    """Wait until `cache` has stored so many answers."""
    await until(lambda: cache.statistics().stored >= count)


async def until_says(cache: Cache, answer: Any, call: Any, name: str = "k", **more: Any) -> None:
    """Ask until `answer` comes."""
    async with asyncio.timeout(60):
        while await cache.get_or_call(name, call, **more) != answer:
            await asyncio.sleep(0.001)


def taking(cache: Cache) -> tuple[list[str], asyncio.Task[None]]:
    """What a consumer has so far of a stream "k", and its task; a call of its own says "called"."""

    async def call() -> AsyncIterator[str]:
        async def items() -> AsyncIterator[str]:
            yield "called"

        return items()

    got: list[str] = []

    async def take() -> None:
        async for item in cache.stream("k", call):
            got.append(item)  # noqa: PERF401 - what it has is looked at meanwhile

    return got, asyncio.ensure_future(take())
