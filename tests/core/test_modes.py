"""Modes, ages and sizes; what is forgotten; who refuses what is stored."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from core_support import World, outcomes, spawn, virtual

from samecall import CacheMiss, Payload, Policy
from samecall._codec import PlainCodec
from samecall._entry import Entry, Kind, encode_entry, new_stamp
from samecall._holding import Hold
from samecall._key import key_from
from samecall._lease import TOMBSTONE


async def fill(w: World, cache: Any, value: Any = "old", **more: Any) -> None:
    async def call() -> Any:
        return value

    assert await cache.get_or_call("k", call, mode="refresh", **more) == value
    await w.turns()


@virtual
async def test_refresh_replaces_and_is_joined(w: World) -> None:
    """Two refreshes are one call; ordinary calls have the old value meanwhile."""
    one, two, provider = w.cache(), w.cache(), w.provider()
    await fill(w, one)
    tasks = [
        *spawn(3, lambda: one.get_or_call("k", provider, mode="refresh")),
        *spawn(3, lambda: two.get_or_call("k", provider, mode="refresh")),
    ]
    await provider.until_waiting(1)
    await w.turns()
    assert await one.get_or_call("k", provider) == "old"
    assert await two.get_or_call("k", provider) == "old"
    provider.answer("new")
    assert await asyncio.gather(*tasks) == ["new"] * 6
    assert provider.calls == 1
    await w.turns()
    assert [await c.peek("k") for c in (one, two)] == ["new", "new"]
    assert await one.get_or_call("k", provider) == "new"


@virtual
async def test_a_flight_that_only_looks_is_no_refresh(w: World) -> None:
    """A refresh does not take a hit in the air for its own."""
    cache, provider = w.cache(l1=None), w.provider()
    await fill(w, cache)
    provider.answer("new")
    w.store.hold("acquire", times=1)
    looking = asyncio.ensure_future(cache.get_or_call("k", provider))
    await w.store.until_held("acquire")
    refresh = asyncio.ensure_future(cache.get_or_call("k", provider, mode="refresh"))
    assert await refresh == "new"
    w.store.heal()
    assert await looking == "new"
    assert provider.calls == 1


@virtual
async def test_a_refresh_joins_an_ordinary_flight_that_calls(w: World) -> None:
    """The call in the air is as new as its own would be."""
    cache, provider = w.cache(), w.provider()
    tasks = [asyncio.ensure_future(cache.get_or_call("k", provider))]
    await provider.until_waiting(1)
    tasks += spawn(2, lambda: cache.get_or_call("k", provider, mode="refresh"))
    await w.turns()
    provider.answer("new")
    assert await asyncio.gather(*tasks) == ["new"] * 3
    assert provider.calls == w.store.calls["acquire"] == 1
    assert cache.statistics().coalesced_local == 2


@virtual
async def test_a_refresh_after_the_landing_calls(w: World) -> None:
    """What has landed and is being stored is no call in the air."""
    cache, provider = w.cache(Policy(op_timeout=60)), w.provider()
    w.store.hold("commit", times=1)
    provider.answer("one")
    assert await cache.get_or_call("k", provider) == "one"
    await w.store.until_held("commit")
    assert await cache.get_or_call("k", provider) == "one"
    assert provider.calls == 1
    w.store.heal()
    await w.turns()
    provider.answer("two")
    assert await cache.get_or_call("k", provider, mode="refresh") == "two"


@virtual
@pytest.mark.parametrize("mode", ["use", "refresh"])
async def test_a_refresh_takes_no_answer_that_is_still_being_stored(w: World, mode: str) -> None:
    """Not from the flight that has landed, nor when its commit rings."""
    cache, provider = w.cache(Policy(op_timeout=60)), w.provider()
    w.store.hold("commit", times=1)
    provider.answer("one")
    assert await cache.get_or_call("k", provider, mode=mode) == "one"
    await w.store.until_held("commit")
    provider.answer("two")
    refresh = asyncio.ensure_future(cache.get_or_call("k", provider, mode="refresh"))
    await w.turns()
    assert provider.calls == 1
    w.store.heal()
    assert await refresh == "two"
    assert await cache.get_or_call("k", provider) == "two"


@virtual
async def test_bypass_and_only(w: World) -> None:
    """Mode "bypass" neither reads, waits nor stores; "only" never calls."""
    cache, provider = w.cache(), w.provider()
    with pytest.raises(CacheMiss):
        await cache.get_or_call("k", provider, mode="only")
    provider.answer("new")
    assert await cache.get_or_call("k", provider, mode="bypass") == "new"
    assert await cache.peek("k") is None
    await fill(w, cache)
    assert await cache.get_or_call("k", provider, mode="bypass") == "new"
    assert await cache.get_or_call("k", provider, mode="only") == "old"
    assert await w.cache().get_or_call("k", provider, mode="only") == "old"
    provider.fail(ValueError())
    with pytest.raises(ValueError):
        await cache.get_or_call("k", provider, mode="bypass")
    assert cache.statistics().provider_errors == 1
    assert w.store.calls["acquire"] == 1


@virtual
async def test_only_with_a_store_that_is_gone_is_a_miss(w: World) -> None:
    """There is nothing to answer with, and nothing else to raise."""
    cache, provider = w.cache(), w.provider()
    w.store.raise_on("get")
    with pytest.raises(CacheMiss):
        await cache.get_or_call("k", provider, mode="only")


@virtual
async def test_max_age_is_the_readers_own(w: World) -> None:
    """An old answer is fresh for one and not for another, also in one flight."""
    one, two, provider = w.cache(), w.cache(), w.provider()
    await fill(w, one)
    await asyncio.sleep(100)
    provider.answer("new")
    w.store.hold("acquire", times=1)
    anyone = asyncio.ensure_future(two.get_or_call("k", provider))
    await w.store.until_held("acquire")
    strict = asyncio.ensure_future(two.get_or_call("k", provider, policy=Policy(max_age=50)))
    await w.turns()
    w.store.heal()
    assert await outcomes(anyone, strict) == ["old", "new"]
    await w.turns()
    assert await one.get_or_call("k", provider, policy=Policy(max_age=50)) == "new"
    assert provider.calls == 1


@virtual
async def test_max_age_counts_in_l1_too(w: World) -> None:
    """What this process keeps is as old as what Redis keeps."""
    cache, provider = w.cache(), w.provider()
    provider.answer("old")
    assert await cache.get_or_call("k", provider) == "old"
    await asyncio.sleep(20)
    provider.answer("new")
    assert await cache.get_or_call("k", provider, policy=Policy(max_age=30)) == "old"
    assert await cache.get_or_call("k", provider, policy=Policy(max_age=10)) == "new"
    assert provider.calls == 2


@virtual
async def test_ttl_and_jitter(w: World) -> None:
    """An entry lives its ttl, shortened by at most the jitter."""
    cache, provider = w.cache(l1=None), w.provider()
    provider.answer("new")
    for jitter in (0.0, 0.5):
        await fill(w, cache, policy=Policy(ttl=100, ttl_jitter=jitter))
        await asyncio.sleep(99.9 * (1 - jitter))
        assert await cache.peek("k") == "old"
        await asyncio.sleep(0.2 + 100 * jitter)
        assert await cache.peek("k") is None


@pytest.mark.filterwarnings("always::samecall.SamecallWarning")
@virtual
async def test_an_answer_over_max_entry_is_returned_and_not_stored(w: World) -> None:
    """Its followers get it too."""
    cache, provider = w.cache(Policy(max_entry=100)), w.provider()
    tasks = spawn(2, lambda: cache.get_or_call("k", provider))
    await provider.until_waiting(1)
    provider.answer("x" * 200)
    with pytest.warns(match="over max_entry"):
        assert await asyncio.gather(*tasks) == ["x" * 200] * 2
    await w.turns()
    assert await cache.peek("k") is None
    assert (cache.statistics().stored, cache.statistics().uncached) == (0, 1)


@pytest.mark.parametrize("end", ["forget", "clear"])
@virtual
async def test_forgotten_in_flight(w: World, end: str) -> None:
    """The old answer reaches its callers and comes back nowhere."""
    cache, provider = w.cache(), w.provider()
    old = spawn(2, lambda: cache.get_or_call("k", provider))
    await provider.until_waiting(1)
    await (cache.forget("k") if end == "forget" else cache.clear())
    new = asyncio.ensure_future(cache.get_or_call("k", provider))
    await w.turns()
    provider.answer_one("old")
    assert await asyncio.gather(*old) == ["old"] * 2
    await provider.until_waiting(1)
    assert await cache.peek("k") is None
    provider.answer("new")
    assert await new == "new"
    await w.turns()
    assert await cache.get_or_call("k", provider, mode="only") == "new"


@virtual
async def test_forgotten_elsewhere_in_flight(w: World) -> None:
    """The leader in the other process keeps nothing, not even in its L1."""
    one, two, provider = w.cache(), w.cache(), w.provider()
    old = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    await two.forget("k")
    provider.answer_one("old")
    assert await old == "old"
    await w.turns()
    assert await one.peek("k") is None
    provider.answer("new")
    assert await one.get_or_call("k", provider) == "new"
    await w.turns()
    assert one.statistics().stored == 1


@virtual
async def test_a_store_that_cannot_forget_says_so(w: World) -> None:
    """And what this process holds is gone all the same."""
    cache = w.cache()
    await fill(w, cache)
    w.store.raise_on("forget", "get")
    with pytest.raises(Exception, match="forget: fault"):
        await cache.forget("k")
    with pytest.raises(CacheMiss):
        await cache.get_or_call("k", w.provider(), mode="only")


class Refusing(PlainCodec):
    """Reads nothing that is stored, `times` times."""

    def __init__(self, times: int = 100) -> None:
        self.times = times

    def decode(self, payload: Payload) -> Any:
        self.times -= 1
        if self.times >= 0:
            raise ValueError("not mine")
        return super().decode(payload)


@virtual
async def test_who_cannot_decode_leads_anew(w: World) -> None:
    """Others are not affected; its answer replaces the entry."""
    cache, provider = w.cache(), w.provider()
    await fill(w, cache)
    provider.answer("new")
    refuser = cache.get_or_call("k", provider, codec=Refusing())
    assert await outcomes(refuser, cache.get_or_call("k", provider)) == ["new", "old"]
    await w.turns()
    assert provider.calls == 1
    assert await cache.get_or_call("k", provider) == "new"
    assert cache.statistics().undecodable == 1


@virtual
async def test_after_three_refusals_its_own_call(w: World) -> None:
    """A caller that can read nobody's answer makes its own, uncached."""
    key = key_from("k", "default", None)
    cache, provider = w.cache(), w.provider()
    provider.answer("own")

    async def put() -> None:
        payload = PlainCodec().encode("theirs")
        entry = Entry(Kind.VALUE, payload, new_stamp(), 60.0, 60.0)
        await w.memory.set(key, encode_entry(key, await w.of_now(entry)), 60)

    class Late(Refusing):
        """Whenever it refuses an entry, another one is there already."""

        def decode(self, payload: Payload) -> Any:
            with contextlib.suppress(StopIteration):
                put().send(None)
            return super().decode(payload)

    await put()
    codec = Late()
    assert await cache.get_or_call("k", provider, codec=codec) == "own"
    assert cache.statistics().undecodable == 3
    assert (provider.calls, w.store.calls["commit"]) == (1, 0)
    with pytest.raises(CacheMiss):
        await cache.get_or_call("k", provider, codec=codec, mode="only")
    assert provider.calls == 1


