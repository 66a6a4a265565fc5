"""A writer without a key, at random: what comes is an answer to what was asked, none forgotten.

He has kept all that ever stood in the store and puts it anywhere, while processes ask and forget.
What one process has forgotten itself it is never given again.
"""

from __future__ import annotations

import os
import random
import time
from typing import Any

import pytest
from place_support import FleetCodec, Place

from samecall import Cache, Key, Policy, Seal
from samecall._entry import STAMP_END, STAMP_START
from samecall._key import key_from
from samecall._ports import Lead

SEAL = Seal({"now": b"n" * 32}, "now")
NAMES, TAGS = ("a", "b", "c"), ("t", "u")
STEPS = 300


class Wall:
    """The clock on the wall, which moves when it is told to."""

    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def time(self) -> float:
        self.at += 1e-4
        return self.at

    def time_ns(self) -> int:
        return int(self.time() * 1e9)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    wall = Wall()
    monkeypatch.setattr(time, "time", wall.time)
    monkeypatch.setattr(time, "time_ns", wall.time_ns)
    return wall


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
