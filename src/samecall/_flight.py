"""One execution per call in this process, with counted callers.

A flight is a task of its own. Callers come and go; a caller's cancellation ends only its own
waiting. The last one out says what happens to the call: "finish" it for the cache or "abandon" it.
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
import threading
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from samecall._errors import ReentrantCall

__all__ = ["Flight", "FlightStatistics", "Flights", "Phase"]

OutcomeT = TypeVar("OutcomeT")

_airborne: contextvars.ContextVar[tuple[Flight[Any], ...]] = contextvars.ContextVar(
    "samecall_airborne", default=()
)


class Phase(enum.Enum):
    """Where a flight is on its way; one that has an outcome has landed, whatever its phase."""

    ASKING = "asking"
    FOLLOWING = "following"
    LEADING = "leading"
    ALONE = "alone"
    """Leading with no store behind it: nothing but this process keeps a second call away."""


@dataclass(frozen=True, slots=True)
class FlightStatistics:
    """Flights in the air, callers that wait for one, and flights that landed but still store."""

    flights: int
    callers_waiting: int
    storing: int


class Flight(Generic[OutcomeT]):
    """One execution of a call; `outcome` is set once, and every caller reads it."""

    __slots__ = (
        "_flights",
        "_owner",
        "_waiters",
        "abandon",
        "callers",
        "detached",
        "home",
        "key",
        "nested",
        "outcome",
        "phase",
        "slot",
        "task",
    )

    def __init__(
        self,
        flights: Flights[OutcomeT],
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
        self.detached = False
        self.task: asyncio.Task[None] | None = None
        self.home = flights.home
        self._flights = flights
        self._waiters: dict[asyncio.Future[None], None] = {}  # in the order of their coming
        self._owner: asyncio.Future[None] | None = None

    def enter(self, phase: Phase) -> None:
        """Go on to the next phase; the owner's patience depends on it."""
        self.phase = phase
        self._flights.noted(self)
        if self._owner is not None:
            _wake(self._owner)

    def land(self, outcome: OutcomeT) -> None:
        """Give every caller the outcome; the first one counts."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            _wake(waiter)

    async def wait(self, timeout: float | None, *, owner: bool) -> OutcomeT | None:
        """The outcome; None when `timeout` seconds went by.

        The owner, whose call the flight runs, has only to be patient while somebody else leads:
        its own call has limits of its own.
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
            await self._sleep(loop, ends, owner=owner and timeout is not None)
        return self.outcome

    async def _sleep(
        self, loop: asyncio.AbstractEventLoop, ends: float | None, *, owner: bool
    ) -> None:
        waiter = loop.create_future()
        self._waiters[waiter] = None
        if owner:
            self._owner = waiter
        alarm = None if ends is None else loop.call_at(ends, _wake, waiter)
        try:
            await waiter
        finally:
            self._waiters.pop(waiter, None)
            if owner:
                self._owner = None
            if alarm is not None:
                alarm.cancel()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Flights(Generic[OutcomeT]):
    """The flights of one event loop, by slot.

    `ended` gives the outcome of a flight that ended without one. Flights of one `home` wait for
    each other, whatever loop they fly in. `statistics` and `detach` may be called in any thread.
    """

    def __init__(
        self, ended: Callable[[BaseException | None], OutcomeT], home: object = None
    ) -> None:
        self.closed = False
        self._ended = ended
        self.home = home if home is not None else self
        self._lock = threading.Lock()
        self._table: dict[Hashable, Flight[OutcomeT]] = {}
        self._leading: dict[Hashable, Flight[OutcomeT]] = {}  # by key
        self._open: set[Flight[OutcomeT]] = set()  # also those detached: their tasks still run

    def statistics(self) -> FlightStatistics:
        """Counts, as they are now."""
        with self._lock:
            flights = tuple(self._open)
        landed = sum(flight.outcome is not None for flight in flights)
        callers = sum(flight.callers for flight in flights if flight.outcome is None)
        return FlightStatistics(len(flights) - landed, callers, landed)

    def find(self, slot: Hashable) -> Flight[OutcomeT] | None:
        """The flight for `slot`: in the air, or landed and still storing."""
        return self._table.get(slot)

    def leader(self, key: Hashable) -> Flight[OutcomeT] | None:
        """A flight of `key`, whatever its slot, that is calling now."""
        flight = self._leading.get(key)
        return flight if flight is not None and flight.outcome is None else None

    async def settled(self, key: Hashable) -> None:
        """Return once a flight of `key` that has landed has told the store, or was forgotten."""
        flight = self._leading.get(key)
        if flight is not None and flight.outcome is not None and flight.task is not None:
            await asyncio.wait({flight.task})

    def noted(self, flight: Flight[OutcomeT]) -> None:
        """A flight tells that it has gone on to another phase."""
        if flight.phase in (Phase.LEADING, Phase.ALONE) and not flight.detached:
            with self._lock:
                self._leading[flight.key] = flight

    def start(
        self,
        slot: Hashable,
        key: Hashable,
        fly: Callable[[Flight[OutcomeT]], Coroutine[Any, Any, None]],
        *,
        abandon: bool,
    ) -> Flight[OutcomeT]:
        """A new flight whose task runs `fly`; raises `ReentrantCall` inside a flight of `key`."""
        chain = _airborne.get()
        for other in chain:
            if other.key == key and other.home is self.home and other.outcome is None:
                _refuse_own()
        flight: Flight[OutcomeT] = Flight(self, slot, key, abandon=abandon, nested=bool(chain))
        with self._lock:
            self._table[slot] = flight
            self._open.add(flight)
        context = contextvars.copy_context()
        context.run(_airborne.set, (*chain, flight))
        loop = asyncio.get_running_loop()
        flight.task = loop.create_task(fly(flight), context=context)
        # A callback, not a `finally` within: a task cancelled before its first step runs no code.
        flight.task.add_done_callback(partial(self._end, flight))
        return flight

    def _end(self, flight: Flight[OutcomeT], task: asyncio.Task[None]) -> None:
        self.remove(flight)
        with self._lock:
            self._open.discard(flight)
        flight.land(self._ended(None if task.cancelled() else task.exception()))

    def remove(self, flight: Flight[OutcomeT]) -> None:
        """Nobody joins this flight any more."""
        with self._lock:
            # only what is still ours: the slot may hold a newer flight
            if self._table.get(flight.slot) is flight:
                del self._table[flight.slot]
            if self._leading.get(flight.key) is flight:
                del self._leading[flight.key]

    async def wait(
        self, flight: Flight[OutcomeT], timeout: float | None, *, owner: bool = False
    ) -> OutcomeT | None:
        """Be one of the callers of `flight` until it lands or `timeout` seconds went by.

        Raises `ReentrantCall` inside that very flight.
        """
        if flight.outcome is None and flight in _airborne.get():
            _refuse_own()
        flight.callers += 1
        try:
            return await flight.wait(timeout, owner=owner)
        finally:
            flight.callers -= 1
            if flight.callers == 0 and flight.outcome is None and flight.abandon:
                self.remove(flight)
                if flight.task is not None:
                    flight.task.cancel()

    def detach(self, keys: Callable[[Hashable], bool]) -> None:
        """Nobody joins these flights any more, and they keep nothing; their callers stay."""
        with self._lock:
            flights = tuple(self._open)
        for flight in flights:
            if keys(flight.key):
                flight.detached = True
                self.remove(flight)

    async def aclose(self, grace: float) -> None:
        """Give flights that landed `grace` seconds to store their answer; end the others."""
        self.closed = True
        flights = tuple(self._open)
        storing = [f.task for f in flights if f.outcome is not None and f.task is not None]
        others = [f.task for f in flights if f.outcome is None and f.task is not None]
        for task in others:
            task.cancel()
        if storing:
            _, late = await asyncio.wait(storing, timeout=grace)
            for task in late:
                task.cancel()
            others.extend(late)
        await asyncio.gather(*others, return_exceptions=True)


def _refuse_own() -> None:
    raise ReentrantCall(
        "this call asks for the key that it is itself answering, and would wait for itself for "
        'ever; use cache_mode="bypass" inside it'
    )
