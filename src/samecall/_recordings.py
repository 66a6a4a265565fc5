"""What a store implements so that streams can be followed from other processes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from samecall._entry import Key
from samecall._ports import EPOCH_NONE, Bell, LeaseStore

__all__ = ["PromptRecordings", "Recorded", "RecordingStore"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a frame."""

    leads: bool
    """The lease is ours still, and was renewed; nothing was appended if it is not."""
    whole: bool
    """The recording has no hole; one that has is deleted, and nobody reads it any more."""
    followers: int
    """Who heard of it just now, other processes or loops; less than 0: nobody knows."""


class RecordingStore(LeaseStore, Protocol):
    """A `LeaseStore` that keeps, for each token, what its leader's stream has given so far.

    A recording is a row of frames, numbered from 1; what is in them is the cache's affair. It ends
    where ACQUIRE gives its token a lease that it does not hold.
    """

    async def record(
        self, key: Key, token: bytes, number: int, frame: bytes, lease: float, life: float,
        epoch: bytes = EPOCH_NONE,
    ) -> Recorded:  # fmt: skip
        """If the lease is ours: renew it, append the frame, keep all for `life` seconds, ring.

        A lease that was taken after a `forget` since `epoch` (see `LeaseStore.commit`) is freed,
        and counts as none. `forget` deletes the recording of whoever leads.

        A frame that is there already is not appended again, so this may be sent twice. Number 0
        appends nothing and rings with b"".
        """
        ...

    async def replay(self, key: Key, token: bytes, after: int) -> Sequence[bytes]:
        """The frames that follow number `after`: those that are there, perhaps not yet all."""
        ...

    def follow(self, key: Key, token: bytes) -> AbstractAsyncContextManager[Bell]:
        """Subscribe to a recording: the bell rings with a frame, or with b"" for "look again"."""
        ...


class PromptRecordings(Protocol):
    """What a `RecordingStore` may have besides, so that a frame needs no task of its own."""

    def recording(
        self, key: Key, token: bytes, number: int, frame: bytes, lease: float, life: float,
        epoch: bytes,
    ) -> asyncio.Future[Recorded]:  # fmt: skip
        """`RecordingStore.record`, as a future; raises `StoreError` where the store is closed."""
        ...
