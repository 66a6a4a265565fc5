"""Caches over a cluster and over Sentinel, end to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from samecall import Cache, Policy
from samecall._key import key_from
from samecall._redis.topology import slot_of
from samecall.testing import GatedProvider, LocalCluster, LocalSentinel

PATIENT = Policy(op_timeout=5.0)


@pytest.fixture
def own_cluster() -> Iterator[LocalCluster]:
    """A cluster that the test may maltreat."""
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture
def own_sentinel() -> Iterator[LocalSentinel]:
    """A Sentinel set-up that the test may maltreat."""
    with LocalSentinel() as sentinel:
        yield sentinel


@asynccontextmanager
async def two(url: str, policy: Policy = PATIENT) -> AsyncIterator[tuple[Cache, Cache]]:
    """Two processes' caches."""
    one, other = Cache(url, policy=policy, l1=None), Cache(url, policy=policy, l1=None)
    yield one, other
    await one.aclose()
    await other.aclose()


async def follows(cache: Cache) -> None:
    """Wait until the cache's one flight listens for another process's answer."""
    store: Any = cache._rooms.here().store.store
    async with asyncio.timeout(60):
        while not store.statistics()["bells"]:
            await asyncio.sleep(0)


async def one_call(url: str) -> None:
    async with two(url) as (one, other):
        for number in range(20):  # in slots of all nodes
            name, provider = f"{url}-{number}", GatedProvider[Any]()
            asked = [asyncio.ensure_future(one.get_or_call(name, provider)) for _ in range(20)]
            await provider.until_waiting(1)
            asked += [asyncio.ensure_future(other.get_or_call(name, provider)) for _ in range(20)]
            await follows(other)
            provider.answer(number)
            assert await asyncio.gather(*asked) == [number] * 40
            assert provider.calls == 1
            assert await other.get_or_call(name, provider) == number
            assert provider.calls == 1
        assert other.statistics().coalesced_remote == 400
        assert one.statistics().store_faults == other.statistics().store_faults == 0


async def test_one_call_over_a_cluster(cluster: LocalCluster) -> None:
    """Two processes, 40 callers, one provider call, wherever the key lives."""
    await one_call(cluster.url)


async def test_one_call_over_sentinel(sentinel: LocalSentinel) -> None:
    """The same with a primary that the sentinels name."""
    await one_call(sentinel.url)


async def killed_in_mid_flight(url: str, kill: Any, take_over: Any) -> None:
    async with two(url) as (one, other):
        provider: GatedProvider[Any] = GatedProvider()
        leading = [asyncio.ensure_future(one.get_or_call("k", provider)) for _ in range(10)]
        await provider.until_waiting(1)
        following = [asyncio.ensure_future(other.get_or_call("k", provider)) for _ in range(10)]
        await follows(other)
        kill()
        await asyncio.to_thread(take_over)
        provider.answer("yes")
        provider.answer("yes")
        assert await asyncio.gather(*leading, *following) == ["yes"] * 20
        assert provider.calls <= 2

        async def shared() -> bool:
            # the breaker closes again, and an entry made now is everybody's
            calls = provider.calls
            provider.answer("yes")
            name = f"after-{calls}"
            await one.get_or_call(name, provider)
            await other.get_or_call(name, provider)
            return provider.calls == calls + 1

        async with asyncio.timeout(60):
            while not await shared():
                await asyncio.sleep(0.01)


async def test_a_clusters_primary_killed_in_mid_flight(own_cluster: LocalCluster) -> None:
    """At most one more call, nobody without an answer."""
    primary = own_cluster.owner(slot_of(key_from("k", "default", None).hex.encode()))
    await killed_in_mid_flight(own_cluster.url, primary.kill, lambda: own_cluster.failover(primary))


async def test_sentinels_primary_killed_in_mid_flight(own_sentinel: LocalSentinel) -> None:
    """The same where sentinels have to agree on it first."""
    primary = own_sentinel.primary()
    await killed_in_mid_flight(own_sentinel.url, primary.kill, own_sentinel.failover)
