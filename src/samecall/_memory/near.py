"""The near side of a store in memory: the decoded entries that an L1 hands out."""

from __future__ import annotations

import threading
from collections.abc import Callable

from samecall._entry import Entry, Key
from samecall._memory.shelf import Item, Shelf

__all__ = ["Near"]


class Near:
    """Values and errors on their shelves, and the methods of an L1 over them."""

    def __init__(self, entries: int, bytes: int, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._values = Shelf(entries, bytes)
        self._errors = Shelf(entries, bytes)
        self.era = 0
        """Whoever says what `look` admits puts it up by one when that changes."""
        self.admits: Callable[[Key, Entry], bool] = _admits_all

    def look(self, key: Key) -> Entry | None:
        """The decoded entry at `key`, `born` on this store's clock; never one past its life."""
        now = self._now()
        with self._lock:
            item = self._values.find(key, now)
            if item is None:
                return None
            entry = item.entry(key, now, self._grow)
            if item.era != self.era and entry is not None:
                if not self.admits(key, entry):
                    return None
                item.era = self.era
            return entry

    def _grow(self, key: Key, stamp: bytes, size: int) -> None:
        with self._lock:
            self._values.grow(key, stamp, size)

    def keep(
        self, key: Key, entry: Entry, data_size: int, until: float, era: int | None = None
    ) -> None:
        """Hold `entry`, which counts `data_size` bytes, up to `until` or the end of its life.

        era: the one in which `admits` was known to hold. `until` and `entry.born` are on this
        store's clock. An entry that is here already (known by its stamp) is not held shorter.
        """
        ends = min(until, entry.born + entry.kept_for)
        now = self._now()
        with self._lock:
            item = self._values.find(key, now)
            if item is not None and item.stamp == entry.stamp:
                item.remember(entry, ends)
            elif now < ends:
                self._values.put(key, item := Item(None, entry, data_size, ends))
            if item is not None and era is not None:
                item.era = era

    def compared(self, key: Key, stamp: bytes, era: int) -> None:
        """The value with this stamp, if it is still here, is what `admits` admitted in `era`."""
        with self._lock:
            item = self._values.peek(key, self._now())
            if item is not None and item.stamp == stamp:
                item.era = era

    def drop(self, key: Key, but: bytes = b"") -> bool:
        """Let go of the value at `key` (not the one with the stamp `but`), and of nothing else;
        whether there was one.
        """
        with self._lock:
            return self._values.drop(key, but)

    def drop_all(self) -> None:
        """Let go of all values."""
        with self._lock:
            self._values.drop_all()

    def drop_namespace(self, namespace: str) -> int:
        """Let go of all values and errors of a namespace; how many values there were."""
        now = self._now()
        with self._lock:
            self._errors.drop_namespace(namespace, now)
            return self._values.drop_namespace(namespace, now)


def _admits_all(key: Key, entry: Entry) -> bool:
    return True
