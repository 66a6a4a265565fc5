"""Recordings of streams in Redis: one Redis stream per generation, one entry per frame.

A frame rides in the notification of its own append, so that a follower reads only what it missed:
the beginning, what is too large to ride, and what was published while a connection was down. That
goes for one server, Sentinel and Cluster alike, and needs no connection of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from samecall._entry import Key
from samecall._ports import EPOCH_NONE, Bell
from samecall._recordings import Recorded
from samecall._redis import names, scripts
from samecall._redis.nonsense import nonsense

if TYPE_CHECKING:
    from samecall._redis.batch import Lane
    from samecall._redis.cluster import ClusterLane
    from samecall._redis.places import Bells

__all__ = ["Recordings"]

_RIDES = 16 * 1024
_FRAMES = 64  # in one reply, which then has at most a few MB


class Recordings:
    """The recording half of a `RedisStore`; see `_recordings.RecordingStore`."""

    _db: int
    _reads: Lane | ClusterLane
    _writes: Lane | ClusterLane
    _bells: Bells

    async def record(
        self, key: Key, token: bytes, number: int, frame: bytes, lease: float, life: float,
        epoch: bytes = EPOCH_NONE,
    ) -> Recorded:  # fmt: skip
        """If the lease is ours: renew it, append the frame, keep all for `life` seconds, ring."""
        return await self.recording(key, token, number, frame, lease, life, epoch)

    def recording(
        self, key: Key, token: bytes, number: int, frame: bytes, lease: float, life: float,
        epoch: bytes,
    ) -> asyncio.Future[Recorded]:  # fmt: skip
        """See `_recordings.PromptRecordings`."""
        keys = (names.lease(key), names.recording(key, token), names.tombstone(key))
        news = (names.track(key, token, self._db), _RIDES, self._bells.publish)
        args = (token, _ms(lease), number, frame, _ms(life), *news, epoch)
        return self._writes.ask(scripts.RECORD, keys, args, read=_recorded)

    async def replay(self, key: Key, token: bytes, after: int) -> Sequence[bytes]:
        """The frames that follow number `after`."""
        name = names.recording(key, token)
        frames: list[bytes] = []
        while True:
            ids = (f"{after + len(frames) + 1}-0", b"+", b"COUNT", _FRAMES)
            rows = _rows(await self._reads.ask(None, (), (b"XRANGE", name, *ids)))
            for number, row in enumerate(rows, after + len(frames) + 1):
                frames.append(_frame(row, b"%d-0" % number))
            if len(rows) < _FRAMES:
                return frames

    def follow(self, key: Key, token: bytes) -> AbstractAsyncContextManager[Bell]:
        """Subscribe to a recording."""
        return self._bells.listen(names.track(key, token, self._db).encode())


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _recorded(reply: Any) -> Recorded:
    match reply:
        case [0 | 1 as leads, 0 | 1 as whole, int(followers)]:
            return Recorded(leads == 1, whole == 1, followers)
        case other:
            raise nonsense(other)


def _rows(reply: Any) -> list[Any]:
    match reply:
        case [*rows]:
            return rows
        case other:
            raise nonsense(other)


def _frame(row: Any, at: bytes) -> bytes:
    match row:
        case [bytes(found), [b"f", bytes(frame)]] if found == at:
            return frame
        case other:
            raise nonsense(other, "no recording of ours")
