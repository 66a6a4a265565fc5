"""The store in this process: the L1, the default store, and the model of the lease protocol."""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from samecall._entry import STAMP_END, STAMP_START, Entry, Key
from samecall._memory.bells import Belfry
from samecall._memory.shelf import Item, Shelf
from samecall._ports import (
    SEEN_ANY,
    SEEN_NOTHING,
    Acquired,
    Bell,
    Clock,
    Failed,
    Found,
    Hit,
    Lead,
    MonotonicClock,
    Wait,
)

__all__ = ["RIDES", "MemoryStatistics", "MemoryStore"]

RIDES = 16 * 1024
"""Bytes up to which an entry rides in the message of its commit."""
_SWEEP_FROM = 1_024


@dataclass(frozen=True, slots=True)
class MemoryStatistics:
    """What a `MemoryStore` holds now, and how many entries it has evicted since its start."""

    entries: int
    bytes: int
    evicted: int
    leases: int
    listeners: int


@dataclass(slots=True)
class _Lease:
    token: bytes
    ends: float


class MemoryStore:
    """Holds up to `entries` entries of up to `bytes` bytes together; the least used leaves first.

    May be shared between caches, threads and event loops. The methods `look`, `keep`, `drop` and
    `drop_namespace` are for an L1; the rest is the `LeaseStore`, over the same entries. Its
    async methods never wait.
    """

    def __init__(
        self,
        entries: int = 10_000,
        bytes: int = 64 * 2**20,
        clock: Clock | None = None,
    ) -> None:
        self._now = (clock or MonotonicClock()).now
        self._lock = threading.Lock()
        self._values = Shelf(entries, bytes)
        self._errors = Shelf(entries, bytes)
        self._leases: dict[Key, _Lease] = {}
        self._tombstones: dict[Key, float] = {}
        self._sweep_at = _SWEEP_FROM
        self._bells = Belfry()
        _stores.add(self)

    # --- L1 -----------------------------------------------------------------------------------

    def look(self, key: Key) -> Entry | None:
        """The decoded entry at `key`, `born` on this store's clock; never one past its life."""
        now = self._now()
        with self._lock:
            item = self._values.find(key, now)
            return None if item is None else item.entry(key, now)

    def keep(self, key: Key, entry: Entry, data_size: int, until: float) -> None:
        """Hold `entry`, which counts `data_size` bytes, up to `until` or the end of its life.

        `until` and `entry.born` are on this store's clock. An entry that is here already
        (known by its stamp) is not held shorter than it was.
        """
        ends = min(until, entry.born + entry.kept_for)
        now = self._now()
        with self._lock:
            item = self._values.find(key, now)
            if item is not None and item.stamp == entry.stamp:
                item.remember(entry, ends)
            elif now < ends:
                self._values.put(key, Item(None, entry, data_size, ends))

    def drop(self, key: Key) -> bool:
        """Let go of the value at `key`, and of nothing else; whether there was one."""
        with self._lock:
            return self._values.drop(key)

    def drop_namespace(self, namespace: str) -> int:
        """Let go of all values and errors of a namespace; how many values there were."""
        now = self._now()
        with self._lock:
            self._errors.drop_namespace(namespace, now)
            return self._values.drop_namespace(namespace, now)

    def statistics(self) -> MemoryStatistics:
        """What is here now."""
        with self._lock:
            self._sweep(self._now())
            return MemoryStatistics(
                entries=len(self._values),
                bytes=self._values.bytes,
                evicted=self._values.evicted,
                leases=len(self._leases),
                listeners=len(self._bells),
            )

    # --- Store --------------------------------------------------------------------------------

    async def get(self, key: Key) -> Found | None:
        """The bytes at `key`, unread."""
        now = self._now()
        with self._lock:
            item = self._values.find(key, now)
            return None if item is None else Found(item.data(key), item.left(now))

    async def set(self, key: Key, data: bytes, ttl: float) -> None:
        """Put bytes at `key` for `ttl` seconds, whoever leads."""
        now = self._now()
        with self._lock:
            self._values.put(key, Item(data, None, len(data), now + ttl))

    async def forget(self, key: Key, tombstone: float) -> None:
        """Delete value, error and lease; for `tombstone` seconds no open flight may commit."""
        now = self._now()
        with self._lock:
            self._values.drop(key)
            self._errors.drop(key)
            self._leases.pop(key, None)
            self._tombstones[key] = max(self._tombstones.get(key, now), now + tombstone)
            self._sweep_if_grown(now)
        self._bells.ring(key, b"")

    async def clear(self, namespace: str) -> int:
        """Delete all entries of a namespace; how many values there were."""
        return self.drop_namespace(namespace)

    async def ping(self) -> None:
        """Return: this store is always there."""

    async def aclose(self) -> None:
        """Do nothing: others may share this store, and its memory goes with it."""

    # --- LeaseStore ---------------------------------------------------------------------------

    async def acquire(self, key: Key, token: bytes, seen: bytes, lease: float) -> Acquired:
        """Look at value, error and lease, and take the lease if nothing answers."""
        now = self._now()
        with self._lock:
            item = self._values.find(key, now)
            if item is not None and _takes(seen, item.stamp):
                return Hit(item.data(key), item.left(now))
            error = self._errors.find(key, now)
            if error is not None and seen != SEEN_ANY:
                return Failed(error.data(key), error.left(now))
            stamp = item.stamp if item is not None else SEEN_NOTHING
            held = self._lease(key, now)
            if held is not None and held.token != token:
                return Wait(held.token, held.ends - now, stamp)
            self._leases[key] = _Lease(token, now + lease)
            self._sweep_if_grown(now)
            return Lead(stamp)

    async def renew(self, key: Key, token: bytes, lease: float) -> bool:
        """Lengthen an own lease to `lease` seconds; False if it is lost."""
        now = self._now()
        with self._lock:
            held = self._lease(key, now)
            if held is None or held.token != token:
                return False
            held.ends = now + lease
            return True

    async def commit(self, key: Key, token: bytes, seen: bytes, data: bytes, ttl: float) -> bool:
        """Store the value if the lease is ours, or if nobody leads and nothing has changed."""
        now = self._now()
        with self._lock:
            held = self._lease(key, now)
            if held is None or held.token != token:
                item = self._values.find(key, now)
                stamp = item.stamp if item is not None else SEEN_NOTHING
                if stamp == data[STAMP_START:STAMP_END] and stamp != SEEN_NOTHING:
                    return True  # sent twice: it is here already
                if held is not None or stamp != seen or self._tombstones.get(key, now) > now:
                    return False
            self._values.put(key, Item(data, None, len(data), now + ttl))
            self._errors.drop(key)
            self._leases.pop(key, None)
        self._bells.ring(key, data if len(data) <= RIDES else b"")
        return True

    async def fail(self, key: Key, token: bytes, data: bytes, ttl: float) -> bool:
        """If the lease is ours: store a short-lived error beside the value, free it, ring."""
        return self._end(key, token, data, ttl)

    async def release(self, key: Key, token: bytes) -> bool:
        """If the lease is ours: free it and ring. Safe for a token that never led."""
        return self._end(key, token, None, 0.0)

    def listen(self, key: Key) -> AbstractAsyncContextManager[Bell]:
        """Subscribe to a key in the running event loop."""
        return self._bells.listen(key)

    # --- within -------------------------------------------------------------------------------

    def _end(self, key: Key, token: bytes, error: bytes | None, ttl: float) -> bool:
        now = self._now()
        with self._lock:
            held = self._lease(key, now)
            if held is None or held.token != token:
                return False
            if error is not None:
                self._errors.put(key, Item(error, None, len(error), now + ttl))
            del self._leases[key]
        self._bells.ring(key, b"")
        return True

    def _lease(self, key: Key, now: float) -> _Lease | None:
        """The living lease of a key."""
        held = self._leases.get(key)
        if held is not None and now >= held.ends:
            del self._leases[key]
            return None
        return held

    def _sweep_if_grown(self, now: float) -> None:
        """Leases and tombstones of dead flights go when the tables have doubled since last time."""
        if len(self._leases) + len(self._tombstones) > self._sweep_at:
            self._sweep(now)
            left = len(self._leases) + len(self._tombstones)
            self._sweep_at = max(_SWEEP_FROM, 2 * left)

    def _sweep(self, now: float) -> None:
        self._leases = {key: held for key, held in self._leases.items() if now < held.ends}
        self._tombstones = {key: ends for key, ends in self._tombstones.items() if now < ends}

    def after_fork(self) -> None:
        """The child has the entries; locks, leases and listeners belong to the parent's threads."""
        self._lock = threading.Lock()
        self._leases = {}
        self._bells.forget_all()
        self._values.recount()
        self._errors.recount()


def _takes(seen: bytes, stamp: bytes) -> bool:
    """Whether a caller that saw `seen` takes a value with this stamp."""
    return seen == SEEN_NOTHING or seen not in (SEEN_ANY, stamp)


_stores: weakref.WeakSet[MemoryStore] = weakref.WeakSet()


def _refresh_stores() -> None:
    for store in tuple(_stores):
        store.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_refresh_stores)
