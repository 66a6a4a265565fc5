"""Sealed entries: who writes to the store can cause misses, and nothing else; on every store."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from place_support import FleetCodec, Place, says, stored, taking, until

from samecall import Cache, Key, Policy, RemoteCallError, Seal
from samecall._entry import Entry, Kind, Payload, decode_entry, encode_entry, new_stamp
from samecall._key import key_from
from samecall._lease import Claim
from samecall._ports import ErrorRecord, Failed, Lead, Wait
from samecall._stamps import new_token
from samecall._stream.frames import Frame, Frames
from samecall.testing import GatedProvider

SEAL = Seal({"old": b"o" * 32, "now": b"n" * 32}, "now")
SECRET = b"sixteen bytes or more"


def sealed(place: Place, policy: Policy | None = None, **more: Any) -> Cache:
    return place.cache(policy, seal=SEAL, secret=SECRET, **more)


def key_of(place: Place, name: str = "k") -> Key:
    return key_from(name, place.namespace, SECRET)


def forged(key: Key, kind: Kind = Kind.VALUE, stamp: bytes | None = None) -> bytes:
    record = ErrorRecord("ValueError", "forged")
    payload = {
        Kind.VALUE: Payload("plain", msgspec.msgpack.encode("forged")),
        Kind.ERROR: Payload("error", msgspec.msgpack.encode(record)),
        Kind.REFUSED: Payload("plain", msgspec.msgpack.encode("forged")),
    }[kind]
    return encode_entry(key, Entry(kind, payload, stamp or new_stamp(), 600.0, 600.0))


async def test_answers_are_shared_and_nobody_reads_them(place: Place) -> None:
    """By processes that have the key; without it, or with another, each calls for itself."""
    one, other = sealed(place), sealed(place)
    await one.get_or_call("k", says("for your eyes only"), tags=("t",))
    await stored(one)
    assert await other.get_or_call("k", says("not called")) == "for your eyes only"
    for data in (await place.values(one)).values():
        assert b"eyes" not in data
    for seal in (None, Seal({"now": b"x" * 32}, "now")):
        stranger = place.cache(seal=seal, secret=SECRET)
        assert await stranger.get_or_call("k", says("mine")) == "mine"
        assert stranger.statistics().undecodable >= 1


async def test_a_key_is_rotated_while_entries_are_there(place: Place) -> None:
    """The old one reads, the new one writes."""
    before = place.cache(seal=Seal({"old": b"o" * 32}, "old"), secret=SECRET)
    await before.get_or_call("k", says("answer"))
    await stored(before)
    after = sealed(place)
    assert await after.get_or_call("k", says("not called")) == "answer"
    await after.get_or_call("k", says("newer"), mode="refresh")
    await stored(after)
    assert await before.peek("k") is None
    assert await after.peek("k") == "newer"


async def test_a_hostile_writer_causes_misses_only(place: Place) -> None:
    """Forged, swapped, of another kind, with another life: each is a miss that is counted."""
    one = sealed(place)
    for name in ("k", "other"):
        await one.get_or_call(name, says(f"answer of {name}"))
    await stored(one, 2)
    held, key, another = await place.values(one), key_of(place), key_of(place, "other")
    mine = decode_entry(key, held[key.digest], left=60.0, now=0.0)
    theirs = decode_entry(another, held[another.digest], left=60.0, now=0.0)
    replace = msgspec.structs.replace
    hostile = [
        forged(key),
        encode_entry(key, theirs),
        encode_entry(key, replace(theirs, stamp=mine.stamp)),
        encode_entry(key, replace(mine, stamp=new_stamp())),
        encode_entry(key, replace(mine, kind=Kind.REFUSED)),
        encode_entry(key, replace(mine, payload=Payload("plain", mine.payload.data))),
    ]
    for number, data in enumerate(hostile):
        await place.store(one).set(key, data, 600.0)
        reader = sealed(place)
        assert await reader.peek("k") is None
        assert await reader.get_or_call("k", says(number)) == number
        assert reader.statistics().undecodable >= 1
        await stored(reader)


async def test_a_forged_notification_answers_nobody(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits is told by a leader that has no key: it calls for itself."""
    rung, told = Claim._rung, list[Any]()

    async def heard(claim: Claim, bell: Any, pause: float, leader: bytes) -> Any:
        told.append(None)  # it is subscribed, and has looked again
        told[-1] = await rung(claim, bell, pause, leader)
        return told[-1]

    monkeypatch.setattr(Claim, "_rung", heard)
    cache, provider = sealed(place), GatedProvider[Any]()
    store, key = place.store(cache), key_of(place)
    token = new_token(key)
    for commit, kind in ((True, Kind.VALUE), (False, Kind.ERROR), (False, Kind.REFUSED)):
        assert isinstance(await store.acquire(key, token, b"", 600.0), Lead)
        waiting = asyncio.ensure_future(cache.get_or_call("k", provider, codec=FleetCodec()))
        await until(lambda: bool(told))
        data = forged(key, kind, token)
        if commit:
            await store.commit(key, token, b"", data, 600.0)
        else:
            await store.fail(key, token, data, 600.0)
        await provider.until_waiting(1)
        provider.answer_one("called")
        assert await waiting == "called"
        assert set(told) == {None}
        told.clear()
        await cache.forget("k")
    assert cache.statistics().errors == 0


