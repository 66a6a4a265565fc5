"""Generations that are valid for some time: what is in use is, and what was kept is not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from place_support import Place, Wall, says, stored

from samecall import L1, Cache, Policy, Seal
from samecall._generations import Generations
from samecall._key import key_from
from samecall._lineage import Floors, Lineage
from samecall._seal import CLOCKS
from samecall.testing import ManualClock

KEYS = {"now": b"n" * 32}
VALID = 3600.0
OPEN = Seal(KEYS, "now")
SEAL = Seal(KEYS, "now", generation_validity=VALID)
READS: Any = {"generation_validity": timedelta(hours=1), "renews_generations": False}
READER = Seal(KEYS, "now", **READS)
MONTH = Policy(ttl=30 * 86_400)
TAGS = ("", "t")


def cache_of(place: Place, seal: Seal = SEAL, **more: Any) -> Cache:
    return place.cache(MONTH, seal=seal, **more)


async def put(place: Place, cache: Cache, answer: str, name: str = "k") -> None:
    before = cache.statistics().stored
    await cache.get_or_call(name, says(answer), tags=("t",))
    await place.settled(cache, name)
    assert cache.statistics().stored == before + 1


async def peek(place: Place, cache: Cache, name: str = "k") -> Any:
    """What is there; what was to be sealed anew is."""
    found = await cache.peek(name)
    await place.righted(cache)
    return found


class Kept:
    """What an attacker keeps of the store: an entry, and what was held for its tags."""

    def __init__(self, place: Place, name: str = "k") -> None:
        self.place, self.key = place, key_from(name, place.namespace, None)
        self.entry, self.records = b"", dict[str, bytes]()

    async def take(self, cache: Cache) -> None:
        self.entry = (await self.place.values(cache))[self.key.digest]
        self.records = {tag: await self.place.generation(cache, tag) for tag in TAGS}

    async def put_back(self, cache: Cache) -> None:
        for tag, record in self.records.items():
            await self.place.put_generation(cache, tag, record)
        await self.place.store(cache).set(self.key, self.entry, 600.0)


@pytest.mark.parametrize("how", ["tag", "namespace"])
async def test_what_was_kept_brings_nothing_back_once_the_bound_has_gone_by(
    place: Place, wall: Wall, how: str
) -> None:
    """To a process that was started since, and has seen nothing newer; without a bound it does."""
    one, kept = cache_of(place), Kept(place)
    await put(place, one, "old")
    await kept.take(one)
    await (one.forget_tag("t") if how == "tag" else one.clear())
    wall.at += VALID + 2 * CLOCKS
    await kept.put_back(one)
    assert await cache_of(place, OPEN).peek("k") == "old"
    since = cache_of(place)
    assert await since.peek("k") is None
    await put(place, since, "new")
    assert await cache_of(place).peek("k") == "new"


async def test_what_is_in_use_is_not_over(place: Place, wall: Wall) -> None:
    """Whoever uses it, as long as somebody does; each of these processes asks but once."""
    await put(place, cache_of(place), "old")
    for _ in range(8):
        wall.at += 0.9 * VALID
        assert await peek(place, cache_of(place)) == "old"


async def test_what_is_in_use_is_sealed_anew_no_more_often_than_it_must(
    place: Place, wall: Wall
) -> None:
    """Three times within the bound."""
    one = cache_of(place)
    await put(place, one, "old")
    records = set[bytes]()
    for _ in range(100):
        wall.at += VALID / 100
        assert await peek(place, one) == "old"
        records.add(await place.generation(one, "t"))
    assert len(records) == 3


@pytest.mark.parametrize(("gone", "there"), [(VALID, "old"), (VALID + 2 * CLOCKS, None)])
async def test_what_nobody_uses_is_forgotten(
    place: Place, wall: Wall, gone: float, there: object
) -> None:
    """After the bound, and not before; what is called from then on is an answer."""
    await put(place, cache_of(place), "old")
    wall.at += gone
    one = cache_of(place)
    assert await one.peek("k") == there
    await one.get_or_call("k", says("new"), tags=("t",))
    assert one.statistics().led == (there is None)


async def test_a_process_that_answers_from_memory_seals_anew_in_time(
    place: Place, wall: Wall
) -> None:
    """Even by the shortest bound."""
    clock, seal = ManualClock(), Seal(KEYS, "now", generation_validity=300)
    one = cache_of(place, seal, l1=L1(ttl=3600), clock=clock)
    await put(place, one, "old")
    for _ in range(100):
        clock.advance(20)
        wall.at += 20
        assert await one.get_or_call("k", says("not called"), tags=("t",)) == "old"
        await place.righted(one)
    assert one.statistics().provider_calls == 1
    assert one.statistics().l1_hits + one.statistics().l2_hits == 100


async def test_a_fleet_that_knows_no_bound_goes_on(place: Place, wall: Wall) -> None:
    """It reads what was sealed anew, seals nothing anew, and what it has made is renewed."""
    open_, bounded = cache_of(place, OPEN), cache_of(place)
    await put(place, open_, "old")
    first = await place.generation(open_, "t")
    wall.at += 0.9 * VALID
    assert await peek(place, open_) == "old"
    assert await place.generation(open_, "t") == first
    assert await peek(place, bounded) == "old"
    second = await place.generation(open_, "t")
    assert second != first
    assert await peek(place, open_) == "old"
    wall.at += 0.9 * VALID
    await put(place, open_, "new", "other")
    assert await peek(place, bounded, "other") == "new"
    assert await peek(place, bounded) == "old"


@pytest.mark.parametrize("rotates", [{}, READS], ids=["no bound", "reads"])
async def test_a_key_is_rotated_and_nothing_becomes_younger(
    place: Place, wall: Wall, rotates: dict[str, Any]
) -> None:
    """Sealed anew by a process that knows no bound, or renews nothing."""
    keys = {**KEYS, "next": b"x" * 32}
    await put(place, cache_of(place), "old")
    wall.at += VALID / 2
    assert await peek(place, cache_of(place)) == "old"
    renewed = await place.generation(cache_of(place), "t")
    wall.at += VALID / 2
    assert await peek(place, cache_of(place, Seal(keys, "next", **rotates))) == "old"
    assert await place.generation(cache_of(place), "t") != renewed
    wall.at += VALID / 4
    assert await cache_of(place, Seal(keys, "next", **READS)).peek("k") == "old"
    wall.at += VALID / 4 + 2 * CLOCKS
    assert await cache_of(place, Seal(keys, "next", **READS)).peek("k") is None


async def test_who_is_not_to_renew_does_not(place: Place, wall: Wall) -> None:
    """Shown what was forgotten, it makes it no younger; and what it finds to be over is."""
    one, kept, reader = cache_of(place), Kept(place), cache_of(place, READER)
    await put(place, one, "old")
    await kept.take(one)
    await one.forget_tag("t")
    await kept.put_back(one)
    wall.at += VALID
    assert await peek(place, reader) == "old"
    assert await place.generation(reader, "t") == kept.records["t"]
    wall.at += 2 * CLOCKS
    assert await peek(place, reader) is None
    assert await place.generation(reader, "t") != kept.records["t"]


async def test_what_is_sealed_anew_is_not_what_was_forgotten_meanwhile(
    place: Place, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read before a `forget_tag`, and sealed anew after it: nobody is told the old one again."""
    one, slow = cache_of(place), cache_of(place)
    await put(place, one, "old")
    wall.at += VALID / 2
    # it comes with the next question
    monkeypatch.setattr(Generations, "_put_right", lambda *_: None)
    assert await slow.peek("k") == "old"
    await one.forget_tag("t")
    assert await slow.peek("k") is None
    assert await cache_of(place, OPEN).peek("k") is None
    await put(place, slow, "new")
    assert await cache_of(place).peek("k") == "new"


