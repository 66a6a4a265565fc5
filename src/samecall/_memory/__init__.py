"""The store in this process: the L1, the default store, and the model of the lease protocol."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from samecall._bells import Belfry
from samecall._entry import STAMP_END, STAMP_START, Key
from samecall._memory.board import MemoryBoard
from samecall._memory.forks import refresh_in_child
from samecall._memory.generations import Tagged
from samecall._memory.leases import Leases
from samecall._memory.near import Near
from samecall._memory.reels import Reels
from samecall._memory.shelf import Item
from samecall._news import news
from samecall._ports import (
    EPOCH_NONE,
    EPOCH_UNTOLD,
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

__all__ = ["MemoryStatistics", "MemoryStore"]

_WALKED = 100
"""Entries of a walk between two turns for others."""
_REELS = 4
"""Recordings of streams take this part of `bytes` at the most, beside the entries."""


@dataclass(frozen=True, slots=True)
class MemoryStatistics:
    """What a `MemoryStore` holds now, and how many entries it has evicted since its start."""

    entries: int
    bytes: int
    evicted: int
    leases: int
    listeners: int


class MemoryStore(Near, Tagged, MemoryBoard, Reels):
    """Holds up to `entries` entries of up to `bytes` bytes together; the least used leaves first.

    Recordings of streams that run, or ran a moment ago, take up to a quarter of `bytes` more.

    May be shared between caches, threads and event loops. The methods `look`, `keep`, `drop` and
    `drop_namespace` are for an L1; the rest is the `LeaseStore`, over the same entries. Its
    async methods never wait, but `walk` gives way to others.
    """

    def __init__(
        self, entries: int = 10_000, bytes: int = 64 * 2**20, clock: Clock | None = None
    ) -> None:
        Near.__init__(self, entries, bytes, (clock or MonotonicClock()).now)
        Tagged.__init__(self, entries)
        MemoryBoard.__init__(self)
        self._leases = Leases()
        self._bells = Belfry()
        Reels.__init__(self, bytes // _REELS, self._now)
        refresh_in_child(self)

    def statistics(self) -> MemoryStatistics:
        """What is here now."""
        with self._lock:
            self._leases.sweep(self._now())
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
            held = self._leases.held(key, now)
            self._leases.bury(key, tombstone, now)
        if held is not None:
            self.unwind(key, held.token)
        self._bells.ring(key, b"")

    async def clear(self, namespace: str) -> int:
        """Delete all entries of a namespace; how many values there were."""
        return self.drop_namespace(namespace)

    async def walk(self, namespace: str) -> AsyncIterator[tuple[Key, Found]]:
        """The values of a namespace; none counts as used for it."""
        with self._lock:
            keys = self._values.keys_of(namespace)
        for number, key in enumerate(keys):
            if number % _WALKED == 0:
                await asyncio.sleep(0)
            now = self._now()
            with self._lock:
                item = self._values.peek(key, now)
                found = None if item is None else Found(item.data(key), item.left(now))
            if found is not None:
                yield key, found

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
            held = self._leases.held(key, now)
            if held is not None and held.token != token:
                return Wait(held.token, held.ends - now, stamp)
            if held is None:
                self.unwind(key, token)  # of a lease that had ended, or was forgotten
            self._leases.take(key, token, now + lease, now)
            return Lead(stamp, self._leases.epoch(key, now))

    async def renew(self, key: Key, token: bytes, lease: float) -> bool:
        """Lengthen an own lease to `lease` seconds; False if it is lost."""
        now = self._now()
        with self._lock:
            held = self._leases.held(key, now)
            if held is None or held.token != token:
                return False
            held.ends = now + lease
            return True

    def came_late(self, key: Key, token: bytes, epoch: bytes) -> bool:
        """Whether an own lease is younger than a `forget` since `epoch`; it is freed then."""
        now = self._now()
        with self._lock:
            held = self._leases.held(key, now)
            late = held is not None and held.token == token
            late = late and self._leases.forgotten(key, epoch, now)
            if late:
                self._leases.free(key)
        return late

    async def commit(
        self,
        key: Key,
        token: bytes,
        seen: bytes,
        data: bytes,
        ttl: float,
        epoch: bytes = EPOCH_NONE,
    ) -> bool:
        """Store the value if the lease is ours, or if nobody leads and nothing has changed; and no
        `forget` came since `epoch`.
        """
        now = self._now()
        with self._lock:
            held = self._leases.held(key, now)
            ours = held is not None and held.token == token
            answer = self._known(key, token, seen, data[STAMP_START:STAMP_END], epoch, now)
            if answer is None:
                self._values.put(key, Item(data, None, len(data), now + ttl))
                self._errors.drop(key)
            if answer is None or ours:
                self._leases.free(key)
        if answer is None or ours:
            self._bells.ring(key, news(data, self._bells.heard(key)) if answer is None else b"")
        return answer is not False

    async def fail(
        self, key: Key, token: bytes, data: bytes, ttl: float, epoch: bytes = EPOCH_NONE
    ) -> bool:
        """If the lease is ours: free it, ring, keep an error unless forgotten since `epoch`."""
        return self._end(key, token, data, ttl, epoch)

    async def release(self, key: Key, token: bytes) -> bool:
        """If the lease is ours: free it and ring. Safe for a token that never led."""
        return self._end(key, token, None, 0.0)

    def listen(self, key: Key) -> AbstractAsyncContextManager[Bell]:
        """Subscribe to a key in the running event loop."""
        return self._bells.listen(key)

    # --- within -------------------------------------------------------------------------------

    def _known(
        self, key: Key, token: bytes, seen: bytes, own: bytes, epoch: bytes, now: float
    ) -> bool | None:
        """What COMMIT answers without storing; None: it stores."""
        held = self._leases.held(key, now)
        ours = held is not None and held.token == token
        if not ours or epoch == EPOCH_UNTOLD:
            item = self._values.find(key, now)
            stamp = item.stamp if item is not None else SEEN_NOTHING
            if stamp == own and stamp != SEEN_NOTHING:
                return True  # sent twice: it is here already
            if stamp != seen or (held is not None and not ours):
                return False
        return False if self._leases.forgotten(key, epoch, now) else None

    def _end(
        self, key: Key, token: bytes, error: bytes | None, ttl: float, epoch: bytes = EPOCH_NONE
    ) -> bool:
        now = self._now()
        with self._lock:
            held = self._leases.held(key, now)
            if held is None or held.token != token:
                return False
            forgotten = error is not None and self._leases.forgotten(key, epoch, now)
            if error is not None and not forgotten:
                self._errors.put(key, Item(error, None, len(error), now + ttl))
            self._leases.free(key)
        self._bells.ring(key, b"")
        return not forgotten

    def after_fork(self) -> None:
        """The child has the entries; locks, leases and listeners belong to the parent's threads."""
        Tagged.after_fork(self)
        self._lock = threading.Lock()
        self._leases.free_all()
        self._bells.forget_all()
        Reels.after_fork(self)
        self._values.recount()
        self._errors.recount()


def _takes(seen: bytes, stamp: bytes) -> bool:
    """Whether a caller that saw `seen` takes a value with this stamp."""
    return seen == SEEN_NOTHING or seen not in (SEEN_ANY, stamp)
