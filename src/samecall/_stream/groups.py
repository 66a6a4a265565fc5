"""A stream's chunks in groups: who need not hear of each one at once hears of each group.

A group ends with the last chunk that its window will see, as far as the stream's pace tells, or
with 8 KB. So a steady stream needs no timer between two chunks: waking the loop there makes
whatever sleeps in it late, as asyncio rounds the rest of a sleep up to a millisecond.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["WINDOW", "Groups"]

WINDOW, _UNFOLLOWED = 0.025, 0.05
"""Seconds that a chunk waits at the most (none, if the group before it ended that long ago); and
while no other process follows: whoever comes reads what is there, and is heard of with the next.
"""
_FLUSH = 8 * 1024


class Groups:
    """Calls `tell` at the end of each group. Belongs to one event loop."""

    __slots__ = ("_alarm", "_came", "_due", "_loop", "_seen", "_size", "_tell", "_told", "_window")

    def __init__(self, tell: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._tell = tell
        self._window = WINDOW
        self._came = self._told = self._loop.time() - _UNFOLLOWED
        self._due: float | None = None
        self._seen = self._size = 0  # of the stream: now, and at the last group's end
        self._alarm: asyncio.TimerHandle | None = None

    def came(self, size: int) -> None:
        """A chunk has come; the stream has so many bytes now."""
        now = self._loop.time()
        gap, self._came, self._seen = now - self._came, now, size
        if self._due is None:
            self._due = now if now - self._told >= self._window else now + self._window
        if now + gap >= self._due or size - self._size >= _FLUSH:
            self._end()
        elif self._alarm is None:
            self._alarm = self._loop.call_at(self._due, self._end)

    def follow(self, *, followed: bool) -> None:
        """Have windows as long as it takes for those who follow, or for nobody."""
        window = WINDOW if followed else _UNFOLLOWED
        sooner, self._window = self._window - window, window
        if sooner > 0 and self._alarm is not None and self._due is not None:
            self._due -= sooner
            self._alarm.cancel()
            self._alarm = self._loop.call_at(self._due, self._end)

    def close(self) -> None:
        """No more chunks come."""
        self._due = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _end(self) -> None:
        self.close()
        self._told, self._size = self._loop.time(), self._seen
        self._tell()