async def test_an_older_seal_of_the_same_one_is_as_old_as_it_is(place: Place, wall: Wall) -> None:
    """Put back, it forgets nothing while it is valid; it is sealed anew, or it is over."""
    one, kept = cache_of(place), Kept(place)
    await put(place, one, "old")
    await kept.take(one)
    wall.at += 0.6 * VALID
    assert await peek(place, one) == "old"
    await kept.put_back(one)
    wall.at += 0.3 * VALID
    assert await peek(place, cache_of(place)) == "old"
    wall.at += 0.9 * VALID
    assert await peek(place, one) == "old"
    await kept.put_back(one)
    wall.at += 2 * CLOCKS
    assert await peek(place, one) is None
    await put(place, one, "new")
    assert await cache_of(place).peek("k") == "new"


def test_what_is_known_to_be_over_is_not_sealed_anew(wall: Wall) -> None:
    """Not even for the moment until it has ended once more: somebody may listen."""
    over = set[bytes]()
    lineage = Lineage(
        SEAL, VALID, lambda _, tags, held: tuple(tags) if over.intersection(held) else ()
    )
    (offer,) = lineage.offers("ns", ("t",), Floors())
    wall.at += VALID / 2
    held = lineage.read("ns", ("t",), (offer.fresh,))
    assert held is not None
    assert lineage.puts_right("ns", ("t",))
    over.update(held)
    assert lineage.read("ns", ("t",), (offer.fresh,)) == held
    assert not lineage.puts_right("ns", ("t",))


async def test_a_memory_of_ones_own_has_no_bound(wall: Wall) -> None:
    """Nobody else writes to it, so nothing in it has to be confirmed."""
    async with Cache(seal=SEAL, policy=MONTH, l1=None) as cache:
        await cache.get_or_call("k", says("old"), tags=("t",))
        await stored(cache)
        wall.at += 10 * VALID
        cache._rooms.copies.take_back("default", "t")  # as if it were asked for once more
        assert await cache.peek("k") == "old"
