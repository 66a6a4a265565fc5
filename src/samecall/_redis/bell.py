"""One listener's bell, and the channel that it hangs on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

__all__ = ["Board", "Channel", "RedisBell"]

_RINGS_KEPT = 4  # rings are hints: of a pile the newest do


class RedisBell:
    """Rings for one listener; see `_ports.Bell`."""

    __slots__ = ("_ensure", "_rings", "_waiter", "entered", "missed", "spared")

    def __init__(self, ensure: Callable[[], None], missed: Callable[[], None]) -> None:
        """missed: to be called where a look found what no ring had told of."""
        self._ensure = ensure
        self.missed = missed
        self._rings: deque[bytes] = deque(maxlen=_RINGS_KEPT)
        self._waiter: asyncio.Future[None] | None = None
        self.spared = False  # a connection was lost under its subscription once
        self.entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ring(self, message: bytes) -> None:
        self._rings.append(message)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, timeout: float) -> bytes | None:
        """The next message, b"" for "look again", None after `timeout` seconds."""
        if not self._rings:
            self._ensure()
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(timeout, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        return self._rings.popleft() if self._rings else None


class Board(Protocol):
    """Whose line a channel is on."""

    def ensure(self) -> None: ...

    def beat(self) -> None: ...

    def sweep_later(self) -> None: ...


class Channel:
    """One channel's bells, and the switchboard that they are on."""

    __slots__ = ("asked", "bells", "board", "live")

    def __init__(self, board: Board) -> None:
        self.bells: set[RedisBell] = set()
        self.board = board
        self.asked = False
        self.live = False

    def ensure(self) -> None:
        """See to it that somebody reads."""
        self.board.ensure()

    def missed(self) -> None:
        """No bell rang where one should have."""
        self.board.beat()
