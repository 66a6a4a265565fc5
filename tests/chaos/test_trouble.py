"""Redis in every kind of trouble: calls are answered, once where that is possible, and counted."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import pytest

from samecall import Cache, Policy
from samecall._entry import Key
from samecall._errors import StoreError
from samecall._key import key_from
from samecall._ports import BreakerChanged
from samecall._redis import RedisStore, open_redis
from samecall._redis.topology import slot_of
from samecall.testing import FaultProxy, GatedProvider, LocalCluster, LocalServer
from samecall.testing.clusters import Member
from trouble import CLUSTER_FAULTS, FAULTS, trouble, trouble_on_a_cluster

PATIENT = 30.0
HURRIED = 0.4  # less than the half second after which a connection is given up


@pytest.fixture(scope="module")
def nodes() -> Iterator[LocalCluster]:
    """A cluster that is as slow to give a node up as clusters are that nobody tuned."""
    with LocalCluster(node_timeout=15) as cluster:
        yield cluster


@pytest.mark.parametrize("name", FAULTS)
async def test_every_call_is_answered(name: str, server: LocalServer) -> None:
    """In the air when the trouble begins, during it and after it, with no exception of ours."""
    fault = FAULTS[name]
    # patience where nothing falls silent: a slow machine must not look like a slow Redis
    op_timeout = 0.2 if fault.breaks else PATIENT
    found = await trouble(name, server, waves=1, keys=8, op_timeout=op_timeout)
    assert found.wrong == []
    assert found.asked >= 2 * 8 * 4
    assert found.keys == 16
    assert found.most_per_key <= (1 if fault.once else 2)  # at most one of each process
    if fault.told is not None:
        assert bool(found.faults) is fault.told
    if fault.breaks is not None:
        assert bool(found.opened) is fault.breaks


@pytest.mark.parametrize("name", CLUSTER_FAULTS)
async def test_a_node_in_trouble(name: str, nodes: LocalCluster) -> None:
    """Every call is answered as on one server, and calls on the other nodes notice nothing."""
    fault = CLUSTER_FAULTS[name]
    op_timeout = HURRIED if fault.breaks else PATIENT
    found = await trouble_on_a_cluster(name, nodes, waves=1, keys=8, op_timeout=op_timeout)
    assert found.wrong == []
    assert found.keys == 16
    assert found.most_per_key <= (1 if fault.once else 2)  # at most one of each process
    assert found.most_elsewhere == 1
    assert not found.opened
    if fault.told is not None:
        assert bool(found.faults) is fault.told


async def test_silent_nodes_one_and_all(nodes: LocalCluster) -> None:
    """One that is silent is not the store; all of them are, until they answer again."""
    ears = Ears()
    policy = Policy(op_timeout=HURRIED)
    one, two = (Cache(nodes.url, policy=policy, observers=[ears]) for _ in range(2))
    provider: GatedProvider[str] = GatedProvider()

    async def shared(key: str) -> bool:
        """Whether an answer that one of them stores is the other's too."""
        before = provider.calls
        provider.answer("yes")
        assert await one.get_or_call(key, provider) == "yes"
        await settled(one)
        return await two.get_or_call(key, provider) == "yes" and provider.calls == before + 1

    silent = nodes.owner(slot_of(b"default:g:"))  # all have to know what it holds
    there, elsewhere = keys_on(nodes, silent)
    assert all([await shared(next(keys)) for keys in (there, elsewhere) * 5])
    try:
        silent.pause()
        provider.answer("yes")
        assert await one.get_or_call(next(there), provider) == "yes"
        guard: Any = one._rooms.here().store
        assert guard._doubt is not None
        while guard._doubt is not None:
            await asyncio.sleep(0)
        assert await shared(next(elsewhere))
        assert ears.opened == []
        for node in nodes.nodes:
            if node is not silent:
                node.pause()
        async with asyncio.timeout(PATIENT):
            while True not in ears.opened:
                provider.answer("yes")
                assert await one.get_or_call(next(elsewhere), provider) == "yes"
    finally:
        for node in nodes.nodes:
            node.resume()
    async with asyncio.timeout(PATIENT):
        while ears.opened.count(True) > ears.opened.count(False):
            await asyncio.sleep(0)
        while not await shared(next(there)):
            pass
    await asyncio.gather(one.aclose(), two.aclose())
    while not await asyncio.to_thread(nodes.sound):
        await asyncio.sleep(0)


