"""The patience of many questions, by one timer.

Like `_waiting.patience`: time counts in short slices, and one that comes late counts for less, so
that a loop which was busy does not blame the store.
"""

from __future__ import annotations

import asyncio

from samecall._prompt import Reply

__all__ = ["OVERDUE", "Overdue", "Vigil"]

_SLICES = 16
_MOST = 5
_PUNCTUAL = 0.002  # seconds; timers have a grain of their own
_WEIGHT = 4  # a timer that is late by a quarter of its time counts for nothing
_TURNS = 8
_GRAIN = 0.05  # slices within which nobody is waited for longer or shorter than another


class Overdue:
    """What a future is told whose time is up."""


OVERDUE = Overdue()


class _Wait:
    """Futures whose time began together, as near as makes no difference."""

    __slots__ = ("begun", "futures", "gone", "slices")

    def __init__(self, gone: float, slices: int, begun: float) -> None:
        self.gone = gone
        self.slices = slices
        self.begun = begun
        self.futures: list[Reply] = []


class Vigil:
    """Ends futures that take longer than `seconds` in which this process was on time.

    Belongs to one event loop; its timer runs only while something is waited for.
    """

    __slots__ = ("_due", "_gone", "_loop", "_slices", "_step", "_timer", "_waits")

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._step = seconds / _SLICES
        self._waits: list[_Wait] = []
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._gone = 0.0  # slices of punctual time
        self._slices = 0  # of any time

    def add(self, future: Reply) -> None:
        """Have `future` end with `OVERDUE` if nothing else ends it in time."""
        now = self._loop.time()
        if self._timer is None:
            self._due = now + self._step
            self._timer = self._loop.call_at(self._due, self._tick)
        begun = min(1.0, max(0.0, 1 - (self._due - now) / self._step))  # of the running slice
        last = self._waits[-1] if self._waits else None
        if last is None or last.slices != self._slices or begun - last.begun > _GRAIN:
            last = _Wait(self._gone + begun, self._slices, begun)
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

    def _tick(self) -> None:
        now = self._loop.time()
        late = max(0.0, now - self._due - _PUNCTUAL)
        self._gone += max(0.0, 1 - _WEIGHT * late / self._step)
        self._slices += 1
        waits, self._waits = self._waits, []
        for wait in waits:
            wait.futures[:] = [future for future in wait.futures if not future.done()]
            if not wait.futures:
                continue
            if self._gone - wait.gone < _SLICES and self._slices - wait.slices < _SLICES * _MOST:
                self._waits.append(wait)
                continue
            for future in wait.futures:
                self._last(future, _TURNS)
        self._timer = None
        if self._waits:
            self._due = now + self._step
            self._timer = self._loop.call_at(self._due, self._tick)

    def _last(self, future: Reply, turns: int) -> None:
        # a few turns of the loop, in which a reply that is there already gets through
        if future.done():
            return
        if turns:
            self._loop.call_soon(self._last, future, turns - 1)
        else:
            future.set_result(OVERDUE)
