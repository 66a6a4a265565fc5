"""Where workers of one process leave word of themselves."""

from __future__ import annotations

import time

from samecall._board import Posted

__all__ = ["MemoryBoard"]


class MemoryBoard:
    """See `_board.Board`; safe to use from many threads."""

    def __init__(self) -> None:
        self._posted: dict[tuple[str, str], tuple[bytes, float, float]] = {}

    async def post(self, namespace: str, worker: str, data: bytes, ttl: float) -> None:
        """See `_board.Board`."""
        now = time.monotonic()
        self._posted[namespace, worker] = data, now, now + ttl
        for at, (_, _, ends) in tuple(self._posted.items()):
            if ends <= now:
                self._posted.pop(at, None)

    async def posted(self, namespace: str | None = None) -> list[Posted]:
        """See `_board.Board`."""
        now = time.monotonic()
        return [
            Posted(space, worker, data, now - began)
            for (space, worker), (data, began, ends) in tuple(self._posted.items())
            if ends > now and namespace in (None, space)
        ]

    async def withdraw(self, namespace: str) -> None:
        """See `_board.Board`."""
        for at in tuple(self._posted):
            if at[0] == namespace:
                self._posted.pop(at, None)
