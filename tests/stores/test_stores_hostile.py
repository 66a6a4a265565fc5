"""A writer without a key, at random: what comes is an answer to what was asked, none forgotten.

He has kept all that ever stood in the store and puts it anywhere, while processes ask and forget.
What one process has forgotten itself it is never given again; where generations are valid for some
time only, nor is anybody else, once that time has gone by.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from place_support import FleetCodec, Place, Wall

from samecall import Cache, Key, Policy, Seal
from samecall._entry import STAMP_END, STAMP_START
from samecall._key import key_from
from samecall._lineage import Lineage
from samecall._ports import Lead
from samecall._seal import CLOCKS

SEAL = Seal({"now": b"n" * 32}, "now")
VALID = 600.0
WORTHLESS = VALID + 2 * CLOCKS
RENEWS, READS = (
    Seal({"now": b"n" * 32}, "now", generation_validity=VALID, renews_generations=renews)
    for renews in (True, False)
)
NAMES, TAGS = ("a", "b", "c"), ("t", "u")
STEPS = 300


class Process:
    """One process, and the number of the first call that it may still be given, by name."""

    def __init__(self, place: Place) -> None:
        self.cache: Cache = place.cache(Policy(error_ttl=0, deadline=5), seal=SEAL)
        self.since = dict.fromkeys(NAMES, 0)


class Attack:
    """Everything that ever stood there, and where he puts it."""

    def __init__(self, place: Place, chance: random.Random) -> None:
        self.place, self.chance = place, chance
        self.entries: set[bytes] = {os.urandom(80), b""}
        self.moments: list[tuple[dict[bytes, bytes], dict[str, bytes]]] = []
        self.records: set[bytes] = {os.urandom(16), os.urandom(57), b"\xa5g\x01" + os.urandom(54)}

    async def look(self, cache: Cache) -> None:
        values = await self.place.values(cache)
        records = {tag: await self.place.generation(cache, tag) for tag in ("", *TAGS)}
        self.moments.append((values, records))
        self.entries |= set(values.values())
        self.records |= set(records.values())

    async def strike(self, cache: Cache) -> None:
        store, chance = self.place.store(cache), self.chance
        key = key_from(chance.choice(NAMES), self.place.namespace)
        entry, record = (chance.choice(sorted(each)) for each in (self.entries, self.records))
        match chance.randrange(9):
            case 6 | 7 | 8 if self.moments:  # all as it once was
                values, records = chance.choice(self.moments)
                for tag, was in records.items():
                    await self.place.put_generation(cache, tag, was)
                for digest, data in values.items():
                    await store.set(Key(digest, self.place.namespace), data, 600.0)
            case 0 | 1:
                await store.set(key, entry, 600.0)
            case 2 | 3:
                await self.place.put_generation(cache, chance.choice(("", *TAGS)), record)
            case 4:
                token = entry[STAMP_START:STAMP_END].ljust(16, b"x")
                if isinstance(await store.acquire(key, token, b"", 600.0), Lead):
                    await store.fail(key, token, entry, 600.0)
            case _:
                await store.forget(key, 0.0)


class Fleet:
    """Three processes, what they have called for, and what each must not be given."""

    def __init__(self, place: Place, chance: random.Random) -> None:
        self.place, self.chance = place, chance
        self.attack = Attack(place, chance)
        self.processes = [Process(place) for _ in range(3)]
        self.calls: list[str] = []
        self.hits = 0

    async def ask(self, process: Process, name: str) -> None:
        async def call() -> list[Any]:
            self.calls.append(name)
            return [name, len(self.calls) - 1]

        before, tags = len(self.calls), (tag_of(name),)
        given = await process.cache.get_or_call(name, call, tags=tags, codec=FleetCodec())
        assert given[0] == name == self.calls[given[1]]
        assert given[1] >= process.since[name]
        self.hits += len(self.calls) == before

    async def forget(self, process: Process, name: str, *, tag: bool) -> None:
        if tag:
            await process.cache.forget_tag(tag_of(name))
        else:
            await process.cache.forget(name)
        for each in NAMES:
            if each == name or (tag and tag_of(each) == tag_of(name)):
                process.since[each] = len(self.calls)

    async def step(self) -> None:
        at, name = self.chance.randrange(3), self.chance.choice(NAMES)
        process = self.processes[at]
        match self.chance.randrange(40):
            case 0 | 1 | 2:
                await self.forget(process, name, tag=True)
            case 3 | 4 | 5:
                await self.forget(process, name, tag=False)
            case 6:
                self.processes[at] = Process(self.place)  # it knows of nothing
            case 7 | 8 | 9 | 10:
                await self.attack.look(process.cache)
            case number if number < 20:
                await self.attack.strike(process.cache)
            case _:
                await self.ask(process, name)
        for each in self.processes:
            await self.place.settled(each.cache, name)


def tag_of(name: str) -> str:
    return TAGS[NAMES.index(name) % 2]


@pytest.mark.filterwarnings("ignore::samecall.SamecallWarning")
@pytest.mark.parametrize("seed", range(3))
async def test_at_random(place: Place, wall: Wall, seed: int) -> None:
    fleet = Fleet(place, random.Random(seed))
    for _ in range(STEPS):
        wall.at += 20
        await fleet.step()
    assert fleet.calls
    assert fleet.hits


_Moment = tuple[float, dict[bytes, bytes], dict[str, bytes]]


class Bounded:
    """Processes of which one forgets; what was forgotten is worth nothing once the bound is over.

    Whoever is asked, started since or not. `led`: he shows what he likes at any time, each
    generation in the latest seal that anybody has made for it, whether it came to the store or not;
    then only the one who forgets renews. Else he does nothing with what he has kept until it is
    older than the bound, and all renew.
    """

    def __init__(self, place: Place, wall: Wall, chance: random.Random, *, led: bool) -> None:
        self.place, self.wall, self.chance, self.led = place, wall, chance, led
        self.others = READS if led else RENEWS
        self.forgets = self.started(RENEWS)
        self.process = self.started(self.others)
        self.kept: list[_Moment] = []
        self.target: _Moment | None = None
        self.generations: dict[bytes, tuple[str, bytes]] = {}
        self.sealed: dict[tuple[str, bytes], bytes] = {}
        self.calls: list[str] = []
        self.since = {name: [(0.0, 0)] for name in NAMES}
        self.hits = 0

    def started(self, seal: Seal) -> Cache:
        policy = Policy(ttl=30 * 86_400, error_ttl=0, deadline=5)
        return self.place.cache(policy, seal=seal)

    async def ask(self, cache: Cache, name: str) -> None:
        async def call() -> list[Any]:
            self.calls.append(name)
            return [name, len(self.calls) - 1]

        before = len(self.calls)
        _, number = await cache.get_or_call(name, call, tags=(tag_of(name),), codec=FleetCodec())
        await self.place.settled(cache, name)
        await self.place.righted(cache)
        for moment, first in self.since[name]:
            assert number >= first or self.wall.at < moment + WORTHLESS
        self.hits += len(self.calls) == before

    async def look(self) -> None:
        records = {tag: await self.place.generation(self.forgets, tag) for tag in ("", *TAGS)}
        values = await self.place.values(self.forgets)
        self.kept.append((self.wall.at, values, records))

    async def strike(self) -> None:
        old = [kept for kept in self.kept if self.led or self.wall.at > kept[0] + WORTHLESS]
        if not old:
            return
        if self.target not in old or self.chance.random() < 0.05:
            self.target = self.chance.choice(old[-8:])
        _, values, records = self.target
        for tag, record in records.items():
            await self.place.put_generation(self.forgets, tag, self.seal_of(record))
        for digest, data in values.items():
            key = Key(digest, self.place.namespace)
            await self.place.store(self.forgets).set(key, data, 600.0)

    def seal_of(self, record: bytes) -> bytes:
        """The latest one of the same generation."""
        generation = self.generations.get(record) if self.led else None
        return record if generation is None else self.sealed[generation]

    async def step(self) -> None:
        name = self.chance.choice(NAMES)
        match self.chance.randrange(20):
            case 0:
                await self.forgets.forget_tag(tag_of(name))
                for each in NAMES:
                    if tag_of(each) == tag_of(name):
                        self.since[each].append((self.wall.at, len(self.calls)))
            case 1 | 2 | 3:
                self.process = self.started(self.others)  # it knows of nothing
            case 4 | 5:
                await self.look()
            case number if number < 10:
                await self.strike()
            case number if number < 12:
                await self.ask(self.forgets, name)
            case _:
                await self.ask(self.process, name)


@pytest.mark.filterwarnings("ignore::samecall.SamecallWarning")
@pytest.mark.parametrize("seed", [18])  # finds each of the holes that it is for
@pytest.mark.parametrize("led", [False, True], ids=["kept", "led"])
async def test_what_was_forgotten_is_worth_nothing_after_the_bound(
    place: Place, wall: Wall, monkeypatch: pytest.MonkeyPatch, seed: int, *, led: bool
) -> None:
    fleet = Bounded(place, wall, random.Random(seed), led=led)
    seals = Lineage._sealed

    def sealed(self: Lineage, namespace: str, tag: str, generation: bytes) -> bytes:
        record = seals(self, namespace, tag, generation)
        fleet.generations[record] = tag, generation[:24]
        fleet.sealed[tag, generation[:24]] = record
        return record

    monkeypatch.setattr(Lineage, "_sealed", sealed)
    for _ in range(STEPS):
        wall.at += 20
        await fleet.step()
    assert fleet.hits
