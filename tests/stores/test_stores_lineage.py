"""Sealed generations: what a hostile writer does to them brings nothing back; on every store."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from place_support import Place, says

from samecall import Cache, Seal
from samecall._key import key_from
from samecall._lineage import Floors, Lineage
from samecall._seal import CLOCKS

OLD, NOW = b"o" * 32, b"n" * 32
SEAL = Seal({"now": NOW}, "now")


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets more time go by than two clocks may differ by."""
    gone = [1_700_000_000_000_000]

    def moment() -> int:
        gone[0] += 1
        return gone[0]

    def later() -> None:
        gone[0] += int(2e6 * CLOCKS)

    for room in ("_lineage", "_copies"):
        monkeypatch.setattr(f"samecall.{room}.moment", moment)
    return later


def sealed(place: Place, seal: Seal | None = SEAL, **more: Any) -> Cache:
    return place.cache(seal=seal, **more)


async def put(place: Place, cache: Cache, answer: str, name: str = "k") -> None:
    before = cache.statistics().stored
    await cache.get_or_call(name, says(answer), tags=("t",))
    await place.settled(cache, name)
    assert cache.statistics().stored == before + 1


class Kept:
    """What an attacker keeps: an entry, and what the store held for its tag."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.entry = self.record = b""

    async def take(self, cache: Cache) -> None:
        key = key_from("k", self.place.namespace, None)
        self.entry = (await self.place.values(cache))[key.digest]
        self.record = await self.place.generation(cache, "t")

    async def put_back(self, cache: Cache, record: bytes | None = None) -> None:
        key = key_from("k", self.place.namespace, None)
        await self.place.put_generation(cache, "t", self.record if record is None else record)
        await self.place.store(cache).set(key, self.entry, 600.0)


async def test_an_older_one_is_not_believed_by_who_knows_a_later_one(
    place: Place, later: Callable[[], None]
) -> None:
    """One that was started since, and has never seen the old one; it ends it for all others."""
    one, kept = sealed(place), Kept(place)
    await put(place, one, "old")
    await kept.take(one)
    await one.forget_tag("t")
    later()
    since = sealed(place)
    await put(place, since, "new")
    await kept.put_back(since)
    assert await since.peek("k") is None
    assert await sealed(place).peek("k") is None
    await put(place, since, "newest")
    assert await sealed(place).peek("k") == "newest"


async def test_an_older_one_is_not_believed_by_who_has_forgotten_it(
    place: Place, later: Callable[[], None]
) -> None:
    """Whatever it was: this process never knew it."""
    one, kept, forgets = sealed(place), Kept(place), sealed(place)
    await put(place, one, "old")
    await kept.take(one)
    later()
    await forgets.forget_tag("t")
    await kept.put_back(forgets)
    assert await forgets.peek("k") is None
    await put(place, forgets, "new")


async def test_an_entry_of_a_later_one_says_that_an_older_one_is_over(
    place: Place, later: Callable[[], None]
) -> None:
    """Who knew nothing, and is told the old one, has met what was made after it."""
    one, kept = sealed(place), Kept(place)
    await put(place, one, "old")
    await kept.take(one)
    await one.forget_tag("t")
    later()
    await put(place, one, "new", "other")
    knows_nothing = sealed(place)
    await kept.put_back(knows_nothing)
    assert await knows_nothing.peek("other") is None  # its generation is not the one that is told
    assert await knows_nothing.peek("k") is None


@pytest.mark.parametrize(
    "forged", ["open", "another tag's", "another space's", "another key's", "a lost key's"]
)
async def test_a_forged_one_is_none(place: Place, forged: str) -> None:
    """Nobody without a key can choose one, before or after what it would bring back."""
    one, space = sealed(place), place.namespace
    record = {
        "open": bytes(16),
        "another tag's": record_of(SEAL, space, "u"),
        "another space's": record_of(SEAL, f"{space}-2", "t"),
        "another key's": record_of(Seal({"now": bytes(32)}, "now"), space, "t"),
        "a lost key's": record_of(Seal({"lost": NOW}, "lost"), space, "t"),
    }[forged]
    await place.put_generation(one, "t", record)
    await one.get_or_call("k", says("old"), tags=("t",))
    await place.settled(one)
    held = await place.values(one)
    await one.forget_tag("t")
    await place.put_generation(one, "t", record)
    for data in held.values():
        await place.store(one).set(key_from("k", place.namespace, None), data, 600.0)
    reader = sealed(place)
    assert await reader.peek("k") is None
    assert await reader.get_or_call("k", says("new"), tags=("t",)) == "new"
    await one.forget_tag("t")  # and that puts it right in any case
    await put(place, one, "newest")
    assert await sealed(place).peek("k") == "newest"


def record_of(seal: Seal, namespace: str, tag: str) -> bytes:
    (offer,) = Lineage(seal).offers(namespace, (tag,), Floors())
    return offer.fresh


async def test_what_is_not_sealed_is_replaced(place: Place) -> None:
    """A fleet that begins to seal, or somebody's bytes: from the next question on it is sealed."""
    plain, one, other = place.cache(), sealed(place), sealed(place)
    await put(place, plain, "open")
    assert len(await place.generation(plain, "t")) == 16
    await put(place, one, "sealed")
    assert await other.peek("k") == "sealed"
    record, late = await place.generation(plain, "t"), place.cache()
    await put(place, late, "open, too", "other")  # who does not seal has some generation as well
    assert await late.peek("other") == "open, too"
    assert await place.generation(plain, "t") == record
    for anybodys in (b"", bytes(99)):
        await place.put_generation(one, "t", anybodys)
        await put(place, sealed(place), "sealed once more")
        assert await sealed(place).peek("k") == "sealed once more"


