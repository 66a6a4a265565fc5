"""How long a copy of the store is trusted in this process.

A store that tells of its changes is trusted for as long as `L1.ttl` says: what changes is dropped
when it is told, everything when changes may have gone untold. Any other is trusted for a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from samecall._entry import Entry, Key
from samecall._memory import MemoryStore

__all__ = ["UNTRACKED", "Fill", "Trust"]

UNTRACKED = 1.0
"""Seconds that L1 may trust a store that does not tell of changes."""
_MOST = 64
"""Namespaces of which one hears: for each new one the line is made anew, and all copies are in
doubt; and a server compares each name that it changes with all that is heard of.
"""


class Fill:
    """A copy that is on its way, and what was told of its key since it was asked for."""

    __slots__ = ("_there", "key", "told")

    def __init__(self, key: Key, told: bool) -> None:
        self.key = key
        self.told = told
        self._there: set[bytes] | None = None

    def asked(self, told: bool) -> None:
        """Its key is read anew: what changed before shows in the answer."""
        self.told = told
        self._there = None

    def changed(self, stamp: bytes) -> None:
        """Another value is there, or none."""
        if self._there is None:
            self._there = set()
        self._there.add(stamp)

    def sound(self, stamp: bytes) -> bool:
        """Whether the value with this stamp is still there, for all that was told.

        What is told together has no order, so nothing else may have been told.
        """
        return self._there is None or self._there == {stamp}


class Trust:
    """What one event loop's store has told of the copies in `l1`; see `_changes.Heard`."""

    def __init__(
        self,
        l1: MemoryStore | None,
        ttl: float,
        store: Any,
        take_back: Callable[[str | None, str | None], None] = lambda _, __: None,
    ) -> None:
        self.doubt: Callable[[Key], None] = lambda _: None
        self.doubt_all: Callable[[Callable[[Any, Any], bool]], None] = lambda _: None
        """What is done about calls in the air whose keys, or generations, have changed."""
        self._take_back = take_back
        self._l1 = l1 if l1 is not store else None
        self._ttl = ttl
        watch: Callable[[str, Trust], None] | None = getattr(store, "watch", None)
        self._watch = watch if self._l1 is not None and ttl > UNTRACKED else None
        self._told = False
        self._watched: set[str] = set()
        self._fills: dict[Key, list[Fill]] = {}

    # --- copies ----------------------------------------------------------------------------------

    def watch(self, namespace: str) -> None:
        """Begin to hear of a namespace, before anything of it is read."""
        if self._watch is None or namespace in self._watched:
            return
        if len(self._watched) < _MOST:
            self._watched.add(namespace)
            self._watch(namespace, self)

    def generations(self, namespace: str) -> float:
        """Seconds for which a generation that is asked for now may be believed; 0: as others say.

        One that ends is told, like every change.
        """
        return self._ttl if self._tells(namespace) else 0.0

    def _tells(self, namespace: str) -> bool:
        return self._told and namespace in self._watched

    def begin(self, key: Key) -> Fill | None:
        """Before a key is read; None where nothing is copied."""
        if self._l1 is None:
            return None
        fill = Fill(key, self._tells(key.namespace))
        if self._watch is not None:
            self.watch(key.namespace)
            self._fills.setdefault(key, []).append(fill)
        return fill

    def asks(self, fill: Fill | None) -> None:
        """Before the key of a copy on its way is read once more."""
        if fill is not None:
            fill.asked(self._tells(fill.key.namespace))

    def leads(self, fill: Fill | None) -> None:
        """Before an answer is kept that is yet to be stored: COMMIT is the judge of what was
        before it, so whatever may go untold is still to come.
        """
        if fill is not None:
            fill.told = self._tells(fill.key.namespace)

    def keep(self, fill: Fill | None, entry: Entry, now: float, until: float, era: int) -> None:
        """Copy what was read, unless it has changed since.

        until: when its generations are no longer believed, where nobody tells of them.
        """
        if self._l1 is None or fill is None or not fill.sound(entry.stamp):
            return
        ends = now + self._ttl if fill.told else min(now + min(self._ttl, UNTRACKED), until)
        self._l1.keep(fill.key, entry, entry.size, ends, era)

    def end(self, fill: Fill | None) -> None:
        """The flight is over."""
        if fill is not None and (fills := self._fills.get(fill.key)) is not None:
            fills.remove(fill)
            if not fills:
                del self._fills[fill.key]

    # --- what is heard ---------------------------------------------------------------------------

    def told(self) -> None:
        if not self._told:  # of the generations that are known already nobody told
            self._take_back(None, None)
        self._told = True

    def changed(self, key: Key, stamp: bytes) -> None:
        for fill in self._fills.get(key, ()):
            fill.changed(stamp)
        if self._l1 is not None:
            self._l1.drop(key, but=stamp)
        self.doubt(key)

    def renewed(self, namespace: str, tag: str) -> None:
        # What is on its way was compared before, and will be compared anew; so will what is here:
        # it may be the same generation still, sealed anew or kept for longer.
        self._take_back(namespace, tag)

        def bears(key: Key, about: Any) -> bool:
            return key.namespace == namespace and (not tag or about is None or tag in about.tags)

        self.doubt_all(bears)

    def doubtful(self) -> None:
        self._told = False
        self._take_back(None, None)
        for fills in self._fills.values():
            for fill in fills:
                fill.changed(b"")
        if self._l1 is not None:
            self._l1.drop_all()
