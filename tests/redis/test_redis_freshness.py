"""Stale answers and generations on real stores: Redis, a cluster, a file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis, RedisCluster
from redis_parts import new_key

from samecall import L1, Cache, Policy
from samecall._embedded import EmbeddedServer
from samecall._key import key_from
from samecall._ports import Offer
from samecall._redis import names
from samecall.testing import GatedProvider, LocalCluster

POLICY = Policy(
    ttl=1_000, stale_while_revalidate=1_000, stale_if_error=2_000, op_timeout=5.0, error_ttl=30.0
)
STORES = ["redis", "cluster", "disk"]


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store."""
    if request.param == "disk":
        return f"disk://{tmp_path / 'cache.db'}"
    if request.param == "cluster":
        cluster: LocalCluster = request.getfixturevalue("cluster")
        return cluster.url
    server: EmbeddedServer = request.getfixturevalue("server")
    return server.url


@asynccontextmanager
async def two(place: str, name: str, **more: Any) -> AsyncIterator[tuple[Cache, Cache]]:
    """Two processes' caches."""
    more = {"policy": POLICY, "namespace": name, "l1": None, **more}
    one, other = Cache(place, **more), Cache(place, **more)
    yield one, other
    await one.aclose()
    await other.aclose()


async def age(place: str, name: str, seconds: float) -> None:
    """Let what is stored at "k" be so old, by the store's own clock."""
    value = names.value(key_from("k", name))
    client: Any = (
        RedisCluster.from_url(place.replace("+cluster", "").partition(",")[0], protocol=2)
        if "cluster" in place
        else Redis.from_url(place.replace("redis+unix", "unix"), protocol=2)
    )
    kept = POLICY.ttl + POLICY.spare_for
    assert await client.pexpire(value, round((kept - seconds) * 1_000))
    await client.aclose()


async def until_stored(cache: Cache, count: int) -> None:
    async with asyncio.timeout(60):
        while cache.statistics().stored < count:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("place", ["redis", "cluster"], indirect=True)
async def test_one_refresh_in_the_fleet(place: str) -> None:
    """The callers of two processes have the stale answer, and one call is made."""
    async with two(place, "swr") as (one, other):
        provider = GatedProvider[Any]()
        provider.answer("old")
        assert await one.get_or_call("k", provider) == "old"
        await until_stored(one, 1)
        provider.close()
        await age(place, "swr", 1_500)
        asked = [cache.get_or_call("k", provider) for cache in (one, other) for _ in range(20)]
        assert await asyncio.gather(*asked) == ["old"] * 40
        await provider.until_waiting(1)
        assert one.statistics().stale == other.statistics().stale == 20
        provider.answer("new")
        async with asyncio.timeout(60):
            while await one.get_or_call("k", provider) != "new":
                await asyncio.sleep(0.001)
        assert await other.get_or_call("k", provider) == "new"
        assert provider.calls == 2


@pytest.mark.parametrize("place", ["redis", "cluster"], indirect=True)
async def test_instead_of_an_error(place: str) -> None:
    """A value past its window stands beside the error of the leader, and answers."""
    async with two(place, "sie") as (one, other):
        provider = GatedProvider[Any]()
        provider.answer("old")
        assert await one.get_or_call("k", provider) == "old"
        await until_stored(one, 1)
        await age(place, "sie", 2_500)
        provider.fail(ValueError("down"))
        for cache in (one, other, one, other):
            assert await cache.get_or_call("k", provider) == "old"
        assert provider.calls == 2


@pytest.mark.parametrize("way", ["tag", "clear"])
async def test_forgotten_in_one_step_in_both_processes(place: str, way: str) -> None:
    """Whatever lies in the store stays there, and is nobody's answer any more."""
    async with two(place, f"gone-{way}") as (one, other):
        provider = GatedProvider[Any]()
        provider.answer("old")
        tags = ("invoice", "a b:{c}*")
        keys = [f"k{number}" for number in range(20)]
        for key in keys:
            assert await one.get_or_call(key, provider, tags=tags) == "old"
        await until_stored(one, 20)
        assert [await other.peek(key) for key in keys] == ["old"] * 20
        await (one.forget_tag(tags[1]) if way == "tag" else one.clear())
        assert [await other.peek(key) for key in keys] == [None] * 20
        assert [await one.peek(key) for key in keys] == [None] * 20
        provider.answer("new")
        assert await other.get_or_call("k0", provider, tags=tags) == "new"
        await until_stored(other, 1)
        assert await one.get_or_call("k0", provider, tags=tags) == "new"
        assert provider.calls == 21


