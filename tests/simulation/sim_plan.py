"""What happens in a run: a list of events made from a seed, and the dice for what is not listed.

Every throw of the dice is named by what it is for, so that taking an event out of a plan leaves
the luck of the others as it was: that is what makes shrinking work.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from samecall._entry import Key

__all__ = ["Event", "Plan", "Rates", "dice", "key_of", "make_plan", "shown"]

DEADLINE = 6.0
_CLASSES = ("calm", "calm", "crash", "pause", "bells", "net", "store", "jump", "all", "all")


@dataclass(frozen=True)
class Event:
    """One thing that is done to the fleet at a time; which fields count depends on `what`."""

    at: float
    what: str
    proc: int = 0
    key: str = ""
    seconds: float = 0.0
    mode: str = "use"
    wait: float | None = None
    cancel: float | None = None
    abandon: bool = False
    max_age: float | None = None
    ttl: float = 60.0
    name: int = 0

    def __str__(self) -> str:
        plain = Event(0.0, "")
        more = {
            name: value
            for name, value in vars(self).items()
            if name not in ("at", "what", "name") and value != getattr(plain, name)
        }
        told = " ".join(f"{name}={value}" for name, value in more.items())
        return f"{self.at:8.4f} {self.what} #{self.name} {told}"


@dataclass(frozen=True)
class Rates:
    """Chances of a message."""

    lose: float = 0.0
    slow: float = 0.0
    twice: float = 0.0
    bell: float = 0.0
    """Chance that a ring is lost, late or doubled."""


@dataclass(frozen=True)
class Plan:
    seed: int
    kind: str
    leases: tuple[float, ...]
    """Of each process; how many there are."""
    drift: bool
    rates: Rates
    fail: float
    hang: float
    events: tuple[Event, ...] = field(repr=False)

    def without(self, dropped: set[int]) -> Plan:
        return replace(self, events=tuple(e for e in self.events if e.name not in dropped))


def dice(seed: int, label: str) -> tuple[float, ...]:
    """Eight numbers from 0 to 1."""
    digest = blake2b(f"{seed}|{label}".encode(), digest_size=32).digest()
    return tuple(number / 2**32 for number in struct.unpack("8I", digest))


_KEYS: dict[str, Key] = {}


def key_of(name: str) -> Key:
    """`name` is "namespace/letter"."""
    key = _KEYS.get(name)
    if key is None:
        namespace = name.partition("/")[0]
        key = _KEYS[name] = Key(blake2b(name.encode(), digest_size=32).digest(), namespace)
        _NAMES[key] = name
    return key


_NAMES: dict[Key, str] = {}


def shown(key: Key) -> str:
    return _NAMES[key]


def make_plan(seed: int) -> Plan:
    chance = random.Random(seed)
    kind = chance.choice(_CLASSES)
    count = chance.choice((2, 2, 3, 3, 4))
    lease = chance.choice((0.6, 1.0, 1.0, 2.0))
    leases = [lease] * count
    if chance.random() < 0.15:
        leases[chance.randrange(count)] = chance.choice((0.6, 6.0))
    keys = [f"n{i % 2}/{'abc'[i]}" for i in range(chance.choice((1, 1, 2, 3)))]
    span = chance.uniform(1.0, 6.0)
    events = _asks(chance, count, keys, span)
    events += _wishes(chance, count, keys, span)
    events += _faults(chance, kind, count, keys, span)
    events.sort(key=lambda event: event.at)
    named = tuple(replace(event, name=name) for name, event in enumerate(events))
    return Plan(
        seed=seed,
        kind=kind,
        leases=tuple(leases),
        drift=kind in ("jump", "all"),
        rates=_rates(chance, kind),
        fail=chance.choice((0.0, 0.0, 0.2, 0.5)),
        hang=chance.choice((0.0, 0.0, 0.0, 0.08)),
        events=named,
    )


def _rates(chance: random.Random, kind: str) -> Rates:
    if kind == "bells":
        return Rates(bell=chance.uniform(0.1, 1.0))
    if kind not in ("net", "all"):
        return Rates()
    some = chance.choice((0.01, 0.05, 0.2))
    return Rates(
        lose=some * chance.random(),
        slow=some * chance.random(),
        twice=some * chance.random(),
        bell=chance.choice((0.0, 0.3)),
    )


def _asks(chance: random.Random, count: int, keys: list[str], span: float) -> list[Event]:
    plain = chance.random() < 0.4  # nothing but "use", nobody leaves
    ttl = chance.choice((0.4, 2.0, 60.0, 60.0))
    some: list[Event] = []
    bursts = [chance.uniform(0, span) for _ in range(chance.randint(1, 4))]
    for _ in range(chance.randint(4, 16)):
        at = chance.choice(bursts) if chance.random() < 0.6 else chance.uniform(0, span)
        more: dict[str, Any] = {}
        if not plain:
            more["mode"] = chance.choice(("use",) * 7 + ("refresh", "bypass", "only"))
            if chance.random() < 0.25:
                more["cancel"] = chance.choice((0.0, 0.001, 0.02, 0.3, 1.5)) * chance.random()
            if chance.random() < 0.2:
                more["wait"] = chance.uniform(0.05, 2.0)
            if chance.random() < 0.1:
                more["max_age"] = chance.choice((0.1, 1.0))
            more["abandon"] = chance.random() < 0.3
        key, proc = chance.choice(keys), chance.randrange(count)
        near = chance.choice((0.0, 0.0005, 0.003, 0.02)) * chance.random()
        some.append(Event(at + near, "ask", proc, key, ttl=ttl, **more))
    return some


def _wishes(chance: random.Random, count: int, keys: list[str], span: float) -> list[Event]:
    if chance.random() < 0.5:
        return []
    some: list[Event] = []
    for _ in range(chance.randint(1, 3)):
        what = chance.choice(("forget", "forget", "forget", "clear", "close"))
        key, proc = chance.choice(keys), chance.randrange(count)
        at = chance.uniform(0, span + 1)
        some.append(Event(at, what, proc, key))
        if what == "forget":  # somebody asks just after
            for asker in {proc, chance.randrange(count)}:
                late = at + chance.choice((0.005, 0.05, 1.2))
                some.append(Event(late, "ask", asker, key))
    return some


_FAULTS = {
    "calm": (),
    "crash": ("crash",),
    "pause": ("pause",),
    "bells": ("rehang",),
    "net": ("cut", "rehang"),
    "store": ("restart", "evict", "steal", "damage", "swap", "swap"),
    "jump": ("jump",),
    "all": (
        "crash", "pause", "rehang", "cut", "restart", "evict", "steal", "damage", "swap", "jump",
    ),
}  # fmt: skip


def _faults(
    chance: random.Random, kind: str, count: int, keys: list[str], span: float
) -> list[Event]:
    known = _FAULTS[kind]
    if not known:
        return []
    some: list[Event] = []
    for _ in range(chance.randint(1, 4)):
        what = chance.choice(known)
        proc = chance.randrange(count)
        seconds = {
            "crash": chance.choice((0.0, 0.5, 3.0)),  # until another takes its place; 0: nobody
            "pause": chance.uniform(0.05, 6.0),
            "cut": chance.uniform(0.05, 4.0),
            "restart": chance.choice((0.0, 0.1, 1.0, 3.0)),
            "jump": chance.choice((0.1, 1.0, 5.0, 60.0)),
        }.get(what, chance.choice((0.0, 1.0)))
        key = chance.choice(keys)
        some.append(Event(chance.uniform(0, span + 2), what, proc, key, seconds))
    return some
