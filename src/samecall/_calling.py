"""The call itself: bounded by its deadline, counted, its errors explained."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from samecall._books import Books, bill
from samecall._clone import clone_error
from samecall._errors import DeadlineExceeded
from samecall._outcome import FAULTS, Crashed, Request
from samecall._ports import Clock, ErrorRecord, Failure, Reach
from samecall._watching import wake

__all__ = ["Till"]


@dataclass(slots=True, eq=False)
class Till:
    """Where calls are paid, in one event loop."""

    clock: Clock
    books: Books
    report: Callable[[str], None]

    async def pay(self, request: Request, leader: bytes) -> Any:
        """What the call answers; raises what it raises, or `DeadlineExceeded`."""
        self.books.asked(request, leader)
        # a task of its own, so that a call that ignores its cancellation holds up nobody
        loop = asyncio.get_running_loop()
        task, over, alarm = loop.create_task(_await(request.call)), loop.create_future(), None
        task.add_done_callback(partial(_retrieve, over))
        try:
            await asyncio.sleep(0)  # the call goes out before its alarm is set
            alarm = loop.call_later(request.policy.deadline, wake, over)
            await over
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            if alarm is not None:
                alarm.cancel()
        if not task.done():
            task.cancel()
            raise DeadlineExceeded(
                f"the call had no answer within the deadline of {request.policy.deadline:g} s"
            )
        return task.result()

    async def direct(self, request: Request) -> Any:
        """The caller's own call, in its own task, for itself alone."""
        request.how = "bypass"
        self.books.asked(request, b"")
        began = self.clock.now()
        try:
            value = await request.call()
        except asyncio.CancelledError:
            self.books.dropped(request, self.clock.now() - began)
            raise
        except Exception as error:
            self.books.paid(request, self.clock.now() - began, type(error).__name__)
            raise
        self.books.paid(request, self.clock.now() - began, None, bill(request, value))
        return value

    def crashed(self, request: Request, error: BaseException) -> Crashed:
        """What becomes of an error of the call."""
        # cloned before its owner raises it, so that nobody inherits the owner's frames
        return Crashed(error, clone_error(error), self._explain(request, error), request)

    def _explain(self, request: Request, error: BaseException) -> Failure:
        own = Failure(Reach.OWN, ErrorRecord(type(error).__name__, ""))
        if not isinstance(error, Exception):
            return own
        try:
            failure = request.codec.explain(error)
        # a codec's fault must not hide the provider's error
        except FAULTS as fault:
            self.report(f"explain of {type(request.codec).__name__} raised {type(fault).__name__}")
            return own
        if isinstance(error, DeadlineExceeded):
            return Failure(Reach.PROCESS, failure.record)
        return failure if request.policy.share_errors else Failure(Reach.OWN, failure.record)


async def _await(call: Callable[[], Awaitable[Any]]) -> Any:
    return await call()


def _retrieve(over: asyncio.Future[None], task: asyncio.Task[Any]) -> None:
    wake(over)
    if not task.cancelled():
        task.exception()