@pytest.mark.parametrize("place", ["redis"], indirect=True)
async def test_a_generation_that_is_only_written_anew_empties_no_l1(place: str) -> None:
    """The server tells of it as of one that has ended: what bears it is compared once more."""
    name = new_key().namespace
    async with two(place, name, l1=L1()) as (one, _):
        provider = GatedProvider[Any]()
        provider.answer("kept")
        for key, tags in (("k", ("invoice",)), ("j", ("invoice",)), ("apart", ())):
            assert await one.get_or_call(key, provider, tags=tags) == "kept"
        await until_stored(one, 3)
        room, l1 = one._rooms.here(), one._rooms.l1
        store: Any = room.store.store
        async with asyncio.timeout(60):
            while not room.trust._told:
                await asyncio.sleep(0.001)
        assert l1 is not None
        l1.drop_all()  # what was copied before is not trusted for long
        for key in ("k", "j", "apart"):
            assert await one.get_or_call(key, provider) == "kept"
        (held,) = await store.generations(name, ("invoice",), 10.0)
        before, hits = one._rooms.copies.changes, one.statistics()
        offer = Offer(held, instead=held, again=held)  # as one that is sealed anew
        assert await store.generations(name, ("invoice",), 10.0, (offer,)) == (held,)
        async with asyncio.timeout(60):
            while one._rooms.copies.changes == before:
                await asyncio.sleep(0.001)
        for key in ("apart", "k", "j"):
            assert await one.get_or_call(key, provider) == "kept"
        now = one.statistics()
        assert (now.l1_hits - hits.l1_hits, now.l2_hits - hits.l2_hits) == (2, 1)


async def test_a_flight_begun_before_is_stored_for_nobody(place: str) -> None:
    """The leader lives in another process, and commits after the tag was forgotten."""
    async with two(place, "begun") as (one, other):
        provider = GatedProvider[Any]()
        old = asyncio.ensure_future(one.get_or_call("k", provider, tags=("invoice",)))
        await provider.until_waiting(1)
        await other.forget_tag("invoice")
        new = asyncio.ensure_future(other.get_or_call("k", provider, tags=("invoice",)))
        provider.answer_one("old")
        assert await old == "old"
        await provider.until_waiting(1)
        provider.answer("new")
        assert await new == "new"
        await until_stored(other, 1)
        assert await one.get_or_call("k", provider) == "new"


@pytest.mark.parametrize("way", ["key", "tag"])
async def test_who_asks_the_leaders_process_after_it_was_forgotten_elsewhere(
    place: str, way: str
) -> None:
    """Has a call of its own, once that process has heard of it or looked after its lease."""
    async with two(place, f"elsewhere-{way}", l1=L1()) as (one, other):
        old, new = GatedProvider[Any](), GatedProvider[Any]()
        key = key_from("k", f"elsewhere-{way}")
        leads = asyncio.ensure_future(one.get_or_call("k", old, tags=("invoice",)))
        await old.until_waiting(1)
        await (other.forget("k") if way == "key" else other.forget_tag("invoice"))
        flights = one._rooms.here().flights
        async with asyncio.timeout(60):
            while flights.leader(key) is not None:
                await asyncio.sleep(0.001)
        after = asyncio.ensure_future(one.get_or_call("k", new, tags=("invoice",)))
        async with asyncio.timeout(60):
            while one.statistics().callers_waiting != 2:
                await asyncio.sleep(0.001)
        old.answer("old")
        assert await leads == "old"
        await new.until_waiting(1)
        new.answer("new")
        assert await after == "new"
        await until_stored(one, 1)
        assert await other.get_or_call("k", old, tags=("invoice",)) == "new"
        assert (old.calls, new.calls) == (1, 1)


@pytest.mark.parametrize("place", ["redis"], indirect=True)
async def test_generations_live_as_long_as_what_bears_them(place: str) -> None:
    """Each has a TTL; an evicted one, or one of the wrong type, makes its entries misses."""
    client = Redis.from_url(place.replace("redis+unix", "unix"), protocol=2)
    async with two(place, "ttl") as (one, other):
        provider = GatedProvider[Any]()
        provider.answer("old")
        assert await one.get_or_call("k", provider, tags=("t",)) == "old"
        await until_stored(one, 1)
        kept = POLICY.ttl + POLICY.spare_for
        for tag in ("", "t"):
            assert await client.ttl(names.generation("ttl", tag)) > kept
        assert await other.peek("k") == "old"
        await client.delete(names.generation("ttl", "t"))
        await client.lpush(names.generation("ttl", "t"), "what is this")
        assert await other.peek("k") is None
        provider.answer("new")
        assert await other.get_or_call("k", provider, tags=("t",)) == "new"
        await until_stored(other, 1)
        assert await one.peek("k") == "new"
    await client.aclose()
