"""One execution per call in this process, with counted callers.

A flight is a task of its own. Callers come and go; a caller's cancellation ends only its own
waiting. The last one out says what happens to the call: "finish" it for the cache or "abandon" it.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from samecall._errors import ReentrantCall

__all__ = ["Flight", "FlightStatistics", "Flights", "clone_error"]

O = TypeVar("O")

_airborne: contextvars.ContextVar[tuple[Flight[Any], ...]] = contextvars.ContextVar(
    "samecall_airborne", default=()
)


@dataclass(frozen=True, slots=True)
class FlightStatistics:
    """Flights in the air, callers that wait for one, and flights that landed but still store."""

    flights: int
    callers_waiting: int
    storing: int


class Flight(Generic[O]):
    """One execution of a call; `outcome` is set once, and every caller reads it."""

    __slots__ = (
        "_waiters",
        "abandon",
        "callers",
        "detached",
        "key",
        "leading",
        "outcome",
        "slot",
        "task",
    )

    def __init__(self, slot: Hashable, key: Hashable, *, abandon: bool) -> None:
        self.slot = slot
        self.key = key
        self.abandon = abandon
        self.outcome: O | None = None
        self.callers = 0
        self.leading = False
        self.detached = False
        self.task: asyncio.Task[None] | None = None
        self._waiters: set[asyncio.Future[None]] = set()

    def land(self, outcome: O) -> None:
        """Give every caller the outcome; the first one counts."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, timeout: float | None, *, owner: bool) -> O | None:
        """The outcome; None when `timeout` seconds went by.

        The owner, whose call the flight runs, waits on while it runs: its call has limits of its
        own.
        """
        loop = asyncio.get_running_loop()
        ends = None if timeout is None else loop.time() + timeout
        while self.outcome is None:
            waiter = loop.create_future()
            self._waiters.add(waiter)
            alarm = None if ends is None else loop.call_at(ends, _wake, waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
                if alarm is not None:
                    alarm.cancel()
            if self.outcome is None and ends is not None and loop.time() >= ends:
                if not (owner and self.leading):
                    return None
                ends = None
        return self.outcome


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Flights(Generic[O]):
    """The flights of one event loop, by slot."""

    def __init__(self, ended: Callable[[BaseException | None], O]) -> None:
        self._ended = ended  # the outcome of a flight that ended without one
        self._table: dict[Hashable, Flight[O]] = {}
        self._open: set[Flight[O]] = set()  # also those detached: their tasks still run

    def statistics(self) -> FlightStatistics:
        """Counts, as they are now."""
        landed = sum(flight.outcome is not None for flight in self._open)
        callers = sum(flight.callers for flight in self._open if flight.outcome is None)
        return FlightStatistics(len(self._open) - landed, callers, landed)

    def join(self, slot: Hashable) -> Flight[O] | None:
        """The flight in the air for `slot`; raises `ReentrantCall` inside that very flight."""
        flight = self._table.get(slot)
        if flight is not None and flight in _airborne.get():
            _refuse_own(flight)
        return flight

    def start(
        self,
        slot: Hashable,
        key: Hashable,
        fly: Callable[[Flight[O]], Coroutine[Any, Any, None]],
        *,
        abandon: bool,
    ) -> Flight[O]:
        """A new flight whose task runs `fly`."""
        chain = _airborne.get()
        for other in chain:
            if other.key == key and other in self._open and other.outcome is None:
                _refuse_own(other)
        flight: Flight[O] = Flight(slot, key, abandon=abandon)
        self._table[slot] = flight
        self._open.add(flight)
        context = contextvars.copy_context()
        context.run(_airborne.set, (*chain, flight))
        loop = asyncio.get_running_loop()
        flight.task = loop.create_task(self._run(flight, fly), context=context)
        return flight

    async def _run(
        self, flight: Flight[O], fly: Callable[[Flight[O]], Coroutine[Any, Any, None]]
    ) -> None:
        error: BaseException | None = None
        try:
            await fly(flight)
        except Exception as caught:
            error = caught
        finally:
            self._remove(flight)
            self._open.discard(flight)
            flight.land(self._ended(error))

    def _remove(self, flight: Flight[O]) -> None:
        # only what is still ours: after a detach the slot may hold a newer flight
        if self._table.get(flight.slot) is flight:
            del self._table[flight.slot]

    async def wait(
        self, flight: Flight[O], timeout: float | None, *, owner: bool = False
    ) -> O | None:
        """Be one of the callers of `flight` until it lands or `timeout` seconds went by."""
        flight.callers += 1
        try:
            return await flight.wait(timeout, owner=owner)
        finally:
            flight.callers -= 1
            if flight.callers == 0 and flight.outcome is None and flight.abandon:
                self._remove(flight)
                if flight.task is not None:
                    flight.task.cancel()

    def detach(self, keys: Callable[[Hashable], bool]) -> None:
        """Nobody joins these flights any more, and they keep nothing; their callers stay."""
        for flight in [flight for flight in self._open if keys(flight.key)]:
            flight.detached = True
            self._remove(flight)

    async def aclose(self, grace: float) -> None:
        """Give flights that landed `grace` seconds to store their answer; end the others."""
        storing = [f.task for f in self._open if f.outcome is not None and f.task is not None]
        others = [f.task for f in self._open if f.outcome is None and f.task is not None]
        for task in others:
            task.cancel()
        if storing:
            _, late = await asyncio.wait(storing, timeout=grace)
            for task in late:
                task.cancel()
            others.extend(late)
        await asyncio.gather(*others, return_exceptions=True)


def _refuse_own(flight: Flight[Any]) -> None:
    raise ReentrantCall(
        "this call asks for the key that it is itself answering, and would wait for itself for "
        'ever; use cache_mode="bypass" inside it'
    )


def clone_error(error: BaseException) -> BaseException:
    """A copy with a traceback of its own, so that callers do not share one; else `error` itself."""
    kind = type(error)
    try:
        clone = kind.__new__(kind, *error.args)
        clone.args = error.args
        clone.__dict__.update(error.__dict__)
    except Exception:  # an exception class may do anything in __new__; the original will do
        return error
    clone.__cause__ = error.__cause__
    clone.__context__ = error.__context__
    clone.__suppress_context__ = error.__suppress_context__
    return clone
