"""Entries and leases in one SQLite file, for many processes of one machine."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from samecall._disk.board import DiskBoard
from samecall._disk.place import Place, place_of
from samecall._disk.recordings import DiskRecordings
from samecall._disk.worker import Disk
from samecall._entry import Key
from samecall._ports import EPOCH_NONE, Acquired, Bell, Found, Offer

__all__ = ["DiskStore", "open_disk"]

_CLOSING = 2.0  # seconds; the file is whole without it


def open_disk(url: str) -> Callable[[], DiskStore]:
    """A factory of stores, to be called once per event loop; does no I/O itself.

    Raises `ConfigurationError` for a URL that names no file.
    """
    place = place_of(url)
    return lambda: DiskStore(_shared.join(place), _shared.leave)


class DiskStore(DiskBoard, DiskRecordings):
    """A `RecordingStore` over a `Disk`, which all stores of this process for one file share."""

    def __init__(self, disk: Disk, leave: Callable[[Disk], threading.Thread | None]) -> None:
        self.disk = disk
        # also where an event loop ended without closing what it had opened
        self._leave = weakref.finalize(self, leave, disk)
        self._leave.atexit = False

    # --- leases -------------------------------------------------------------------------------

    async def acquire(self, key: Key, token: bytes, seen: bytes, lease: float) -> Acquired:
        """See `_ports.LeaseStore`."""
        return await self.disk.ask(
            lambda ledger: ledger.acquire(key, token, seen, lease),
            lambda ledger: ledger.look(key, token, seen),
        )

    async def renew(self, key: Key, token: bytes, lease: float) -> bool:
        """See `_ports.LeaseStore`."""
        return await self.disk.ask(lambda ledger: ledger.renew(key, token, lease))

    async def commit(
        self,
        key: Key,
        token: bytes,
        seen: bytes,
        data: bytes,
        ttl: float,
        epoch: bytes = EPOCH_NONE,
    ) -> bool:
        """See `_ports.LeaseStore`."""
        return await self.disk.ask(lambda ledger: ledger.commit(key, token, seen, data, ttl, epoch))

    async def fail(
        self, key: Key, token: bytes, data: bytes, ttl: float, epoch: bytes = EPOCH_NONE
    ) -> bool:
        """See `_ports.LeaseStore`; a `ttl` of 0 keeps nothing and only frees the lease."""
        return await self.disk.ask(lambda ledger: ledger.fail(key, token, data, ttl, epoch))

    async def release(self, key: Key, token: bytes) -> bool:
        """See `_ports.LeaseStore`."""
        return await self.disk.ask(lambda ledger: ledger.release(key, token))

    def listen(self, key: Key) -> AbstractAsyncContextManager[Bell]:
        """See `_ports.LeaseStore`."""
        return self._listen(key)

    @asynccontextmanager
    async def _listen(self, key: Key) -> AsyncGenerator[Bell]:
        async with self.disk.bells.listen(key) as bell:
            await self.disk.attend()
            yield bell

    # --- entries ------------------------------------------------------------------------------

    async def get(self, key: Key) -> Found | None:
        """See `_ports.Store`."""
        return await self.disk.ask(None, lambda ledger: ledger.get(key))

    async def set(self, key: Key, data: bytes, ttl: float) -> None:
        """See `_ports.Store`."""
        await self.disk.ask(lambda ledger: ledger.set(key, data, ttl))

    async def forget(self, key: Key, tombstone: float) -> None:
        """See `_ports.Store`."""
        await self.disk.ask(lambda ledger: ledger.forget(key, tombstone))

    async def generations(
        self, namespace: str, tags: Sequence[str], ttl: float, offers: Sequence[Offer] = ()
    ) -> tuple[bytes, ...]:
        """See `_ports.Store`."""
        made = offers or [Offer(os.urandom(16)) for _ in tags]
        return await self.disk.ask(
            lambda ledger: ledger.generations(namespace, tags, ttl, made),
            lambda ledger: ledger.known_generations(namespace, tags, ttl, made),
        )

    async def renew_generation(self, namespace: str, tag: str) -> None:
        """See `_ports.Store`."""
        await self.disk.ask(lambda ledger: ledger.renew_generation(namespace, tag))

    async def clear(self, namespace: str) -> int:
        """See `_ports.Store`."""
        return await self.disk.ask(lambda ledger: ledger.clear(namespace))

    async def walk(self, namespace: str) -> AsyncIterator[tuple[Key, Found]]:
        """See `_ports.Store`; in the order of the digests."""
        digest = b""
        while few := await self._after(namespace, digest):
            for pair in few:
                yield pair
            digest = few[-1][0].digest

    async def _after(self, namespace: str, digest: bytes) -> list[tuple[Key, Found]]:
        return await self.disk.ask(None, lambda ledger: ledger.after(namespace, digest))

    async def ping(self) -> None:
        """Return if the file takes writes."""
        await self.disk.ask(lambda ledger: ledger.ping())

    async def aclose(self) -> None:
        """Leave the file; the last store of this process closes it."""
        thread = self._leave()
        if thread is not None:
            await asyncio.to_thread(thread.join, _CLOSING)


class _Shared:
    """The disks of this process, by place, and how many stores each one has."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a store may be collected while we hold it
        self._disks: dict[Place, tuple[Disk, int]] = {}

    def join(self, place: Place) -> Disk:
        with self._lock:
            disk, users = self._disks.get(place) or (Disk(place), 0)
            self._disks[place] = disk, users + 1
            return disk

    def leave(self, disk: Disk) -> threading.Thread | None:
        """The thread that closes the file, if this was the last store."""
        with self._lock:
            known, users = self._disks.get(disk.place, (None, 0))
            if known is not disk:
                return None
            if users > 1:
                self._disks[disk.place] = disk, users - 1
                return None
            del self._disks[disk.place]
        return disk.close()

    def after_fork(self) -> None:
        self._lock = threading.RLock()


_shared = _Shared()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_shared.after_fork)
