"""The recordings of streams in this process's memory."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from samecall._bells import Belfry
from samecall._entry import Key
from samecall._ports import EPOCH_NONE, Bell
from samecall._recordings import Recorded

__all__ = ["Reels"]

_BESIDE = 64  # bytes that a frame takes beside its own


@dataclass(slots=True)
class _Reel:
    frames: list[bytes] = field(default_factory=list[bytes])
    bytes: int = 0
    ends: float = 0.0


class Reels(ABC):
    """The recording half of a `MemoryStore`, which brings the leases.

    Holds up to `most` bytes; what was recorded the longest ago leaves first. Of a stream that left
    nothing more is recorded: who follows it finishes from the stored value.
    """

    def __init__(self, most: int, now: Callable[[], float]) -> None:
        self._reel_now = now
        self._reel_most = most
        self._reel_bytes = 0
        self._reels: dict[Key, _Reel] = {}
        self._reel_bells = Belfry()
        self._reel_lock = threading.Lock()

    @abstractmethod
    async def renew(self, key: Key, token: bytes, lease: float) -> bool:
        """Lengthen an own lease to `lease` seconds; False if it is lost."""

    @abstractmethod
    def came_late(self, key: Key, token: bytes, epoch: bytes) -> bool:
        """Whether an own lease is younger than a `forget` since `epoch`; it is freed then."""

    def unwind(self, key: Key, token: bytes) -> None:
        """Delete a recording."""
        with self._reel_lock:
            self._drop_reel(_at(key, token))

    async def record(
        self, key: Key, token: bytes, number: int, frame: bytes, lease: float, life: float,
        epoch: bytes = EPOCH_NONE,
    ) -> Recorded:  # fmt: skip
        """If the lease is ours: renew it, append the frame, keep all for `life` seconds, ring."""
        if self.came_late(key, token, epoch) or not await self.renew(key, token, lease):
            return Recorded(leads=False, whole=True, followers=0)
        at, now = _at(key, token), self._reel_now()
        with self._reel_lock:
            reel = self._drop_reel(at)
            if len(reel.frames) < number - 1:
                return Recorded(leads=True, whole=False, followers=-1)
            if len(reel.frames) == number - 1:
                reel.frames.append(frame)
                reel.bytes += len(frame) + _BESIDE
            reel.ends = now + life
            self._reels[at] = reel  # as the last one
            self._reel_bytes += reel.bytes
            self._make_room(now)
        return Recorded(leads=True, whole=True, followers=self._reel_bells.ring(at, frame))

    async def replay(self, key: Key, token: bytes, after: int) -> Sequence[bytes]:
        """The frames that follow number `after`."""
        now = self._reel_now()
        with self._reel_lock:
            reel = self._reels.get(_at(key, token))
            return [] if reel is None or now >= reel.ends else reel.frames[after:]

    def follow(self, key: Key, token: bytes) -> AbstractAsyncContextManager[Bell]:
        """Subscribe to a recording in the running event loop."""
        return self._reel_bells.listen(_at(key, token))

    @property
    def recording_listeners(self) -> int:
        """How many bells hang at recordings."""
        return len(self._reel_bells)

    def _drop_reel(self, at: Key) -> _Reel:
        reel = self._reels.pop(at, None) or _Reel()
        self._reel_bytes -= reel.bytes
        return reel

    def _make_room(self, now: float) -> None:
        while self._reels:
            first = next(iter(self._reels))
            if now < self._reels[first].ends and self._reel_bytes <= self._reel_most:
                return
            self._drop_reel(first)

    def after_fork(self) -> None:
        """What is recorded goes on in the parent."""
        self._reel_lock = threading.Lock()
        self._reels, self._reel_bytes = {}, 0
        self._reel_bells.forget_all()


def _at(key: Key, token: bytes) -> Key:
    return Key(key.digest + token, key.namespace)
