"""One execution per call in this process, with counted callers.

A flight is a task of its own. Callers come and go; a caller's cancellation ends only its own
waiting. The last one out says what happens to the call: "finish" it for the cache or "abandon" it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, Generic, TypeVar

from samecall._airborne import Flight, airborne
from samecall._errors import ReentrantCall
from samecall._watching import FlightStatistics, Phase

__all__ = ["Flight", "FlightStatistics", "Flights", "Phase"]

OutcomeT = TypeVar("OutcomeT")


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
        flights = self._all()
        landed = sum(flight.outcome is not None for flight in flights)
        waiting = sum(flight.callers for flight in flights if flight.outcome is None)
        return FlightStatistics(len(flights) - landed, waiting, landed)

    def _all(self) -> tuple[Flight[OutcomeT], ...]:
        with self._lock:
            return tuple(self._open)

    def storing(self) -> list[asyncio.Task[None]]:
        """The tasks of flights that have landed, and still tell the store."""
        return [f.task for f in self._all() if f.outcome is not None and f.task is not None]

    def find(self, slot: Hashable) -> Flight[OutcomeT] | None:
        """The flight for `slot`: in the air, or landed and still storing."""
        return self._table.get(slot)

    def leader(self, key: Hashable) -> Flight[OutcomeT] | None:
        """A flight of `key`, whatever its slot, that is calling now."""
        flight = self._leading.get(key)
        return flight if flight is not None and flight.outcome is None else None

    def settling(self, key: Hashable) -> bool:
        """Whether a flight of `key` has landed, and still tells the store."""
        flight = self._leading.get(key)
        return flight is not None and flight.outcome is not None and flight.task is not None

    async def settled(self, key: Hashable) -> None:
        """Return once a flight of `key` that has landed has told the store, or was forgotten."""
        flight = self._leading.get(key)
        if flight is not None and flight.outcome is not None and flight.task is not None:
            await asyncio.wait({flight.task})

    def noted(self, flight: Flight[OutcomeT]) -> None:
        """A flight tells that it has gone on to another phase."""
        if flight.phase in (Phase.LEADING, Phase.ALONE) and not flight.detached:
            with self._lock:
                before = self._leading.get(flight.key)
                if before is not flight:
                    flight.before = before
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
        flight = self.open(slot, key, abandon=abandon)
        self.take_off(flight, fly)
        return flight

    def open(self, slot: Hashable, key: Hashable, *, abandon: bool) -> Flight[OutcomeT]:
        """As `start`, before it has a task; it is to `take_off` or to be `ground`ed."""
        chain = airborne.get()
        for other in chain:
            if other.key == key and other.home is self.home and other.outcome is None:
                _refuse_own()
        flight: Flight[OutcomeT] = Flight(self, slot, key, abandon=abandon, nested=bool(chain))
        with self._lock:
            self._table[slot] = flight
            self._open.add(flight)
        return flight

    def take_off(
        self,
        flight: Flight[OutcomeT],
        fly: Callable[[Flight[OutcomeT]], Coroutine[Any, Any, None]],
    ) -> None:
        """Give a flight its task, in the context of who opened it."""
        context, flight.context, flight.asked = flight.context, None, None
        if context is None:  # it has its task
            return
        context.run(airborne.set, (*context.get(airborne, ()), flight))
        flight.task = asyncio.get_running_loop().create_task(fly(flight), context=context)
        # A callback, not a `finally` within: a task cancelled before its first step runs no code.
        flight.task.add_done_callback(partial(self._end, flight))

    def ground(self, flight: Flight[OutcomeT], error: BaseException | None = None) -> None:
        """The end of a flight, landed or not."""
        with self._lock:
            self._drop(flight)
            self._open.discard(flight)
        if flight.outcome is None:
            flight.land(self._ended(error))
        flight.context = flight.asked = None

    def _end(self, flight: Flight[OutcomeT], task: asyncio.Task[None]) -> None:
        self.ground(flight, None if task.cancelled() else task.exception())
        flight.task = None  # its context holds the flight: no ring is left for the collector

    def remove(self, flight: Flight[OutcomeT]) -> None:
        """Nobody joins this flight any more."""
        with self._lock:
            self._drop(flight)

    def _drop(self, flight: Flight[OutcomeT]) -> None:
        # only what is still ours: the slot may hold a newer flight
        if self._table.get(flight.slot) is flight:
            del self._table[flight.slot]
        before = flight.before
        while before is not None and self._table.get(before.slot) is not before:
            before = before.before
        flight.before = before  # no longer chain of those that have ended hangs on anything
        if self._leading.get(flight.key) is flight:
            del self._leading[flight.key]
            if before is not None:  # it began to call without the store, and is still at it
                self._leading[flight.key] = before

    def seat(self, flight: Flight[OutcomeT]) -> asyncio.Future[None]:
        """Be one of the callers of `flight`; done when it has landed. To be given back by `rise`.

        As `wait` without a timeout, for a caller that awaits it in its own frame.
        """
        self.enter(flight)
        return flight.seat()

    def rise(self, flight: Flight[OutcomeT], seat: asyncio.Future[None]) -> None:
        """Be a caller no more."""
        flight.rise(seat)
        self.leave(flight)

    async def wait(
        self, flight: Flight[OutcomeT], timeout: float | None, *, owner: bool = False
    ) -> OutcomeT | None:
        """Be one of the callers of `flight` until it lands or `timeout` seconds went by."""
        self.enter(flight)
        try:
            return await flight.wait(timeout, owner=owner)
        finally:
            self.leave(flight)

    def enter(self, flight: Flight[OutcomeT]) -> None:
        """Be counted as a caller; raises `ReentrantCall` inside that very flight."""
        if flight.outcome is None and flight in airborne.get():
            _refuse_own()
        flight.callers += 1

    def leave(self, flight: Flight[OutcomeT]) -> None:
        """Be a caller no more; the last one out may abandon the flight."""
        flight.callers -= 1
        self.desert(flight)

    def desert(self, flight: Flight[OutcomeT]) -> None:
        """End a flight that has no caller, where it is not to be finished for the cache."""
        if flight.callers == 0 and flight.outcome is None and flight.abandon:
            (flight.deserted or flight.give_up)()

    def spoil(self, key: Hashable, leader: bytes) -> list[Flight[OutcomeT]]:
        """What this leader answers is kept by nobody, and ends with its last caller; any thread."""
        spoilt = [f for f in self._all() if (f.key, f.generation.leader) == (key, leader)]
        for flight in spoilt:
            flight.detached = flight.abandon = True
        return spoilt

    def outdate(self, flight: Flight[OutcomeT], *, worthless: bool = False) -> None:
        """Nobody joins this flight any more; unless worthless, what it makes may be stored."""
        flight.outdated = True
        flight.detached |= worthless
        self.remove(flight)

    def doubt(self, key: Hashable) -> None:
        """Have the flight of `key` that is calling find out whether it is out of date."""
        flight = self._leading.get(key)
        if flight is not None and flight.doubted is not None:
            flight.doubted()

    def doubt_all(self, mine: Callable[[Any, Any], bool]) -> None:
        """The same for those that are `mine` by their keys and what they are about."""
        for key, flight in tuple(self._leading.items()):
            if mine(key, flight.about):
                self.doubt(key)

    def detach(self, mine: Callable[[Flight[OutcomeT]], bool]) -> list[Flight[OutcomeT]]:
        """Nobody joins these flights any more, and they keep nothing; their callers stay."""
        detached = list(filter(mine, self._all()))
        for flight in detached:
            flight.detached = True
            self.remove(flight)
        return detached

    async def aclose(self, grace: float) -> None:
        """Give flights that landed `grace` seconds to store their answer; end the others."""
        self.closed = True
        storing = self.storing()
        others = [f.task for f in self._all() if f.outcome is None and f.task is not None]
        for flight in self._all():
            if flight.outcome is None:
                flight.give_up()
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
