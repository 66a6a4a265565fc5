"""Sealed entries that are put back as they were: no older than they say, and nobody's error."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from place_support import FleetCodec, Place, says, stored, taking, until

from samecall import Cache, Policy, Seal
from samecall._entry import STAMP_END, STAMP_START
from samecall._key import key_from
from samecall._lineage import Lineage
from samecall._ports import Failed, Lead, Wait
from samecall._stamps import new_token
from samecall._stream.frames import Frame, Frames
from samecall.testing import GatedProvider

SEAL = Seal({"now": b"n" * 32}, "now")


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock on the wall."""
    at = [time.time()]
    monkeypatch.setattr("time.time", lambda: at[0])

    def move(seconds: float) -> None:
        at[0] += seconds

    return move


def sealed(place: Place, policy: Policy | None = None) -> Cache:
    return place.cache(policy, seal=SEAL)


async def test_an_error_is_told_for_its_window_and_not_again(
    place: Place, wall: Callable[[float], None]
) -> None:
    """Kept by an attacker and put back after it: whoever asks calls, and hears no old error."""
    policy = Policy(error_ttl=10)
    one, other, key = sealed(place, policy), sealed(place, policy), key_from("k", place.namespace)
    with pytest.raises(ValueError, match="down"):
        await one.get_or_call("k", says(ValueError("down")), codec=FleetCodec())
    store, token = place.store(one), os.urandom(16)
    async with asyncio.timeout(60):
        while isinstance(told := await store.acquire(key, token, b"", 600.0), Wait):
            await asyncio.sleep(0.001)
    assert isinstance(told, Failed)
    await store.forget(key, 0.0)
    wall(20)
    assert isinstance(await store.acquire(key, token, b"", 600.0), Lead)
    await store.fail(key, token, told.data, 600.0)
    assert await other.get_or_call("k", says("called"), codec=FleetCodec()) == "called"


async def test_what_comes_to_who_waits_is_as_old_as_it_is(
    place: Place, wall: Callable[[float], None]
) -> None:
    """An old entry under a lease of its stamp: who takes none so old waits for it, and calls."""
    one, key = sealed(place), key_from("k", place.namespace)
    await one.get_or_call("k", says("old"))
    await stored(one)
    held = await place.held(one)
    assert held is not None
    store, token = place.store(one), held.data[STAMP_START:STAMP_END]
    await store.forget(key, 0.0)
    wall(5_000)
    assert isinstance(await store.acquire(key, token, b"", 600.0), Lead)
    strict, provider = sealed(place, Policy(max_age=1_000)), GatedProvider[Any]()
    waiting = asyncio.ensure_future(strict.get_or_call("k", provider))
    flights = strict._rooms.here().flights
    await until(lambda: any(each.generation.leader == token for each in flights._all()))
    await store.commit(key, token, b"", held.data, 600.0)
    await until(lambda: provider.waiting == 1 or waiting.done())
    provider.answer("new")
    assert await waiting == "new"


async def test_a_stream_that_ended_long_ago_is_followed_by_nobody(
    place: Place, wall: Callable[[float], None]
) -> None:
    """Its recording, with a lease of its token: as of one that runs, for as long as one may."""
    cache, key = sealed(place), key_from("k", place.namespace)
    token = new_token(key)
    store: Any = place.store(cache)
    recordings = getattr(store, "recordings", store)
    if not hasattr(recordings, "record"):
        pytest.skip("this store records no streams")
    await cache.get_or_call("another", says("something"))
    told = (await place.generation(cache, ""),)
    of = Lineage(SEAL).read(place.namespace, ("",), told)
    assert of is not None
    chunk = msgspec.msgpack.encode("old")
    frame = Frames(key, token, SEAL).pack(Frame(1, 0, [chunk], [0], generations=of))
    wall(1_000)
    assert isinstance(await store.acquire(key, token, b"", 600.0), Lead)
    await recordings.record(key, token, 1, frame, 600.0, 600.0)

    got, waiting = taking(cache)
    await until(lambda: bool(got) or cache.statistics().undecodable > 0)
    await store.release(key, token)
    await waiting
    assert got == ["called"]


async def test_who_forgot_takes_no_call_that_began_before(
    place: Place, wall: Callable[[float], None]
) -> None:
    """Stored in spite of the `forget`, which nobody's Redis has heard of but this one's."""
    one, other, provider = sealed(place), sealed(place), GatedProvider[Any]()
    calling = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    wall(100)
    other._rooms.envelopes.forgets(key_from("k", place.namespace))
    wall(10)
    clock = one._clock
    one._rooms.here().leader.clock = type("Late", (), {"now": lambda _: clock.now() + 110})()
    provider.answer("old")
    assert await calling == "old"
    await stored(one)
    assert await one.peek("k") == "old"
    assert await other.peek("k") is None


async def test_a_clock_that_was_wrong_forgets_nothing_for_long(
    place: Place, wall: Callable[[float], None]
) -> None:
    """Set back, what is called from then on is an answer again."""
    one = sealed(place)
    wall(100_000)
    await one.forget("k")
    wall(-100_000)
    await one.get_or_call("k", says("new"))
    await stored(one)
    assert await one.peek("k") == "new"
