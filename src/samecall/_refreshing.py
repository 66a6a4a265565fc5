"""Answers renewed in the background, while their callers have what is there."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from samecall._entry import Entry, Key, Kind
from samecall._errors import ReentrantCall
from samecall._flight import Flight, Flights
from samecall._freshness import is_due
from samecall._outcome import Counters, Crashed, Found, Outcome, Request
from samecall._ports import Clock, EntryRefreshed, Event

__all__ = ["Refresher"]

_RESTING = 1_024


@dataclass(slots=True, eq=False)
class Refresher:
    """Begins refreshes for one event loop; the lease decides who in the fleet calls.

    A refresh is a flight that nobody waits for, of one who has seen the entry that is there. It
    ends with what another process has made meanwhile, or with a call. After one that failed, or
    whose answer is not to be stored, the key rests for `error_ttl`.
    """

    flights: Flights[Outcome]
    fly: Callable[[Flight[Outcome], Request], Coroutine[Any, Any, None]]
    clock: Clock
    counters: Counters
    emit: Callable[[Event], None]
    _resting: OrderedDict[Key, float] = field(default_factory=OrderedDict[Key, float])

    def perhaps(self, request: Request, entry: Entry) -> None:
        """Refresh a fresh entry if its time and the dice say so."""
        luck = 1 - random.random()  # noqa: S311 - no secret
        if is_due(entry, request.policy, self.clock.now(), luck):
            self.begin(request, entry)

    def begin(self, request: Request, entry: Entry) -> None:
        """Refresh an entry, unless that is under way; never raises, never waits."""
        key, slot, flights = request.key, (request.key, entry.stamp), self.flights
        if not request.calls or flights.closed:
            return
        if flights.find(slot) is not None or flights.leader(key) is not None:
            return
        if self.clock.now() < self._resting.get(key, 0.0):
            return
        again = request.again(entry.stamp)
        # inside a call of this very key its caller has an answer, and that is all
        with contextlib.suppress(ReentrantCall):
            flight = flights.start(slot, key, lambda f: self.fly(f, again), abandon=False)
            flight.about = again
            self.counters.refreshes += 1
            if flight.task is not None:
                flight.task.add_done_callback(partial(self._ended, again, flight))

    def _ended(self, request: Request, flight: Flight[Outcome], task: asyncio.Task[None]) -> None:
        unwanted = False
        match flight.outcome:
            case Found(entry=entry) if entry.kind is Kind.VALUE:
                error = None
                # what the policy keeps nothing of has renewed nothing: the next one must not call
                unwanted = entry.fresh_for == 0 or entry.size > request.policy.max_entry
            case Crashed(error=raised):
                error = type(raised).__name__
            case outcome:
                error = type(outcome).__name__
        self.counters.refresh_errors += error is not None
        if error is not None or unwanted:
            self._resting[request.key] = self.clock.now() + request.policy.error_ttl
            self._resting.move_to_end(request.key)
            if len(self._resting) > _RESTING:
                self._resting.popitem(last=False)
        self.emit(EntryRefreshed(request.key, error))
