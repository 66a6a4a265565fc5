"""One flight: an execution of a call in this process, and who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from contextvars import Context, ContextVar, copy_context
from typing import Any, Generic, Protocol, TypeVar

from samecall._watching import Generation, Phase, wake

__all__ = ["Asked", "Flight", "Table", "airborne"]

airborne: ContextVar[tuple[Flight[Any], ...]] = ContextVar("samecall_airborne", default=())
"""The flights inside whose calls this runs."""

OutcomeT = TypeVar("OutcomeT")


class Asked(Protocol):
    """A question that is on its way."""

    def cancel(self) -> None: ...


class Table(Protocol):
    """Where a flight is kept while it is in the air."""

    home: object

    def noted(self, flight: Any, /) -> None: ...

    def remove(self, flight: Any, /) -> None: ...

    def ground(self, flight: Any, /) -> None: ...


class Flight(Generic[OutcomeT]):
    """One execution of a call; `outcome` is set once, and every caller reads it."""

    __slots__ = (
        "_flights",
        "_generation",
        "_owner",
        "_waiters",
        "abandon",
        "about",
        "asked",
        "before",
        "callers",
        "context",
        "deserted",
        "detached",
        "doubted",
        "home",
        "key",
        "nested",
        "outcome",
        "outdated",
        "phase",
        "slot",
        "task",
    )

    def __init__(
        self,
        flights: Table,
        slot: Hashable,
        key: Hashable,
        *,
        abandon: bool,
        nested: bool,
    ) -> None:
        self.slot = slot
        self.key = key
        self.abandon = abandon
        self.nested = nested  # begun inside the call of another flight
        self.outcome: OutcomeT | None = None
        self.callers = 0
        self.phase = Phase.ASKING
        self.detached = False  # nobody joins it, and it keeps nothing
        self.outdated = False  # nobody joins it, and this process keeps no copy of what it makes
        self.doubted: Callable[[], None] | None = None  # what is done if it may be out of date
        self.deserted: Callable[[], None] | None = None  # what the last caller does, if not end it
        self.about: Any = None  # the request that it was started for
        self.task: asyncio.Task[None] | None = None
        self.asked: Asked | None = None  # what the store is asked while there is no task yet
        self.context: Context | None = copy_context()  # in which its call is made
        self.before: Flight[OutcomeT] | None = None  # who called for this key when this one began
        self.home = flights.home
        self._flights = flights
        self._generation: Generation | None = None
        self._waiters: dict[asyncio.Future[None], None] = {}  # in the order of their coming
        self._owner: asyncio.Future[None] | None = None

    @property
    def generation(self) -> Generation:
        """Who leads, and who is bound to that."""
        if self._generation is None:  # most flights end without
            self._generation = Generation()
        return self._generation

    def enter(self, phase: Phase) -> None:
        """Go on to the next phase; the owner's patience depends on it."""
        self.phase = phase
        self._flights.noted(self)
        if self._owner is not None:
            wake(self._owner)
        self._tell_watchers()

    def follow(self, token: bytes) -> None:
        """Another process leads."""
        if token != self.generation.leader:
            self.generation.led_by(token)
            self.enter(Phase.FOLLOWING)

    def give_up(self) -> None:
        """End the call: nobody wants it any more."""
        self._flights.remove(self)
        if self.task is not None:
            self.task.cancel()
        elif self.asked is not None:
            self.asked.cancel()
            self._flights.ground(self)

    def land(self, outcome: OutcomeT) -> None:
        """Give every caller the outcome; the first one counts."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            wake(waiter)
        self._tell_watchers()

    def seat(self) -> asyncio.Future[None]:
        """Done once there is an outcome; never in this turn of the loop."""
        loop = asyncio.get_running_loop()
        seat = loop.create_future()
        if self.outcome is None:
            self._waiters[seat] = None
        else:  # a caller in a loop of hits must not starve the commit
            loop.call_soon(wake, seat)
        return seat

    def rise(self, seat: asyncio.Future[None]) -> None:
        """Nobody awaits this any more."""
        self._waiters.pop(seat, None)

    def _tell_watchers(self) -> None:
        if self._generation is not None:
            self._generation.watchers.wake()

    async def wait(self, timeout: float | None, *, owner: bool) -> OutcomeT | None:
        """The outcome; None when `timeout` seconds went by.

        The owner, whose call the flight runs, is patient only while somebody else leads.
        """
        loop = asyncio.get_running_loop()
        ends = None if timeout is None or owner else loop.time() + timeout
        if self.outcome is not None:  # a caller in a loop of hits must not starve the commit
            await asyncio.sleep(0)
        while self.outcome is None:
            if owner and timeout is not None:
                following = self.phase is Phase.FOLLOWING
                ends = (ends or loop.time() + timeout) if following else None
            if ends is not None and loop.time() >= ends:
                return None
            waiter = loop.create_future()
            self._waiters[waiter] = None
            if owner:
                self._owner = waiter
            alarm = None if ends is None else loop.call_at(ends, wake, waiter)
            try:
                await waiter
            finally:
                self._waiters.pop(waiter, None)
                if owner:
                    self._owner = None
                if alarm is not None:
                    alarm.cancel()
        return self.outcome
