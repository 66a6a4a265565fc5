"""Recordings of streams that the processes which share a file follow."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

from samecall._disk.reels import READING, track_of
from samecall._disk.worker import Disk
from samecall._entry import Key
from samecall._errors import StoreError
from samecall._ports import EPOCH_NONE, Bell
from samecall._recordings import Recorded

__all__ = ["DiskRecordings"]


class DiskRecordings:
    """The recording half of a `DiskStore`; see `_recordings.RecordingStore`."""

    disk: Disk

    async def record(
        self, key: Key, token: bytes, number: int, frame: bytes, lease: float, life: float,
        epoch: bytes = EPOCH_NONE,
    ) -> Recorded:  # fmt: skip
        """If the lease is ours: renew it, append the frame, keep all for `life` seconds, ring."""
        return await self.disk.ask(
            lambda ledger: ledger.record(key, token, number, frame, lease, life, epoch)
        )

    async def replay(self, key: Key, token: bytes, after: int) -> Sequence[bytes]:
        """The frames that follow number `after`."""
        return await self.disk.ask(None, lambda ledger: ledger.replay(key, token, after))

    def follow(self, key: Key, token: bytes) -> AbstractAsyncContextManager[Bell]:
        """Subscribe to a recording, and stand in its book of readers meanwhile."""
        return self._follow(track_of(key, token))

    @asynccontextmanager
    async def _follow(self, track: Key) -> AsyncGenerator[Bell]:
        reader = os.urandom(8)
        async with self.disk.bells.listen(track) as bell:
            await self.disk.attend()
            await self._read(track, reader)
            reading = asyncio.get_running_loop().create_task(self._go_on_reading(track, reader))
            try:
                yield bell
            finally:
                reading.cancel()
                with suppress(StoreError):
                    await self.disk.ask(lambda ledger: ledger.unread_by(track, reader))

    async def _read(self, track: Key, reader: bytes) -> None:
        # a file that takes no writes, or not now, can be read all the same
        with suppress(StoreError):
            await self.disk.ask(lambda ledger: ledger.read_by(track, reader))

    async def _go_on_reading(self, track: Key, reader: bytes) -> None:
        while True:
            await asyncio.sleep(READING / 3)
            await self._read(track, reader)
