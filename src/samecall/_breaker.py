"""What is asked of a store: bounded in time, behind a breaker, its trouble never the caller's."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from samecall._errors import ConfigurationError, StoreError, StoreRefused, StoreUnreachable
from samecall._ports import BreakerChanged, Event, StoreFaulted
from samecall._waiting import patience, swallow

__all__ = ["Breaker", "Guard"]

T = TypeVar("T")
_FIRST_PROBE, _SLOWEST_PROBE = 0.05, 0.5


class Breaker(enum.Enum):
    """Whether the store is asked at all."""

    CLOSED = "closed"
    OPEN = "open"


class Guard:
    """Asks while what is asked answers; once it is silent, `ping` finds out when it is back.

    in_parts: one part of it may be silent while others, of which nobody asked anything meanwhile,
    answer. So `ping`, which any of them answers, has the word before nobody is asked any more.
    """

    def __init__(
        self,
        ping: Callable[[], Coroutine[Any, Any, None]],
        emit: Callable[[Event], None],
        where: str,
        *,
        in_parts: bool = False,
    ) -> None:
        self.state = Breaker.CLOSED
        self._in_parts = in_parts
        self._ping = ping
        self._emit = emit
        self._where = where
        self.answers: int = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._probe: asyncio.Task[None] | None = None
        self._doubt: asyncio.Task[None] | None = None

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        # a task of its own: a caller's cancellation never reaches the store
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def away(self) -> bool:
        """Whether nothing is asked at all."""
        return self.state is Breaker.OPEN

    @property
    def stands_in_part(self) -> bool:
        """Whether what did not answer may be a part only."""
        return self._in_parts and self.state is Breaker.CLOSED

    async def ask(
        self, operation: str, work: Callable[[], Coroutine[Any, Any, T]], timeout: float
    ) -> T | None:
        """Do one operation within `timeout`; None: nobody knows what came of it."""
        if self.state is Breaker.OPEN:
            return None
        return await self._finish(operation, self._start(work()), timeout)

    async def _tell(self, operation: str, work: Coroutine[Any, Any, T], timeout: float) -> T:
        task = self._start(work)
        task.add_done_callback(swallow)
        if not await patience(task, timeout):
            raise StoreUnreachable(f"{operation} had no answer in {timeout:g} s from {self._where}")
        return task.result()

    async def _finish(
        self, operation: str, task: asyncio.Task[T], timeout: float, *, hurried: bool = False
    ) -> T | None:
        before = self.answers
        try:
            done = await patience(task, timeout)
        except asyncio.CancelledError:
            task.add_done_callback(self._late)
            raise
        if not done:
            task.add_done_callback(self._late)
            self._silent(operation, timeout, before, hurried=hurried)
            return None
        if task.cancelled():  # the loop is ending under us
            return None
        return self._read(operation, task, before)

    def _read(self, operation: str, task: asyncio.Task[T], before: int) -> T | None:
        error = task.exception()
        if error is not None:
            self.missed(operation, error, before)
            return None
        self.answers += 1
        return task.result()

    def missed(self, operation: str, error: BaseException, before: int) -> None:
        """Trouble with what began when there were `before` answers."""
        if isinstance(error, StoreRefused) and self.answers == 0 and operation == "acquire":
            raise ConfigurationError(f"url_or_store: {error.advice(self._where)}") from error
        unreachable = isinstance(error, StoreUnreachable) and self.answers == before
        told = isinstance(error, StoreError)
        why = str(error) if told else f"{type(error).__name__}: {error}"
        self._fault(operation, why, opens=unreachable)

    def _late(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is None:
            self.answers += 1

    # --- the breaker -----------------------------------------------------------------------------

    def _silent(
        self, operation: str, timeout: float, before: int, *, hurried: bool = False
    ) -> None:
        """What began when there were `before` answers had none in time.

        hurried: in less time than the store is due, so that a ping has the word here, too.
        """
        silent, asks = self.answers == before, self._in_parts or hurried
        self._fault(operation, f"no answer in {timeout:g} s", opens=silent and not asks)
        if silent and asks and self._doubt is None and self.state is Breaker.CLOSED:
            self._doubt = asyncio.get_running_loop().create_task(self._find_out(timeout))

    async def _find_out(self, timeout: float) -> None:
        before = self.answers
        try:
            if not await self._stands(timeout) and self.answers == before:
                self._open()
        finally:
            self._doubt = None

    def noted(self, operation: str, why: str) -> None:
        """Something to tell of, though the store has answered."""
        self._fault(operation, why, opens=False)

    def _fault(self, operation: str, why: str, *, opens: bool) -> None:
        self._emit(StoreFaulted(operation, why))
        if opens:
            self._open()

    def _open(self) -> None:
        if self.state is Breaker.CLOSED:
            self.state = Breaker.OPEN
            self._emit(BreakerChanged(open=True))
            self._probe = asyncio.get_running_loop().create_task(self._probe_until_back())

    async def _stands(self, timeout: float) -> bool:
        task = self._start(self._ping())
        task.add_done_callback(swallow)
        if await patience(task, timeout):
            return not task.cancelled() and task.exception() is None
        task.cancel()
        return False

    async def _probe_until_back(self) -> None:
        pause = _FIRST_PROBE
        while True:
            await asyncio.sleep(pause)
            if await self._stands(1.0):
                break
            pause = min(pause * 2, _SLOWEST_PROBE)
        self.state = Breaker.CLOSED
        self.answers += 1
        self._emit(BreakerChanged(open=False))

    async def _end(self) -> None:
        own = (each for each in (self._probe, self._doubt) if each is not None)
        tasks = (*self._tasks, *own)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
