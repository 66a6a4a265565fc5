"""The patience of many questions, by one timer.

Like `_waiting.patience`: time counts in short slices, and one that comes late counts for less, so
that a loop which was busy does not blame the store.
"""

from __future__ import annotations

import asyncio

from samecall._prompt import Reply
from samecall._waiting import MOST, TURNS, punctual

__all__ = ["OVERDUE", "Overdue", "Vigil"]

_SLICES = 16
_GRAIN = 1e-9  # seconds; less is none
_TOGETHER = 0.0005  # seconds within which nobody is waited for longer or shorter than another


class Overdue:
    """What a future is told whose time is up."""


OVERDUE = Overdue()


class _Wait:
    """Futures whose time began together, as near as makes no difference."""

    __slots__ = ("futures", "gone", "spent")

    def __init__(self, gone: float, spent: float) -> None:
        self.gone = gone
        self.spent = spent
        self.futures: list[Reply] = []


class Vigil:
    """Ends futures that take longer than `seconds` in which this process was on time.

    Belongs to one event loop; its timer runs only while something is waited for.
    """

    __slots__ = (
        "_due",
        "_gone",
        "_loop",
        "_seconds",
        "_since",
        "_spent",
        "_step",
        "_timer",
        "_waits",
    )

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._step = seconds / _SLICES
        self._waits: list[_Wait] = []
        self._timer: asyncio.TimerHandle | None = None
        self._since = self._due = 0.0  # the running slice
        self._gone = 0.0  # seconds of punctual time, up to this slice
        self._spent = 0.0  # of any time, but a slice is one slice, however late it ended

    def add(self, future: Reply) -> None:
        """Have `future` end with `OVERDUE` if nothing else ends it in time."""
        now = self._loop.time()
        if self._timer is None:
            self._begin(now, self._step)
        begun = min(now, self._due) - self._since
        last = self._waits[-1] if self._waits else None
        if last is None or self._spent + begun - last.spent > _TOGETHER:
            last = _Wait(self._gone + begun, self._spent + begun)
            self._waits.append(last)
        last.futures.append(future)

    def forget(self, future: Reply) -> None:
        """`future` is done: if nothing else is waited for, the loop is woken for nothing."""
        if self._timer is None or len(self._waits) != 1:
            return
        if self._waits[0].futures == [future]:
            self._timer.cancel()
            self._timer = None
            self._waits.clear()

    def _begin(self, now: float, seconds: float) -> None:
        self._since, self._due = now, now + seconds
        self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        now = self._loop.time()
        took = now - self._since
        self._gone += punctual(took, now - self._due, self._step)
        self._spent += min(took, self._step)
        waits, self._waits = self._waits, []
        for wait in waits:
            wait.futures[:] = [future for future in wait.futures if not future.done()]
            if wait.futures and self._left(wait) > _GRAIN:
                self._waits.append(wait)
                continue
            for future in wait.futures:
                self._last(future, TURNS)
        self._timer = None
        if self._waits:
            self._begin(now, min(self._step, *map(self._left, self._waits)))

    def _left(self, wait: _Wait) -> float:
        """Seconds, at the most, until this one is over."""
        left = self._seconds - (self._gone - wait.gone)
        return min(left, self._seconds * MOST - (self._spent - wait.spent))

    def _last(self, future: Reply, turns: int) -> None:
        # a few turns of the loop, in which a reply that is there already gets through
        if future.done():
            return
        if turns:
            self._loop.call_soon(self._last, future, turns - 1)
        else:
            future.set_result(OVERDUE)
