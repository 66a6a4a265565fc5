"""The generations that one process knows, and for how long each is believed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from samecall._entry import Entry, Key
from samecall._lineage import Floors, moment
from samecall._ports import Clock

__all__ = ["Copies"]

_MOST = 10_000
_Names = tuple[str, ...]


class _Copy(NamedTuple):
    generation: bytes
    until: float
    """When it is no longer believed."""
    told: float


class Copies:
    """The generations that one process knows. Any thread may use it.

    trusted: seconds for which a copy is believed; `outdated` is called whenever one was taken
    back, so that those who have compared with it compare anew.

    One that is known to have ended is never believed again: a store that tells it has lost a
    `forget_tag` (a failover), or somebody has put it back there. floors: where generations are
    sealed, what is known of their order; one from before a later one is over, too.
    """

    def __init__(
        self, clock: Clock, trusted: float, outdated: Callable[[], None],
        floors: Floors | None = None,
    ) -> None:  # fmt: skip
        self.trusted = trusted
        self.era = 0
        """How often copies were taken back."""
        self.changes = 0
        """How often because one has changed, and not because nobody would tell."""
        self.floors = floors
        self._now = clock.now
        self._outdated = outdated
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str], _Copy] = OrderedDict()
        self._over: OrderedDict[bytes, None] = OrderedDict()
        self._lasting: OrderedDict[bytes, float] = OrderedDict()

    def of(self, namespace: str, tags: _Names, grace: float = 0.0) -> tuple[bytes, ...] | None:
        """The generations of all these tags, if each is known and still believed."""
        now = self._now() - grace
        found: list[bytes] = []
        with self._lock:
            for tag in tags:
                copy = self._known.get((namespace, tag))
                if copy is None or now >= copy.until:
                    return None
                found.append(copy.generation)
        return tuple(found)

    def end(self, namespace: str, tags: _Names) -> float:
        """When the first of these copies is no longer believed."""
        with self._lock:
            copies = [self._known.get((namespace, tag)) for tag in tags]
        return min(copy.until if copy is not None else 0.0 for copy in copies)

    def learn(
        self, namespace: str, tags: _Names, generations: tuple[bytes, ...], era: int, asked: float,
        trusted: float = 0.0,
    ) -> bool:  # fmt: skip
        """Take over what the store told, unless copies were taken back since `era`.

        trusted: seconds for which they are believed, if that is longer than usual.
        """
        with self._lock:
            pairs = tuple(zip(tags, generations, strict=True))
            if era != self.era or any(self._is_over(namespace, *pair) for pair in pairs):
                return False
            for tag, generation in pairs:
                before = self._known.get((namespace, tag))
                if before is not None and before.generation != generation:
                    if asked < before.told:  # asked at one time, told two things: who knows
                        return False
                    self._end(before.generation)
            copy = partial(_Copy, until=asked + max(trusted, self.trusted), told=self._now())
            for tag, generation in pairs:
                if self.floors is not None:
                    self.floors.seen(namespace, tag, generation)
                self._known[namespace, tag] = copy(generation)
                self._known.move_to_end((namespace, tag))
                if len(self._known) > _MOST:
                    self._known.popitem(last=False)
        return True

    def lasting(self, generations: tuple[bytes, ...], until: float) -> None:
        """The store was asked to keep these until then."""
        with self._lock:
            for generation in generations:
                known = self._lasting.pop(generation, 0.0)
                self._lasting[generation] = max(known, until)
                if len(self._lasting) > _MOST:
                    self._lasting.popitem(last=False)

    def outlast(self, generations: tuple[bytes, ...], until: float) -> bool:
        """Whether the store is known to keep all of these until then."""
        with self._lock:
            return all(self._lasting.get(each, 0.0) >= until for each in generations)

    def over(self, namespace: str, tags: _Names, generations: tuple[bytes, ...]) -> tuple[str, ...]:
        """Those tags whose generation is known to have ended: a store that tells it went back."""
        with self._lock:
            pairs = zip(tags, generations, strict=True)
            return tuple(pair[0] for pair in pairs if self._is_over(namespace, *pair))

    def _is_over(self, namespace: str, tag: str, generation: bytes) -> bool:
        floors = self.floors
        return generation in self._over or (
            floors is not None and floors.below(namespace, tag, generation)
        )

    def borne(self, namespace: str, tags: _Names, generations: tuple[bytes, ...]) -> None:
        """An entry that was sealed bears these: what is older than one of them is over."""
        if self.floors is None:
            return
        behind: list[str] = []
        with self._lock:
            for tag, generation in zip(tags, generations, strict=True):
                self.floors.seen(namespace, tag, generation)
                copy = self._known.get((namespace, tag))
                if copy is not None and self.floors.below(namespace, tag, copy.generation):
                    behind.append(tag)
        for tag in behind:
            self.take_back(namespace, tag)

    def _end(self, generation: bytes) -> None:
        self._over[generation] = None
        if len(self._over) > _MOST:
            self._over.popitem(last=False)

    def forgotten(self, namespace: str, tag: str) -> None:
        """The present generation is over; see `take_back`."""
        with self._lock:
            copy = self._known.get((namespace, tag))
            if copy is not None:
                self._end(copy.generation)
            if self.floors is not None:  # whatever it was, also where nobody here knew it
                self.floors.reach(namespace, tag, moment())
        self.take_back(namespace, tag)

    def take_back(self, namespace: str | None = None, tag: str | None = None) -> None:
        """A generation may be another now; without names, all of them may."""
        with self._lock:
            self.era += 1
            if namespace is None or tag is None:
                self._known.clear()
            else:
                self.changes += 1
                self._known.pop((namespace, tag), None)
        self._outdated()

    def admits(self, key: Key, entry: Entry) -> bool:
        """Whether an entry is known to be of the present generations, without asking anybody."""
        return self.of(key.namespace, ("", *entry.tags)) == entry.generations

    def after_fork(self) -> None:
        """A lock may belong to a thread that is not here."""
        self._lock = threading.Lock()
