"""An event loop whose time is virtual: where nothing else is to be done, it is the next timer's."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["VirtualClock", "VirtualLoop", "run_virtual"]

T = TypeVar("T")


class VirtualClock:
    """A `Clock` for a cache, and the time of a `VirtualLoop`."""

    def __init__(self, start: float = 1_000.0) -> None:
        self._now = start

    def now(self) -> float:
        """The seconds that this clock shows."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move forward, as a busy stretch of code does; timers are late by so much."""
        if seconds < 0:
            raise ValueError(f"a monotonic clock cannot go back by {-seconds!r} s")
        self._now += seconds


class _Leaping(selectors.SelectSelector):
    """Where the loop would sleep until its next timer, the clock leaps there."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(None if timeout is None else 0)
        if timeout is not None and timeout > 0 and not ready:
            self._clock.advance(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs timers in their order and without waiting; sockets and other threads are polled.

    A run that uses neither is the same every time: nothing in it depends on the machine. What is
    for an executor is done at once, in the loop's own thread.
    """

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        super().__init__(_Leaping(self.clock))

    def time(self) -> float:
        """The virtual seconds."""
        return self.clock.now()

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """The result of `func`, which has been called when this returns."""
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whoever awaits it gets it
            done.set_exception(error)
        return done


def run_virtual(main: Callable[[VirtualClock], Coroutine[Any, Any, T]]) -> T:
    """Run `main(clock)` to its end in a virtual loop, as `asyncio.run` would."""
    clock = VirtualClock()
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(main(clock))
