"""The first question of a flight, which needs no task where a fresh value answers it.

A task, its context and its turns of the loop cost more than all the rest of a hit. So the question
goes out as the flight begins, and what comes is looked at where it comes in. Whatever is no fresh
value of the present generations is handed to the flight's task, which goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from samecall._airborne import Flight
from samecall._entry import Entry, Freshness, Kind, freshness
from samecall._errors import Undecodable
from samecall._flight import Flights
from samecall._keeping import Keeper
from samecall._outcome import Found, Outcome, Request
from samecall._ports import Acquired, Hit
from samecall._prompt import Ending
from samecall._prompting import Begun, Question
from samecall._stamps import new_token

__all__ = ["Looks"]

_FRESH = Freshness.FRESH


@dataclass(slots=True, eq=False)
class Looks:
    """Begins the flights of one event loop."""

    flights: Flights[Outcome]
    keeper: Keeper
    fly: Callable[[Flight[Outcome], Request, Begun | None], Coroutine[Any, Any, None]]

    def begin(self, flight: Flight[Outcome], request: Request) -> None:
        """Ask the store for a flight that is open, and has no task."""
        keeper, key, policy = self.keeper, request.key, request.policy
        if keeper.store.prompt is None or self.flights.settling(key):
            self.flights.take_off(flight, lambda f: self.fly(f, request, None))
            return
        request.fill = keeper.trust.begin(key)
        keeper.generations.ahead(key.namespace, request.tags, policy)
        flight.asked = look = _Look(self, flight, request)
        look.question = keeper.store.acquiring(
            key, look.token, request.seen, policy.lease, policy.op_timeout, look.heard
        )
        if look.question is None:
            keeper.trust.end(request.fill)
            self.flights.take_off(flight, lambda f: self.fly(f, request, None))

    def heard(self, look: _Look, reply: Acquired | Exception | None) -> None:
        """What has come of a look."""
        try:
            served = type(reply) is Hit and self._serves(look, reply)
        except Exception:  # noqa: BLE001 - it is to end this flight, not the lane with all others' replies
            served = False
        if not served:
            self._go_on(look, reply)

    def _serves(self, look: _Look, hit: Hit) -> bool:
        """Land with a fresh value of the present generations, now or when these are told."""
        keeper, key, policy = self.keeper, look.request.key, look.request.policy
        now, copies = keeper.clock.now(), keeper.generations.copies
        try:
            entry = keeper.envelopes.read(key, hit.data, left=hit.left, now=now)
        except Undecodable:
            return False
        if entry.kind is not Kind.VALUE or freshness(entry, policy, now) is not _FRESH:
            return False
        era = copies.era
        if copies.admits(key, entry):
            self._land(look, entry, era)
            return True
        # asked in the batch of what is compared, it is about to be told
        coming = keeper.generations.coming(key.namespace, ("", *entry.tags))
        if coming is None:
            return False
        coming.add_done_callback(partial(self._compare, look, hit, entry, era))
        return True

    def _compare(
        self,
        look: _Look,
        reply: Hit,
        entry: Entry,
        era: int,
        told: asyncio.Task[tuple[bytes, ...] | None],
    ) -> None:
        if look.flight.asked is not look:  # given up meanwhile
            return
        if told.cancelled() or told.exception() is not None:
            self._go_on(look, reply)
            return
        generations = self.keeper.generations
        if generations.are_these(look.request.key, entry, told.result()):
            self._land(look, entry, era)
        else:
            self._go_on(look, reply, current=False)

    def _land(self, look: _Look, entry: Entry, era: int) -> None:
        keeper, flight, request = self.keeper, look.flight, look.request
        request.era = era
        if keeper.l1 is not None:
            until = keeper.generations.copies.end(request.key.namespace, ("", *entry.tags))
            keeper.keep(flight, request, entry, until, era)
        flight.land(Found(entry, "l2"))
        keeper.trust.end(request.fill)
        self.flights.ground(flight)

    def _go_on(
        self, look: _Look, reply: Acquired | Exception | None, *, current: bool | None = None
    ) -> None:
        """Hand what is no plain hit to a task."""
        flight, request = look.flight, look.request
        if isinstance(reply, Ending):
            self.keeper.trust.end(request.fill)
            self.flights.ground(flight)
            return
        begun = Begun(look.token, look.asked, reply, current)
        self.flights.take_off(flight, lambda f: self.fly(f, request, begun))
        if flight.task is not None:
            flight.task.add_done_callback(lambda _: None if begun.taken else self.left(look))

    def left(self, look: _Look) -> None:
        """Nobody goes on from what comes of this look."""
        request, policy = look.request, look.request.policy
        self.keeper.trust.end(request.fill)
        self.keeper.store.leave(request.key, look.token, policy.op_timeout)


class _Look:
    """One question; see `_airborne.Asked`."""

    __slots__ = ("asked", "flight", "looks", "question", "request", "token")

    def __init__(self, looks: Looks, flight: Flight[Outcome], request: Request) -> None:
        self.looks = looks
        self.flight = flight
        self.request = request
        self.token = new_token(request.key)
        self.asked = looks.keeper.clock.now()
        self.question: Question | None = None

    def heard(self, reply: Acquired | Exception | None) -> None:
        self.looks.heard(self, reply)

    def cancel(self) -> None:
        """The flight is given up."""
        if self.question is not None:
            self.question.cancel()
        self.looks.left(self)
