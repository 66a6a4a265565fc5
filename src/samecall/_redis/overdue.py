"""Deadlines measured in time that the event loop was alive.

One long timer fires at once after the loop was busy, although the reply may lie in the socket,
unread. Several short timers in a row give the loop a turn to read between any two of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ["Alarm", "Patience"]

_STEPS = 4


class Alarm:
    """Calls `ring` once, after `seconds` in which the loop was alive, unless stopped before."""

    __slots__ = ("_handle", "_left", "_loop", "_ring", "_step")

    def __init__(self, seconds: float, ring: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ring = ring
        self._left = _STEPS
        self._step = seconds / _STEPS
        self._handle = self._loop.call_later(self._step, self._tick)

    def _tick(self) -> None:
        self._left -= 1
        if self._left:
            self._handle = self._loop.call_later(self._step, self._tick)
        else:
            self._ring()

    def stop(self) -> None:
        """Never ring; harmless after the ring."""
        self._handle.cancel()


class Patience:
    """`async with` that raises TimeoutError inside a block that lasts more than `seconds` alive."""

    __slots__ = ("_alarm", "_scope", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._scope = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        await self._scope.__aenter__()
        self._alarm = Alarm(self._seconds, self.end)
        return self

    def end(self) -> None:
        """Lose patience now; harmless after the block."""
        if self._scope.when() is None:
            self._scope.reschedule(asyncio.get_running_loop().time())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._alarm.stop()
        await self._scope.__aexit__(kind, error, trace)  # raises TimeoutError, swallows nothing