class Ears:
    """Hears of breakers that open (True) and close."""

    def __init__(self) -> None:
        self.opened: list[bool] = []

    def on_event(self, event: object) -> None:
        if isinstance(event, BreakerChanged):
            self.opened.append(event.open)


def keys_on(cluster: LocalCluster, node: Member) -> tuple[Iterator[str], Iterator[str]]:
    """Keys of calls in the slots of a node, and of the other ones."""
    found: dict[bool, list[str]] = {True: [], False: []}
    while min(map(len, found.values())) < 100:
        key = os.urandom(8).hex()
        owner = cluster.owner(slot_of(key_from(key, "default", None).hex.encode()))
        found[owner is node].append(key)
    return iter(found[True]), iter(found[False])


async def settled(cache: Cache) -> None:
    """Wait until what was answered is stored, or is not to be."""
    while cache.statistics().flights:
        await asyncio.sleep(0)


async def test_an_open_breaker_asks_nothing(proxy: FaultProxy) -> None:
    """Calls go on without Redis, one per key, and nobody meets the fault again."""
    cache = Cache(proxy.url, policy=Policy(op_timeout=0.2))
    provider: GatedProvider[str] = GatedProvider()
    provider.answer("yes")
    await cache.get_or_call("first", provider)
    proxy.set(refuse=True)
    await cache.get_or_call("second", provider)
    faults = cache.statistics().store_faults
    assert faults > 0
    provider.close()
    asked = [asyncio.ensure_future(cache.get_or_call(f"k{n % 50}", provider)) for n in range(200)]
    await provider.until_waiting(50)
    assert provider.waiting == 50
    provider.answer("yes")
    assert await asyncio.gather(*asked) == ["yes"] * 200
    assert cache.statistics().store_faults == faults
    await cache.aclose()


async def test_what_was_lost_in_a_black_hole_leaves_no_lease(
    proxy: FaultProxy, server: LocalServer
) -> None:
    """An ACQUIRE that arrives after its caller gave up is given back."""
    cache = Cache(proxy.url, policy=Policy(op_timeout=0.2, lease=600))
    provider: GatedProvider[str] = GatedProvider()
    provider.answer("yes")
    await cache.get_or_call("first", provider)
    proxy.set(black_hole=True)
    assert await cache.get_or_call("second", provider) == "yes"
    proxy.heal()
    other = Cache(server.url, policy=Policy(op_timeout=PATIENT, lease=600, wait=PATIENT))
    assert await other.get_or_call("second", provider) == "yes"
    await other.aclose()
    await cache.aclose()


async def test_a_subscription_lost_on_its_way_is_asked_for_again(proxy: FaultProxy) -> None:
    """Once, as with every command; who waits for somebody else's call is not deaf for it."""
    store = open_redis(proxy.url, op_timeout=PATIENT)()
    key, other = Key(b"k" * 32), Key(b"o" * 32)
    async with store.listen(key):
        proxy.set(black_hole=True)
        entering = asyncio.ensure_future(_enter(store, other))
        while not _asked(store):
            await asyncio.sleep(0)
        proxy.reset()
        proxy.heal()
        await entering
        proxy.set(cut_after=20)  # enough for the login, and not for a confirmation
        proxy.reset()
        async with asyncio.timeout(PATIENT):
            with pytest.raises(StoreError):
                await _enter(store, Key(b"p" * 32))
    await store.aclose()


async def _enter(store: RedisStore, key: Key) -> None:
    async with store.listen(key):
        pass


def _asked(store: RedisStore) -> bool:
    return store._bells._owed > 0
