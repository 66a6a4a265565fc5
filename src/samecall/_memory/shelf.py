"""Bytes and decoded entries by key, bounded by number and size: the least used leaves first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from samecall._entry import (
    Entry,
    Kept,
    Key,
    decode_entry,
    encode_entry,
)
from samecall._errors import Undecodable
from samecall._stamps import stamp_of

__all__ = ["Grow", "Item", "Shelf"]

Grow = Callable[[Key, bytes, int], None]


class Item:
    """One thing on a shelf: its envelope or its entry (each made from the other when asked for)."""

    __slots__ = ("_data", "_entry", "_life_ends", "ends", "era", "size", "stamp")

    def __init__(self, data: bytes | None, entry: Entry | None, size: int, ends: float) -> None:
        self._data = data
        self._entry = entry
        self.size = size
        self.ends = ends
        self.era = -1  # of the last time that somebody has compared it with what was forgotten
        if entry is not None:
            self._life_ends = entry.born + entry.kept_for
            self.stamp = entry.stamp
        else:
            self._life_ends = ends
            self.stamp = stamp_of(data or b"")

    def remember(self, entry: Entry, ends: float) -> None:
        """Take on a decoded form of what is here already; never shortens its life."""
        known = self._entry  # and what is kept beside its payload
        self._entry = entry if known is None else replace(entry, payload=known.payload)
        self.ends = max(self.ends, ends)

    def entry(self, key: Key, now: float, grow: Grow) -> Entry | None:
        """The decoded form; None if the bytes are no entry of `key`.

        `grow` will be told of what its payload comes to keep.
        """
        entry = self._entry
        if entry is None:
            if self._data is None:
                return None
            try:
                entry = decode_entry(key, self._data, left=self.ends - now, now=now)
            except Undecodable:
                return None
        if entry.payload.kept is None:
            payload = entry.payload
            # of the stamp alone: an item that its own entry referred to would outlive the shelf
            kept = Kept(partial(grow, key, self.stamp))
            entry = replace(entry, payload=replace(payload, kept=kept))
            self._entry = entry
        return entry

    def data(self, key: Key) -> bytes:
        """The envelope."""
        if self._data is None and self._entry is not None:
            self._data = encode_entry(key, self._entry)
        return self._data or b""

    def left(self, now: float) -> float:
        """Seconds that the answer itself has to live, also where this shelf lets go sooner."""
        return self._life_ends - now


class Shelf:
    """Items by key. Not thread-safe: its owner locks."""

    __slots__ = ("_items", "_most_bytes", "_most_entries", "bytes", "evicted")

    def __init__(self, entries: int, bytes: int) -> None:
        self._items: OrderedDict[Key, Item] = OrderedDict()
        self._most_entries = entries
        self._most_bytes = bytes
        self.bytes = 0
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._items)

    def find(self, key: Key, now: float) -> Item | None:
        """The living item at `key`, which becomes the most recently used."""
        item = self._items.get(key)
        if item is None:
            return None
        if now >= item.ends:
            self.drop(key)
            return None
        self._items.move_to_end(key)
        return item

    def keys_of(self, namespace: str) -> list[Key]:
        """What is held of a namespace now, alive or not."""
        return [key for key in self._items if key.namespace == namespace]

    def peek(self, key: Key, now: float) -> Item | None:
        """The living item at `key`, whose turn to leave stays what it is."""
        item = self._items.get(key)
        return item if item is not None and now < item.ends else None

    def put(self, key: Key, item: Item) -> None:
        """Replace what is at `key`, then evict until both bounds hold.

        What is larger than the whole shelf is not kept, and evicts nobody else.
        """
        self.drop(key)
        if item.size > self._most_bytes:
            self.evicted += 1
            return
        self._items[key] = item
        self.bytes += item.size
        self._evict()

    def _evict(self) -> None:
        while len(self._items) > self._most_entries or self.bytes > self._most_bytes:
            _, oldest = self._items.popitem(last=False)
            self.bytes -= oldest.size
            self.evicted += 1

    def grow(self, key: Key, stamp: bytes, size: int) -> None:
        """The item with this stamp takes `size` bytes more, if it is still here."""
        item = self._items.get(key)
        if item is not None and item.stamp == stamp:
            item.size += size
            self.bytes += size
            self._evict()

    def drop(self, key: Key, but: bytes = b"") -> bool:
        """Delete what is at `key` unless its stamp is `but`; whether there was something."""
        item = self._items.get(key)
        if item is None or (but and item.stamp == but):
            return False
        del self._items[key]
        self.bytes -= item.size
        return True

    def drop_all(self) -> None:
        """Delete everything."""
        self._items.clear()
        self.bytes = 0

    def drop_namespace(self, namespace: str, now: float) -> int:
        """Delete all of a namespace; how many of them were alive."""
        keys = self.keys_of(namespace)
        alive = sum(now < self._items[key].ends for key in keys)
        for key in keys:
            self.drop(key)
        return alive

    def recount(self) -> None:
        """Make the byte count true again after a fork in the middle of a change."""
        self.bytes = sum(item.size for item in self._items.values())