@virtual
@pytest.mark.parametrize("forgotten", [True, False])
async def test_a_call_that_outlives_the_tombstone(w: World, *, forgotten: bool) -> None:
    """Its lease is lost and nobody can tell whether it was forgotten: its answer is not stored."""
    key, long = key_from("k", "default", None), Policy(deadline=3 * TOMBSTONE, lease=30)
    cache, provider = w.cache(policy=long), w.provider()
    task = asyncio.ensure_future(cache.get_or_call("k", provider))
    await provider.until_waiting(1)
    with pytest.MonkeyPatch.context() as patch:
        if forgotten:  # and the leader, who stands still meanwhile, hears nothing of it
            patch.setattr(Hold, "_again", stands_still)
            await w.memory.forget(key, TOMBSTONE)
        await asyncio.sleep(1.5 * TOMBSTONE)
        provider.answer("old")
        assert await task == "old"
        await w.turns()
    assert (await w.memory.get(key) is None) is forgotten


async def stands_still(_: Hold) -> bool:
    await asyncio.Event().wait()
    return False


@virtual
async def test_forgotten_by_one_whose_own_deadline_is_shorter(w: World) -> None:
    """What was begun before under a longer one does not come back either."""
    key, patient = key_from("k", "default", None), Policy(deadline=TOMBSTONE, lease=30)
    cache, provider = w.cache(policy=patient), w.provider()
    task = asyncio.ensure_future(cache.get_or_call("k", provider))
    await provider.until_waiting(1)
    hasty = w.cache(policy=Policy(deadline=1))
    await hasty.forget("k")
    await asyncio.sleep(TOMBSTONE / 4)
    provider.answer("old")
    assert await task == "old"
    await w.turns()
    assert await w.memory.get(key) is None


