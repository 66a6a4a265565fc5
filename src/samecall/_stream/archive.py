"""Recordings in a store, behind its breaker: trouble there is nobody's but the recording's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import cast

from samecall._entry import Key
from samecall._failopen import FailOpenStore
from samecall._hearing import BoundBell, DeafBell
from samecall._recordings import PromptRecordings, Recorded, RecordingStore

__all__ = ["Archive"]


class Archive:
    """A `RecordingStore` that never raises: None means, nobody knows."""

    def __init__(self, store: FailOpenStore) -> None:
        self._store = store
        # a store in front of another one leaves recordings to that one
        within = getattr(store.store, "recordings", store.store)
        self._within = cast("RecordingStore", within)
        self.records = all(hasattr(within, name) for name in ("record", "replay", "follow"))
        """Whether this store keeps recordings at all."""
        prompt = hasattr(within, "recording")
        self._prompt = cast("PromptRecordings", within) if prompt else None

    async def record(
        self,
        key: Key,
        token: bytes,
        number: int,
        frame: bytes,
        lease: float,
        life: float,
        epoch: bytes,
        timeout: float,
    ) -> Recorded | None:
        """RECORD."""
        args = (key, token, number, frame, lease, life, epoch)
        if self._prompt is not None:
            recording = self._prompt.recording
            done = await self._store.ask_at_once("record", lambda: recording(*args), timeout)
        else:
            work = self._within.record
            done = await self._store.ask("record", lambda: work(*args), timeout)
        if done is not None and not done.whole and done.leads:
            self._store.noted("record", "what was recorded is gone, or was no recording")
        return done

    async def replay(
        self, key: Key, token: bytes, after: int, timeout: float
    ) -> Sequence[bytes] | None:
        """The frames after number `after`."""
        return await self._store.ask(
            "replay", lambda: self._within.replay(key, token, after), timeout
        )

    def follow(
        self, key: Key, token: bytes, timeout: float
    ) -> AbstractAsyncContextManager[BoundBell | DeafBell]:
        """A subscribed bell, or a deaf one where the store cannot subscribe in time."""
        return self._store.hear(lambda: self._within.follow(key, token), timeout)
