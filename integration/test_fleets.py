"""The Redis store on a real cluster and a real Sentinel set-up, of every server."""

import asyncio
import os

import pytest

from samecall import Cache, Policy
from samecall._entry import Entry, Key, Kind, Payload, encode_entry, new_stamp
from samecall._errors import StoreUnreachable
from samecall._ports import Hit, Lead
from samecall._redis import open_redis
from samecall._redis.topology import slot_of
from samecall.testing import GatedProvider
from samecall.testing.contracts import LeaseStoreContract

PATIENT = 30.0
LONG = 600.0


def new_key():
    return Key(os.urandom(32), f"ns-{os.urandom(6).hex()}")


def key_on(cluster, node):
    while cluster.owner(slot_of((key := new_key()).hex.encode())) is not node:
        pass
    return key


def new_data(key):
    return encode_entry(key, Entry(Kind.VALUE, Payload("test", b"answer"), new_stamp(), 60.0, 60.0))


async def all_there(fleet):
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(fleet.sound):
            await asyncio.sleep(0.02)


async def heard(bell, store, key):
    """What the first ring brings, or what is there when one says to look."""
    while not (ring := await bell.wait(PATIENT)):
        assert ring == b""
        if (found := await store.get(key)) is not None:
            return found.data
    return ring


class TestClusterStore(LeaseStoreContract):
    @pytest.fixture
    async def store(self, cluster):
        store = open_redis(cluster.url, op_timeout=PATIENT)()
        yield store
        await store.aclose()


class TestSentinelStore(LeaseStoreContract):
    @pytest.fixture
    async def store(self, sentinel):
        store = open_redis(sentinel.url, op_timeout=PATIENT)()
        yield store
        await store.aclose()


async def test_slots_that_move_and_lost_scripts_under_load(cluster):
    store = open_redis(cluster.url, op_timeout=PATIENT)()
    slot, home = 77, cluster.owner(77)
    away = next(cluster.owner(each) for each in (0, 16383) if cluster.owner(each) is not home)
    watched = new_key()
    while slot_of(watched.hex.encode()) != slot:
        watched = new_key()
    moving, earlier = True, set()

    async def work():
        done = 0
        while moving:
            key = new_key()
            assert await store.acquire(key, b"t", b"", LONG) == Lead(b"")
            assert await store.commit(key, b"t", b"", new_data(key), LONG) is True
            assert isinstance(await store.acquire(key, b"u", b"", LONG), Hit)
            done += 1
        return done

    async with store.listen(watched) as bell:
        load = asyncio.gather(*(work() for _ in range(5)))
        for to in (away, home):
            await asyncio.to_thread(cluster.move_slot, slot, to)
            await asyncio.to_thread(cluster.say, to, "SCRIPT", "FLUSH")
            assert await store.acquire(watched, b"t", b"", LONG) == Lead(b"")
            data = new_data(watched)
            assert await store.commit(watched, b"t", b"", data, LONG) is True
            while (told := await heard(bell, store, watched)) != data:
                assert told in earlier  # told twice, as its COMMIT was sent twice
            earlier.add(data)
            await store.forget(watched, 0.0)
        moving = False
        assert min(await load) > 0
    await store.aclose()


async def test_one_call_of_two_caches(cluster):
    caches = [Cache(cluster.url, policy=Policy(op_timeout=10), l1=None) for _ in range(2)]
    for number in range(10):
        provider = GatedProvider()
        name = f"one-{number}"
        asked = [asyncio.ensure_future(c.get_or_call(name, provider)) for c in caches * 10]
        await provider.until_waiting(1)
        provider.answer(number)
        assert await asyncio.gather(*asked) == [number] * 20
        assert provider.calls == 1
    for cache in caches:
        assert cache.statistics().store_faults == 0
        await cache.aclose()


async def test_a_clusters_primary_killed_in_mid_flight(cluster):
    store = open_redis(cluster.url, op_timeout=PATIENT)()
    primary = cluster.owner(5000)
    key = key_on(cluster, primary)
    async with store.listen(key) as bell:
        assert await store.acquire(key, b"t", b"", LONG) == Lead(b"")
        await asyncio.to_thread(primary.kill)
        assert await bell.wait(PATIENT) == b""
        data = new_data(key)
        commit = asyncio.ensure_future(store.commit(key, b"t", b"", data, LONG))
        await asyncio.to_thread(cluster.failover, primary)
        assert await commit is True
        await asyncio.to_thread(primary.start)
        await all_there(cluster)
        assert isinstance(await store.acquire(key, b"u", b"", LONG), Hit)
    await store.aclose()


async def test_sentinels_primary_killed_in_mid_flight(sentinel):
    store = open_redis(sentinel.url, op_timeout=PATIENT)()
    key = new_key()
    async with store.listen(key) as bell:
        assert await store.acquire(key, b"t", b"", LONG) == Lead(b"")
        await asyncio.to_thread(sentinel.primary().kill)
        assert await bell.wait(PATIENT) == b""
        with pytest.raises(StoreUnreachable):
            await store.get(key)
        await asyncio.to_thread(sentinel.failover)
        data = new_data(key)
        assert await store.commit(key, b"t", b"", data, LONG) is True
        assert await store.acquire(key, b"u", b"", LONG) is not None
    await store.aclose()