async def test_an_error_is_told_to_those_who_have_the_key(place: Place) -> None:
    """The others call."""
    policy = Policy(error_ttl=1_000)
    one, other, stranger = sealed(place, policy), sealed(place, policy), place.cache(secret=SECRET)
    with pytest.raises(ValueError, match="hush"):
        await one.get_or_call("k", says(ValueError("hush")), codec=FleetCodec())
    async with asyncio.timeout(60):
        while any(room.flights.statistics().flights for room in one._rooms):
            await asyncio.sleep(0.001)
    with pytest.raises(RemoteCallError, match="hush"):
        await other.get_or_call("k", says("not called"), codec=FleetCodec())
    assert await stranger.get_or_call("k", says("mine"), codec=FleetCodec()) == "mine"


async def test_an_error_is_no_other_calls_error(place: Place) -> None:
    """One that was sealed for a call answers no other one, and is no value either."""
    cache = sealed(place, Policy(error_ttl=1_000))
    with pytest.raises(ValueError, match="hush"):
        await cache.get_or_call("k", says(ValueError("hush")), codec=FleetCodec())
    store, token, other = place.store(cache), os.urandom(16), key_of(place, "other")
    async with asyncio.timeout(60):
        while isinstance(told := await store.acquire(key_of(place), token, b"", 600.0), Wait):
            await asyncio.sleep(0.001)
    assert isinstance(told, Failed)
    assert isinstance(await store.acquire(other, token, b"", 600.0), Lead)
    await store.fail(other, token, told.data, 600.0)
    await store.set(key_of(place, "third"), told.data, 600.0)
    reader = sealed(place)
    for number, name in enumerate(("other", "third"), 1):
        assert await reader.get_or_call(name, says("called"), codec=FleetCodec()) == "called"
        assert reader.statistics().undecodable >= number


@pytest.mark.parametrize("forged", ["open", "moved", "out of order"])
async def test_a_forged_recording_gives_nobody_an_item(place: Place, forged: str) -> None:
    """Frames without a seal, of another generation, or in another order: the follower calls."""
    cache, key = sealed(place), key_of(place)
    token = new_token(key)
    store: Any = place.store(cache)
    store = getattr(store, "recordings", store)
    if not hasattr(store, "record"):
        pytest.skip("this store records no streams")
    assert isinstance(await store.acquire(key, token, b"", 600.0), Lead)
    chunk = msgspec.msgpack.encode("forged")
    frames = {
        "open": Frames(key, token).pack(Frame(1, 0, [chunk], [0], made=time.time())),
        "moved": Frames(key, new_token(key), SEAL).pack(Frame(1, 0, [chunk], [0])),
        "out of order": Frames(key, token, SEAL).pack(Frame(2, 1, [chunk], [0])),
    }

    await store.record(key, token, 1, frames[forged], 600.0, 600.0)
    got, waiting = taking(cache)
    if forged != "out of order":  # nothing is wrong with that frame but its place
        await until(lambda: bool(got) or cache.statistics().undecodable > 0)
        assert cache.statistics().undecodable > 0
    await store.release(key, token)
    await waiting
    assert got == ["called"]


async def test_a_stream_is_sealed_while_it_runs_and_after(place: Place) -> None:
    """A follower in another process has all of it; nothing of it can be read in the store."""
    one, other, gate = sealed(place), sealed(place), asyncio.Event()
    seen = asyncio.Event()

    async def call() -> AsyncIterator[str]:
        async def items() -> AsyncIterator[str]:
            yield "for your"
            seen.set()
            await gate.wait()
            yield "eyes only"

        return items()

    async def take(cache: Cache) -> list[str]:
        return [item async for item in cache.stream("k", call)]

    leader = asyncio.ensure_future(take(one))
    await seen.wait()
    follower = asyncio.ensure_future(take(other))
    gate.set()
    assert await leader == await follower == ["for your", "eyes only"]
    await stored(one)
    assert await take(other) == ["for your", "eyes only"]
    assert one.statistics().provider_calls + other.statistics().provider_calls == 1
    for data in (await place.values(one)).values():
        assert b"for your" not in data


async def test_what_was_forgotten_is_not_believed_again_by_who_knew(place: Place) -> None:
    """The old entry with its old generation, put back as they were: a miss in this process."""
    cache = sealed(place)
    await cache.get_or_call("k", says("old"), tags=("t",))
    await stored(cache)
    before = await place.values(cache)
    generation = await place.generation(cache, "t")
    await cache.forget_tag("t")
    assert await cache.get_or_call("k", says("new"), tags=("t",)) == "new"
    await stored(cache, 2)
    await place.put_generation(cache, "t", generation)
    await place.store(cache).set(key_of(place), before[key_of(place).digest], 600.0)
    assert await cache.peek("k") is None
    late = sealed(place)  # and by then for nobody else either
    assert await late.get_or_call("k", says("newest"), tags=("t",)) == "newest"
