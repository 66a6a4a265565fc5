"""When a line that listens is to be asked whether it stands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["QUIET", "Heart"]

QUIET = 30.0
"""Seconds in which nothing was heard."""


class Heart:
    """Calls `beat` whenever a line has been quiet for long; whatever it says puts that off.

    A line that is dead without a word costs a wait 2 s, and the first such wait has it asked at
    once: see `RedisBell.missed`.
    """

    __slots__ = ("_beat", "_heard", "_loop", "_timer")

    def __init__(self, beat: Callable[[], None]) -> None:
        self._beat = beat
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._timer = self._loop.call_later(QUIET, self._due)

    def heard(self) -> None:
        """The line stands."""
        self._heard = self._loop.time()

    def _due(self) -> None:
        left = self._heard + QUIET - self._loop.time()
        if left <= 0.0:
            self._beat()
            left = QUIET
        self._timer = self._loop.call_later(left, self._due)

    def stop(self) -> None:
        """The line is gone."""
        self._timer.cancel()