@virtual
async def test_garbage_at_the_key_is_a_miss_and_is_replaced(w: World) -> None:
    """In L1's sight and in the store's, as value and as error."""
    key = key_from("k", "default", None)
    cache, provider = w.cache(), w.provider()
    provider.answer("new")
    for data in (b"", b"x", b"\xa5s\x01" + bytes(80), bytes(5_000)):
        await w.memory.set(key, data, 60)
        assert await cache.get_or_call("k", provider) == "new"
        await w.turns()
        assert await cache.peek("k") == "new"
        await cache.forget("k")
    token = bytes(16)
    w.memory._leases._tombstones.clear()
    await w.memory.acquire(key, token, b"", 60)
    assert await w.memory.fail(key, token, b"garbage", 60)
    assert await cache.get_or_call("k", provider) == "new"
    assert provider.calls == cache.statistics().undecodable == 5


@virtual
@pytest.mark.parametrize("way", ["peek", "only"])
async def test_what_was_answered_just_now_is_found(w: World, way: str) -> None:
    """It is on its way to the store, off its caller's path."""
    cache, provider = w.cache(l1=None), w.provider()
    w.store.hold("commit", times=1)
    asked = asyncio.ensure_future(cache.get_or_call("k", provider))
    await provider.until_waiting(1)
    provider.answer("yes")
    assert await asked == "yes"
    await w.store.until_held("commit")
    asks = cache.peek("k") if way == "peek" else cache.get_or_call("k", provider, mode="only")
    peeked = asyncio.ensure_future(asks)
    await w.turns()
    w.store.heal()
    assert await peeked == "yes"
