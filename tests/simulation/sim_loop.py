"""An event loop of one simulated process: driven turn by turn from outside, so it can be frozen."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["Livelock", "ProcessClock", "StepLoop", "Time", "VirtualBell", "at_once"]

_TURNS = 5_000
_SLACK = 1e-9


class Livelock(Exception):
    """A process runs turn after turn and no time passes."""


class Time:
    """The true time of a run, which no process can see."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0.0


class ProcessClock:
    """The monotonic clock of one process: its own offset, its own rate, and it may jump."""

    __slots__ = ("_offset", "_rate", "_time")

    def __init__(self, time: Time, offset: float, rate: float) -> None:
        self._time, self._offset, self._rate = time, offset, rate

    def now(self) -> float:
        return self._offset + self._rate * self._time.now

    def jump(self, seconds: float) -> None:
        self._offset += seconds

    def truly(self, when: float) -> float:
        """The true time at which this clock will show `when`."""
        return (when - self._offset) / self._rate


class VirtualBell:
    """A bell that rings when it is told to."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._rung = asyncio.Event()

    def put(self, message: bytes) -> None:
        self._messages.append(message)
        self._rung.set()

    async def wait(self, timeout: float) -> bytes | None:
        if not self._messages:
            self._rung.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._rung.wait()
            except TimeoutError:
                return None
        return self._messages.popleft()


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """What an operation of a `MemoryStore` gives, which never waits."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("a MemoryStore waits")


class StepLoop(asyncio.AbstractEventLoop):
    """Does what the library asks of a loop, and only when `run` is called."""

    def __init__(self, clock: ProcessClock, complain: Callable[[dict[str, Any]], None]) -> None:
        self.clock = clock
        self._complain = complain
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0

    # --- driven from outside -------------------------------------------------------------------

    def due(self) -> float | None:
        """The true time of the next thing to do; None: nothing is."""
        if self._ready:
            return 0.0
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        return self.clock.truly(timers[0][0]) if timers else None

    def run(self) -> None:
        """Do all that can be done before time passes."""
        asyncio._set_running_loop(self)
        try:
            for _ in range(_TURNS):
                self._wake()
                if not self._ready:
                    return
                for _ in range(len(self._ready)):
                    handle = self._ready.popleft()
                    if not handle.cancelled():
                        handle._run()
        finally:
            asyncio._set_running_loop(None)
        raise Livelock

    def _wake(self) -> None:
        timers, now = self._timers, self.clock.now() + _SLACK
        while timers and timers[0][0] <= now:
            handle = heapq.heappop(timers)[2]
            if not handle.cancelled():
                self._ready.append(handle)

    def tasks(self) -> set[asyncio.Task[Any]]:
        return asyncio.all_tasks(self)

    # --- what asyncio asks for -----------------------------------------------------------------

    def time(self) -> float:
        return self.clock.now()

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._complain(context)

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.clock.now() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It leaves when its time has come."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, **kwargs)
