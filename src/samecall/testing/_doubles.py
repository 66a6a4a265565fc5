"""A clock moved by hand and a provider behind a gate."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

__all__ = ["GatedProvider", "ManualClock"]

T = TypeVar("T")


class ManualClock:
    """A `Clock` that stands still until it is moved."""

    def __init__(self, start: float = 1_000.0) -> None:
        self._now = start

    def now(self) -> float:
        """The seconds that this clock shows."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move forward; raises `ValueError` for a step backwards."""
        if seconds < 0:
            raise ValueError(f"a monotonic clock cannot go back by {-seconds!r} s")
        self._now += seconds


class GatedProvider(Generic[T]):
    """An async callable that counts its calls and holds them at a gate until told what to say.

    `calls` counts all calls ever made, `cancelled` those cancelled at the gate. A call that is
    told nothing hangs. Belongs to one event loop.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.cancelled = 0
        self._gate: list[asyncio.Future[T]] = []
        self._open: T | BaseException | None = None
        self._is_open = False
        self._watchers: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def waiting(self) -> int:
        """How many calls stand at the gate now."""
        return len(self._gate)

    async def __call__(self, *_args: object, **_kwargs: object) -> T:
        """Wait at the gate, then answer or raise as told."""
        self.calls += 1
        if self._is_open:
            return self._say(self._open)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._gate.append(future)
        self._notice()
        try:
            return await future
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            if future in self._gate:
                self._gate.remove(future)

    async def until_waiting(self, count: int) -> None:
        """Return once `count` calls or more stand at the gate together."""
        if self.waiting >= count:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.append((count, future))
        await future

    def answer(self, value: T) -> None:
        """Answer all who wait, and from now on all who come."""
        self._open, self._is_open = value, True
        self._tell_all(value)

    def fail(self, error: BaseException) -> None:
        """Raise `error` in all who wait, and from now on in all who come."""
        self._open, self._is_open = error, True
        self._tell_all(error)

    def answer_one(self, value: T) -> None:
        """Answer the call that has waited longest; the gate stays as it is."""
        self._tell(self._gate.pop(0), value)

    def fail_one(self, error: BaseException) -> None:
        """Raise `error` in the call that has waited longest; the gate stays as it is."""
        self._tell(self._gate.pop(0), error)

    def close(self) -> None:
        """Hold the calls that come from now on: they hang until told otherwise."""
        self._open, self._is_open = None, False

    @staticmethod
    def _say(outcome: T | BaseException | None) -> T:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome  # type: ignore[return-value]

    @staticmethod
    def _tell(future: asyncio.Future[T], outcome: T | BaseException) -> None:
        if future.done():
            return
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def _tell_all(self, outcome: T | BaseException) -> None:
        gate, self._gate = self._gate, []
        for future in gate:
            self._tell(future, outcome)

    def _notice(self) -> None:
        for count, future in self._watchers:
            if self.waiting >= count and not future.done():
                future.set_result(None)
        self._watchers = [pair for pair in self._watchers if not pair[1].done()]
