"""What a hit asks without a task: the answer that nobody waits for any more is settled as ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from redis_parts import PATIENT, new_data, new_key

from samecall import Cache, Policy
from samecall._embedded import EmbeddedServer
from samecall._entry import Entry, Key
from samecall._envelopes import Envelopes
from samecall._errors import StoreError, StoreUnreachable
from samecall._ports import Acquired, Hit, Lead
from samecall._redis import RedisStore, names, open_redis


def acquiring(store: Any, key: Any, token: bytes, seen: bytes, lease: float, told: Any) -> Any:
    """ACQUIRE, answered into a future."""
    future = asyncio.get_running_loop().create_future()
    store.acquire_into(future, key, token, seen, lease, told)
    return future


@pytest.fixture
async def calm(own_server: EmbeddedServer) -> AsyncIterator[Redis]:
    """A server that nobody else talks to."""
    async with Redis.from_url(own_server.url.replace("redis+unix", "unix"), protocol=2) as raw:
        yield raw


async def answer() -> str:
    return "a"


async def gone(raw: Redis, name: str) -> None:
    while await raw.exists(name):
        await asyncio.sleep(0.001)


async def queued(cache: Cache) -> None:
    """Return once the question is on its way."""
    while not cache._rooms.here().store.store._reads._flying:
        await asyncio.sleep(0.001)


async def test_a_lease_that_came_late_is_given_back(
    own_server: EmbeddedServer, calm: Redis
) -> None:
    """The call went on without the store; then the store had it carried out after all."""
    policy = Policy(op_timeout=0.1, lease=3600)
    async with Cache(own_server.url, l1=None, report=False, policy=policy) as cache:
        await cache.get_or_call("warm", answer)
        key = new_key()
        await calm.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
        assert await cache.get_or_call(key, answer) == "a"
        assert cache.statistics().store_faults >= 1
        await calm.execute_command("CLIENT", "UNPAUSE")
        await gone(calm, names.lease(key))


async def test_a_cancelled_question_leaves_no_lease(
    own_server: EmbeddedServer, calm: Redis
) -> None:
    policy = Policy(op_timeout=PATIENT, lease=3600, on_abandon="abandon")
    async with Cache(own_server.url, l1=None, report=False, policy=policy) as cache:
        await cache.get_or_call("warm", answer)
        key = new_key()
        await calm.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
        asking = asyncio.ensure_future(cache.get_or_call(key, answer))
        await queued(cache)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await calm.execute_command("CLIENT", "UNPAUSE")
        assert await cache.get_or_call("after", answer) == "a"
        await gone(calm, names.lease(key))


class Hears:
    """What has come of a question."""

    def __init__(self) -> None:
        self.told: list[tuple[Acquired | StoreError, bool]] = []
        self.once = asyncio.Event()

    def __call__(self, reply: Acquired | StoreError, *, late: bool) -> None:
        self.told.append((reply, late))
        self.once.set()


async def test_what_comes_late_is_told_once(own_server: EmbeddedServer, calm: Redis) -> None:
    store = open_redis(own_server.url, op_timeout=PATIENT)()
    key, token, hears = new_key(), b"t" * 16, Hears()
    await store.acquire(new_key(), token, b"", 60)
    await calm.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
    asked = acquiring(store, key, token, b"", 60, hears)
    while not store._reads._flying:
        await asyncio.sleep(0.001)
    asked.cancel()
    await calm.execute_command("CLIENT", "UNPAUSE")
    await store.acquire(new_key(), token, b"", 60)  # whose answer comes after
    assert hears.told == [(Lead(b""), True)]
    await store.aclose()


async def test_what_nobody_waits_for_any_more_is_not_sent(store: RedisStore, raw: Redis) -> None:
    key, hears = new_key(), Hears()
    acquiring(store, key, b"t" * 16, b"", 60, hears).cancel()
    await hears.once.wait()
    [(reply, late)] = hears.told
    assert isinstance(reply, StoreError)
    assert not isinstance(reply, StoreUnreachable)
    assert late
    data = new_data(key)
    await store.set(key, data, 60)
    found = await acquiring(store, key, b"u" * 16, b"", 60, hears)
    assert isinstance(found, Hit)
    assert found.data == data
    assert not await raw.exists(names.lease(key))
    assert len(hears.told) == 2


async def test_generations_are_told_before_what_is_asked_later(store: RedisStore) -> None:
    """So that a hit compares with them in the same turn."""
    order: list[str] = []
    key = new_key()
    told = store.telling(key.namespace, ("", "tag"), 60)
    asked = acquiring(store, key, b"t" * 16, b"", 60, Hears())
    for number, each in enumerate((*told, asked)):
        each.add_done_callback(lambda _, number=number: order.append(str(number)))
    await asked
    await asyncio.sleep(0)
    assert order == ["0", "1", "2"]
    assert [await each for each in told] == list(await store.generations(*tags(key)))


def tags(key: Key) -> tuple[str, tuple[str, ...], float]:
    return key.namespace, ("", "tag"), 60.0


async def test_a_closed_store_is_trouble_and_no_more(url: str) -> None:
    store = open_redis(url, op_timeout=PATIENT)()
    await store.aclose()
    with pytest.raises(StoreError):
        acquiring(store, new_key(), b"t" * 16, b"", 60, Hears())
    async with Cache(store, l1=None, report=False) as cache:
        assert await cache.get_or_call(new_key(), answer) == "a"


async def test_a_fault_at_one_reply_is_not_its_neighbours(
    calm: Redis, own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replies that came together are looked at one after another: one that breaks ends alone."""
    space = new_key().namespace
    bad, *good = (new_key(space) for _ in range(6))
    async with Cache(own_server.url, l1=None, policy=Policy(op_timeout=PATIENT)) as cache:
        for key in (bad, *good):
            await cache.get_or_call(key, answer)
        while cache.statistics().stored < 6:
            await asyncio.sleep(0.001)
        read = Envelopes.read

        def breaks(envelopes: Envelopes, key: Key, data: bytes, **more: float) -> Entry:
            if key == bad:
                raise ZeroDivisionError
            return read(envelopes, key, data, **more)

        monkeypatch.setattr(Envelopes, "read", breaks)
        asked = [cache.get_or_call(key, answer) for key in (bad, *good)]
        async with asyncio.timeout(PATIENT):
            broken, *rest = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(broken, ZeroDivisionError)
    assert rest == ["a"] * 5