async def test_a_key_is_rotated_and_nothing_is_forgotten(place: Place) -> None:
    """Generations are sealed anew with the key that writes; the old one may then be taken away."""
    before = sealed(place, Seal({"old": OLD}, "old"))
    await put(place, before, "made before")
    rotating = sealed(place, Seal({"old": OLD, "now": NOW}, "now"))
    assert await rotating.peek("k") == "made before"
    await put(place, rotating, "made after", "other")
    assert await sealed(place, Seal({"old": OLD}, "old")).peek("k") is None  # it has not the key
    assert await sealed(place).peek("other") == "made after"
    assert sealed(place).statistics().undecodable == 0


async def test_what_does_not_open_is_not_kept_alive(place: Place) -> None:
    """Who has not got its key stores nothing under it, and it ends by itself."""
    strange = sealed(place, Seal({"strange": bytes(32)}, "strange"))
    await put(place, strange, "theirs")
    if await place.generation_lasts(strange, "t") == float("inf"):
        pytest.skip("it ends with its process")
    reader = sealed(place)
    with pytest.warns(UserWarning, match="does not open"):
        assert await reader.get_or_call("j", says("mine"), tags=("t",)) == "mine"
    record = await place.generation(reader, "t")
    await place.put_generation(reader, "t", record)  # for 600 seconds
    for _ in range(2):
        assert await reader.get_or_call("j", says("mine"), tags=("t",)) == "mine"
    assert reader.statistics().stored == 0
    assert await place.generation_lasts(reader, "t") <= 600
    assert await place.generation(reader, "t") == record


async def test_a_call_that_was_forgotten_is_not_believed_again_by_who_forgot_it(
    place: Place, later: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entry, put back as it was; what is called from then on is an answer."""
    one, kept = sealed(place), Kept(place)
    now = time.time()
    monkeypatch.setattr("samecall._envelopes.time.time", lambda: now)
    await put(place, one, "old")
    await kept.take(one)
    monkeypatch.setattr("samecall._envelopes.time.time", lambda: now + 2 * CLOCKS)
    await one.forget("k")
    await kept.put_back(one)
    assert await one.peek("k") is None
    assert await one.get_or_call("k", says("new"), tags=("t",)) == "new"
    assert await one.peek("k") == "new"


async def test_a_machine_whose_clock_is_behind_begins_a_later_one(
    place: Place, later: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows of one that was made after its own now; what it makes is over for nobody."""
    one, behind = sealed(place), sealed(place)
    await put(place, one, "old")
    assert await behind.peek("k") == "old"
    later()
    await one.forget_tag("t")
    await put(place, one, "new")
    assert await behind.get_or_call("k", says("not called"), tags=("t",)) == "new"
    for room in ("_lineage", "_copies"):
        monkeypatch.setattr(f"samecall.{room}.moment", lambda: 1)
    await behind.forget_tag("t")
    await put(place, behind, "newest")
    assert await one.peek("k") == "newest"
    assert await behind.peek("k") == "newest"
