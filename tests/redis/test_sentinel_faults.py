"""Failovers of a Sentinel set-up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from redis_parts import PATIENT, new_data, new_key

from samecall._errors import StoreUnreachable
from samecall._ports import Hit, Lead
from samecall._redis import open_redis
from samecall.testing import LocalSentinel, LocalServer
from samecall.testing._resp import ask
from samecall.testing.sentinels import _LocalWatcher, sentinel_config
from samecall.testing.servers import free_port

LONG = 600.0
SOON = 30.0


@pytest.fixture
def lively() -> Iterator[LocalSentinel]:
    """A set-up whose primary the test may move, once: after that it takes a while to settle."""
    with LocalSentinel() as sentinel:
        yield sentinel


async def test_dead_sentinels_are_passed_over(sentinel: LocalSentinel) -> None:
    """One sentinel is enough, wherever it stands in the list."""
    for alive in sentinel.sentinels:
        for each in sentinel.sentinels:
            if each is not alive:
                each.pause()
        store = open_redis(sentinel.url, op_timeout=PATIENT)()
        await store.set(new_key(), b"x", LONG)
        await store.aclose()
        for each in sentinel.sentinels:
            if each is not alive:
                each.resume()


async def test_a_primary_that_steps_down_under_load(lively: LocalSentinel) -> None:
    """After a planned failover every job is done by the new primary; few are refused meanwhile."""
    store = open_redis(lively.url, op_timeout=PATIENT)()
    moving = True

    async def work() -> int:
        done = 0
        while moving:
            key = new_key()
            try:
                assert await store.acquire(key, b"t", b"", LONG) == Lead(b"")
                assert await store.commit(key, b"t", b"", new_data(key), LONG) is True
            except StoreUnreachable:
                await asyncio.sleep(0.01)
            else:
                done += 1
        return done

    load = asyncio.gather(*(work() for _ in range(5)))
    old = lively.primary()
    new = await asyncio.to_thread(lively.failover)
    lively.say(old, "REPLICAOF", "127.0.0.1", new.port)  # the sentinels take 10 s to say so
    key = new_key()

    async def arrived() -> bool:
        try:
            await store.set(key, new_data(key), LONG)
        except StoreUnreachable:
            return False
        return lively.say(new, "EXISTS", f"{key.namespace}:v:{{{key.hex}}}") == 1

    async with asyncio.timeout(60):
        while not await arrived():
            await asyncio.sleep(0.01)
    moving = False
    assert min(await load) > 0
    await store.aclose()


async def test_a_sentinel_that_is_wrong(sentinel: LocalSentinel) -> None:
    """Who is named and is no primary is not used; the next sentinel is asked."""
    replica = next(each for each in sentinel.servers if each is not sentinel.primary())
    port = free_port()
    config = sentinel_config(sentinel.service, replica.port, 60.0, port)
    with _LocalWatcher(None, port, config) as wrong:
        alone = open_redis(
            f"redis+sentinel://127.0.0.1:{wrong.port}/{sentinel.service}", op_timeout=PATIENT
        )()
        with pytest.raises(StoreUnreachable, match="not the primary"):
            await alone.get(new_key())
        await alone.aclose()
        url = sentinel.url.replace("://", f"://127.0.0.1:{wrong.port},")
        store = open_redis(url, op_timeout=PATIENT)()
        await store.ping()
        await store.aclose()


async def test_a_replica_takes_no_leases() -> None:
    """A server that is or becomes a replica is a store that is away, for every operation."""
    with LocalServer() as primary, LocalServer() as server:
        store = open_redis(server.url, op_timeout=PATIENT)()
        key, new = new_key(), new_key()
        assert await store.acquire(key, b"t", b"", LONG) == Lead(b"")
        ask(server.port, "REPLICAOF", "127.0.0.1", primary.port)
        works = [
            lambda: store.acquire(new, b"t", b"", LONG),
            lambda: store.renew(key, b"t", LONG),
            lambda: store.commit(key, b"t", b"", new_data(key), LONG),
            lambda: store.set(new, b"x", LONG),
            lambda: store.forget(key, 1.0),
            store.ping,
        ]
        for work in works:
            with pytest.raises(StoreUnreachable):
                await work()
        ask(server.port, "REPLICAOF", "NO", "ONE")
        await store.ping()
        await store.aclose()


async def test_a_primary_killed_in_mid_flight(lively: LocalSentinel) -> None:
    """Bells ring at the loss and at the new primary, which is used from then on."""
    store = open_redis(lively.url, op_timeout=PATIENT)()
    key = new_key()
    async with store.listen(key) as bell:
        assert await store.acquire(key, b"t", b"", LONG) == Lead(b"")
        old = lively.primary()
        old.kill()
        assert await bell.wait(SOON) == b""
        with pytest.raises(StoreUnreachable):
            await store.get(key)
        new = await asyncio.to_thread(lively.failover)
        assert new is not old
        assert await bell.wait(SOON) == b""
        data = new_data(key)
        assert await store.commit(key, b"t", b"", data, LONG) is True
        assert await bell.wait(SOON) == data
    assert isinstance(await store.acquire(key, b"u", b"", LONG), Hit)
    await store.aclose()
