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
from samecall._generations import UNTAGGED
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
        if keeper.store.away:  # as if it had not answered, and no question is made
            unasked = Begun(new_token(key), keeper.clock.now(), None, sent=False)
            self.flights.take_off(flight, lambda f: self.fly(f, request, unasked))
            return
        request.fill = keeper.trust.begin(key)
        keeper.generations.ahead(key.namespace, request.tags, policy)
        flight.asked = look = _Look(self, flight, request)
        if not keeper.store.acquiring(look, request.seen, policy.lease, policy.op_timeout):
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
        era, generations = copies.era, keeper.generations
        if copies.admits(key, entry):
            self._land(look, entry, era)
            return True
        # asked in the batch of what is compared, it has been told, or is about to be
        space, names = key.namespace, ("", *entry.tags) if entry.tags else UNTAGGED
        coming = generations.coming(space, names)
        if coming is None:
            return False
        told = generations.at_hand(space, names)
        if told is not None:
            if told == entry.generations:
                self._land(look, entry, era)
                return True
            look.current = False
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
        if look.over:  # given up meanwhile
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
        if request.fill is not None:
            keeper.trust.end(request.fill)
        self.flights.ground(flight)
        look.let_go()

    def _go_on(
        self, look: _Look, reply: Acquired | Exception | None, *, current: bool | None = None
    ) -> None:
        """Hand what is no plain hit to a task."""
        flight, request, token = look.flight, look.request, look.token
        current = look.current if current is None else current
        look.let_go()
        if isinstance(reply, Ending):
            self.keeper.trust.end(request.fill)
            self.flights.ground(flight)
            return
        begun = Begun(token, look.asked, reply, current)
        self.flights.take_off(flight, lambda f: self.fly(f, request, begun))
        if flight.task is not None:
            flight.task.add_done_callback(
                lambda _: None if begun.taken else self.left(request, token)
            )

    def left(self, request: Request, token: bytes) -> None:
        """Nobody goes on from what comes of a look."""
        self.keeper.trust.end(request.fill)
        self.keeper.store.leave(request.key, token, request.policy.op_timeout)


class _Look(Question):
    """One question; see `_airborne.Asked`."""

    __slots__ = ("asked", "current", "flight", "looks", "over", "request")

    def __init__(self, looks: Looks, flight: Flight[Outcome], request: Request) -> None:
        super().__init__(request.key, new_token(request.key))
        self.looks = looks
        self.flight = flight
        self.request = request
        self.asked = looks.keeper.clock.now()
        self.current: bool | None = None
        self.over = False

    def hear(self, told: Acquired | Exception | None) -> None:
        self.looks.heard(self, told)

    def let_go(self) -> None:
        """Hold nothing of what was asked for any more."""
        self.over = True
        del self.flight, self.request

    def cancel(self) -> None:
        """The flight is given up."""
        super().cancel()
        request = self.request
        self.let_go()
        self.looks.left(request, self.token)
