"""A near store before a far one: copies here, decisions there."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from disk_support import Process, envelope, new_key

from samecall import Cache, ConfigurationError, Policy, SamecallWarning
from samecall._entry import Entry, Key, Kind, Payload, encode_entry, new_stamp
from samecall._errors import StoreError, StoreUnreachable, StoreUnusable
from samecall._memory import MemoryStore
from samecall._ports import Hit, Lead
from samecall._tiers import Tiers
from samecall.testing import FaultyStore, GatedProvider, LocalServer, ManualClock
from samecall.testing.contracts import LeaseStoreContract

TOKEN, LONG = bytes(16), 600.0


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samecall._tiers._PATIENCE", 60.0)  # no test's end depends on the machine


def aged(body: bytes) -> Entry:
    return Entry(Kind.VALUE, Payload("test", body), new_stamp(), LONG, LONG)


async def settled(*tiers: Tiers) -> None:
    while any(each._tasks for each in tiers):
        await asyncio.sleep(0)


PATIENT = Policy(op_timeout=60.0)


class TestTiersOfMemory(LeaseStoreContract):
    """To the outside two stores are one."""

    @pytest.fixture
    async def store(self) -> AsyncIterator[Tiers]:
        self.clock = ManualClock()
        tiers = Tiers(MemoryStore(clock=self.clock), MemoryStore(clock=self.clock))
        self.tiers = tiers
        yield tiers
        await tiers.aclose()

    async def pass_time(self, seconds: float) -> None:
        await settled(self.tiers)
        self.clock.advance(seconds)


class TestTiersOverDisk(LeaseStoreContract):
    """The same, near a file."""

    @pytest.fixture
    async def store(self, path: Path) -> AsyncIterator[Tiers]:
        process = Process(path)
        tiers = Tiers(process.store, MemoryStore(), closes=(True, True))
        yield tiers
        await tiers.aclose()


class House:
    """Two processes of one machine before one far store, on one clock."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.near = FaultyStore(MemoryStore(clock=self.clock))
        self.far = FaultyStore(MemoryStore(clock=self.clock))
        self.one = Tiers(self.near, self.far)
        self.two = Tiers(self.near, self.far)

    async def settled(self) -> None:
        await settled(self.one, self.two)

    async def stored(self) -> tuple[Key, bytes]:
        key = new_key()
        data = envelope(key)
        await self.one.acquire(key, TOKEN, b"", LONG)
        assert await self.one.commit(key, TOKEN, b"", data, LONG)
        await self.settled()
        return key, data


@pytest.fixture
def house() -> House:
    return House()


async def test_a_near_copy_answers_alone(house: House) -> None:
    """What one process has stored another one of the machine is told without the far store."""
    key, data = await house.stored()
    asked = sum(house.far.calls.values())
    house.clock.advance(5.0)
    got = await house.two.acquire(key, b"2" * 16, b"", LONG)
    assert (type(got), got.data) == (Hit, data)  # type: ignore[union-attr]
    assert got.left == pytest.approx(LONG - 5.0)  # type: ignore[union-attr]
    assert sum(house.far.calls.values()) == asked


async def test_what_the_far_store_answers_is_copied(house: House) -> None:
    key = new_key()
    data = envelope(key)
    await house.far.set(key, data, LONG)
    for _ in range(2):
        got = await house.one.acquire(key, TOKEN, b"", LONG)
        assert (type(got), got.data) == (Hit, data)  # type: ignore[union-attr]
        assert got.left == pytest.approx(LONG, abs=60.0)  # type: ignore[union-attr]
        await house.settled()
    assert house.far.calls["acquire"] == 1


async def test_copies_of_one_key_are_written_in_their_order(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What replaced an answer at once is what is copied, not what it replaced."""
    key = new_key()
    values = [envelope(key, text) for text in (b"old", b"newer", b"newest")]
    get = house.near.get

    async def slow(key: Key) -> Any:
        found = await get(key)
        for _ in range(20):  # so that the others read before the first one writes
            await asyncio.sleep(0)
        return found

    monkeypatch.setattr(house.near, "get", slow)
    for value in values:
        house.one._keep(key, value, LONG)
    await settled(house.one)
    copy = await house.two._copy(key)
    assert copy is not None
    assert copy.data == values[-1]


async def test_an_older_answer_of_another_process_replaces_no_younger_copy(house: House) -> None:
    """1. one reads the old answer. 2. it is replaced, and two copies that. 3. one copies."""
    key = new_key()
    old, new = (encode_entry(key, entry) for entry in (aged(b"old"), aged(b"new")))
    house.two._keep(key, new, LONG - 1.0)
    await house.settled()
    house.one._keep(key, old, LONG - 50.0)
    await house.settled()
    copy = await house.one._copy(key)
    assert copy is not None
    assert copy.data == new
    house.one._keep(key, new, LONG - 1.001)  # read a moment later: the very same answer
    await house.settled()
    assert house.near.calls["commit"] == 2


async def test_a_copy_is_trusted_for_a_minute(house: House) -> None:
    """Then the far store is asked again, and has the last word."""
    key, old = await house.stored()
    new = envelope(key)
    await house.far.set(key, new, LONG)  # as by another machine
    house.clock.advance(59.0)
    assert (await house.one.get(key)).data == old  # type: ignore[union-attr]
    house.clock.advance(2.0)
    for _ in range(2):
        assert (await house.one.get(key)).data == new  # type: ignore[union-attr]
        await house.settled()


async def test_a_copy_lives_no_longer_than_its_answer(house: House) -> None:
    key = new_key()
    await house.far.set(key, envelope(key), 10.0)
    assert await house.one.get(key) is not None
    await house.settled()
    house.clock.advance(11.0)
    assert await house.two.get(key) is None


async def test_a_copy_that_was_refused_is_passed_over(house: House) -> None:
    """Who has seen it asks the far store, and may lead."""
    key, data = await house.stored()
    for seen in (data[3:19], b"*"):
        assert isinstance(await house.one.acquire(key, TOKEN, seen, LONG), Lead)


async def test_a_forget_takes_both(house: House) -> None:
    """Also what is just being copied: nothing comes back for a while."""
    key, data = await house.stored()
    await house.two.forget(key, LONG)
    assert await house.one.get(key) is None
    house.one._keep(key, data, LONG)  # it was read before
    await house.settled()
    assert await house.one.get(key) is None


@pytest.mark.parametrize("tier", ["near", "far"])
async def test_a_forget_that_fails_is_told(house: House, tier: str) -> None:
    """Whichever store it is; the other one has forgotten."""
    key, _ = await house.stored()
    getattr(house, tier).raise_on("forget")
    with pytest.raises(StoreError):
        await house.one.forget(key, LONG)
    getattr(house, tier).heal()
    other = house.far if tier == "near" else house.near
    spaces = {key.namespace, f"{key.namespace}~near"}
    assert [await other.get(Key(key.digest, space)) for space in spaces] == [None, None]


async def test_a_refused_commit_leaves_no_copy(house: House) -> None:
    key, _ = await house.stored()
    assert not await house.one.commit(key, b"x" * 16, b"other", envelope(key), LONG)
    await house.settled()
    calls = house.far.calls["get"]
    assert await house.one.get(key) is not None
    assert house.far.calls["get"] == calls + 1


# --- trouble --------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [StoreError("x"), StoreUnreachable("x"), ValueError("x")])
async def test_a_near_store_that_raises_is_passed_over(house: House, error: Exception) -> None:
    key, data = await house.stored()
    house.near.raise_on("get", "commit", "set", "forget", error=error)
    for _ in range(3):
        got = await house.one.acquire(key, TOKEN, b"", LONG)
        assert got == Hit(data, LONG)
        await house.settled()
    other = new_key()
    assert isinstance(await house.one.acquire(other, TOKEN, b"", LONG), Lead)
    assert await house.one.commit(other, TOKEN, b"", envelope(other), LONG)


async def test_a_near_store_that_hangs_is_left_alone_for_a_while(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One short wait, and none for the calls that follow."""
    monkeypatch.setattr("samecall._tiers._PATIENCE", 0.01)
    monkeypatch.setattr("samecall._tiers._REST", 60.0)
    key, data = await house.stored()
    house.near.hold("get")
    for _ in range(5):
        assert await house.one.acquire(key, TOKEN, b"", LONG) == Hit(data, LONG)
    assert house.near.held["get"] == 1
    house.near.heal()
    await house.settled()


async def test_a_damaged_copy_costs_no_call(house: House) -> None:
    key, data = await house.stored()
    near = Key(key.digest, f"{key.namespace}~near")
    held = await house.near.get(near)
    assert held is not None
    for spoilt in (held.data[:-1] + b"x", held.data[:30], b"", data):
        await house.near.set(near, spoilt, LONG)
        assert await house.one.acquire(key, TOKEN, b"", LONG) == Hit(data, LONG)
        await house.settled()


async def test_a_near_store_that_cannot_be_used_is_told_once(house: House) -> None:
    house.near.raise_on("get", error=StoreUnusable("cache.db was made by a newer samecall"))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(2):
            assert await house.one.get(new_key()) is None
            house.one._rested_at = 0.0
    assert [str(each.message) for each in told] == [
        "no near copies: cache.db was made by a newer samecall"
    ]
    assert told[0].category is SamecallWarning


# --- with a real far store ------------------------------------------------------------------------


async def test_three_levels(path: Path) -> None:
    """Memory, disk, Redis: each one answers when those before it have nothing."""
    provider: GatedProvider[str] = GatedProvider()
    provider.answer("paid")
    with LocalServer() as server:
        places = [f"disk://{path}", server.url]
        caches = [Cache(places, policy=PATIENT) for _ in range(2)]
        assert await caches[0].get_or_call("k", provider) == "paid"
        await caches[0].aclose()
        assert await caches[1].get_or_call("k", provider) == "paid"
        assert caches[1].statistics().l2_hits == 1
        assert await caches[1].get_or_call("k", provider) == "paid"
        assert caches[1].statistics().l1_hits == 1
        path.unlink()
        elsewhere = Cache(server.url, policy=PATIENT)
        assert await elsewhere.get_or_call("k", provider) == "paid"
        for cache in (caches[1], elsewhere):
            await cache.aclose()
    assert provider.calls == 1


async def test_disk_answers_while_redis_is_away(path: Path) -> None:
    """What is on disk is; for the rest calls go on as they do without a store."""
    provider: GatedProvider[str] = GatedProvider()
    provider.answer("paid")
    with LocalServer() as server:
        cache = Cache([f"disk://{path}", server.url], l1=None, policy=Policy(op_timeout=5.0))
        assert await cache.get_or_call("k", provider) == "paid"
        await cache.aclose()
    assert await cache.get_or_call("k", provider) == "paid"
    assert await cache.get_or_call("other", provider) == "paid"  # and the breaker opens
    assert await cache.get_or_call("k", provider) == "paid"
    await cache.aclose()
    assert provider.calls == 2


@pytest.mark.parametrize("places", [[], ["memory://"], ["memory://", "nonsense://x"], [1, 2]])
def test_places_that_are_none(places: Any) -> None:
    with pytest.raises(ConfigurationError, match="url_or_store takes"):
        Cache(places)


async def test_ready_stores_are_left_open() -> None:
    near, far = FaultyStore(MemoryStore()), FaultyStore(MemoryStore())
    async with Cache([near, far], policy=PATIENT) as cache:
        provider: GatedProvider[str] = GatedProvider()
        provider.answer("paid")
        await cache.get_or_call("k", provider)
    assert near.calls["commit"] == far.calls["commit"] == 1
