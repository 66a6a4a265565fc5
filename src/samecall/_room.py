"""What a cache keeps for one event loop: its store, its flights, and how a flight goes."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import msgspec

from samecall._calling import Till
from samecall._entry import (
    Entry,
    Freshness,
    Key,
    Kind,
    Payload,
    freshness,
    seal,
)
from samecall._errors import Unstorable
from samecall._failopen import FailOpenStore
from samecall._flight import Flight, Flights, Phase
from samecall._lease import Claim, ClaimState
from samecall._memory import MemoryStore
from samecall._outcome import (
    COUNTED,
    Counters,
    Crashed,
    Found,
    Outcome,
    Request,
    Unstored,
    ended,
)
from samecall._ports import (
    SEEN_ANY,
    SEEN_NOTHING,
    CallAnswered,
    Clock,
    Event,
    Reach,
)

__all__ = ["Room"]

_ERRORS_KEPT = 256
_Settle = Callable[[Claim], Coroutine[Any, Any, None]]


@dataclass(slots=True, eq=False)
class Room:
    """One event loop's part of a cache."""

    store: FailOpenStore
    l1: MemoryStore | None
    l1_ttl: float
    clock: Clock
    emit: Callable[[Event], None]
    counters: Counters
    bulkhead: asyncio.Semaphore
    report: Callable[[str], None]
    observed: bool = False
    home: object = None
    flights: Flights[Outcome] = field(init=False)
    till: Till = field(init=False)
    errors: OrderedDict[bytes, BaseException] = field(
        default_factory=OrderedDict[bytes, BaseException]
    )

    def __post_init__(self) -> None:
        self.flights = Flights[Outcome](ended, self.home)
        self.till = Till(self.clock, self.emit, self.counters, self.report)

    # --- who flies -------------------------------------------------------------------------------

    def at_hand(self, request: Request) -> Outcome | None:
        """What answers without a flight."""
        entry = self.look(request)
        return self._landed(request) if entry is None else Found(entry, "l1")

    def _landed(self, request: Request) -> Found | None:
        # an answer that is being stored is in this memory as much as one that is: nobody waits
        flight = self.flights.find((request.key, request.seen)) if self.l1 is not None else None
        outcome = None if flight is None else flight.outcome
        if not isinstance(outcome, Found) or outcome.entry.kind is not Kind.VALUE:
            return None
        return Found(outcome.entry, "l1") if self._suits(outcome, request) else None

    async def board(self, request: Request) -> Outcome | None:
        """The outcome of the flight for this request, joined or started; None: `wait` is over."""
        flight = self._joinable(request)
        owner = flight is None
        if flight is None:
            flight = self.flights.start(
                (request.key, request.seen),
                request.key,
                lambda flight: self.fly(flight, request),
                abandon=request.policy.on_abandon == "abandon",
            )
        return await self.flights.wait(flight, request.policy.wait, owner=owner)

    def _joinable(self, request: Request) -> Flight[Outcome] | None:
        flight = self.flights.find((request.key, request.seen))
        if flight is not None and (flight.outcome is None or self._suits(flight.outcome, request)):
            return flight
        # Who takes nothing that is there joins whoever is calling; and with no store to tell
        # flights of one key apart, everybody does.
        flight = self.flights.leader(request.key)
        if flight is not None and (request.seen != SEEN_NOTHING or flight.phase is Phase.ALONE):
            return flight
        return None

    def _suits(self, outcome: Outcome, request: Request) -> bool:
        """Whether a flight that has landed, and still stores, answers one who asks only now.

        Never with an error of its caller's own: who asks again would get it again, for ever.
        """
        return (
            isinstance(outcome, Found)
            and request.seen != SEEN_ANY
            and freshness(outcome.entry, request.policy, self.clock.now()) is Freshness.FRESH
        )

    async def fly(self, flight: Flight[Outcome], request: Request) -> None:
        """Look again, ask the store once, then follow or lead."""
        found = self.at_hand(request)
        if found is not None:
            flight.land(found)
            return
        claim = Claim(
            self.store, request.key, request.policy, request.seen, self.clock, self.emit,
            lambda: flight.enter(Phase.FOLLOWING),
        )  # fmt: skip
        try:
            entry = await claim.resolve()
            if entry is not None:
                self._keep(flight, request.key, entry)
                flight.land(Found(entry, "coalesced_remote" if claim.waited else "l2"))
            elif claim.state is ClaimState.ALONE:
                await self._lead_alone(flight, request, claim)
            else:
                flight.enter(Phase.LEADING)
                await self._lead(flight, request, claim)
        finally:
            await claim.close()

    def look(self, request: Request) -> Entry | None:
        """A fresh entry from L1, unless this caller has refused what is there."""
        if self.l1 is None or request.seen != SEEN_NOTHING:
            return None
        entry = self.l1.look(request.key)
        if (
            entry is None
            or freshness(entry, request.policy, self.clock.now()) is not Freshness.FRESH
        ):
            return None
        return entry

    # --- who leads -------------------------------------------------------------------------------

    async def _lead_alone(self, flight: Flight[Outcome], request: Request, claim: Claim) -> None:
        other = self.flights.leader(request.key)
        if other is not None:  # begun under another slot; without a store only we two can agree
            outcome = await self.flights.wait(other, None)
            if outcome is not None:
                flight.land(outcome)
            return
        flight.enter(Phase.ALONE)
        await self._lead(flight, request, claim)

    async def _lead(self, flight: Flight[Outcome], request: Request, claim: Claim) -> None:
        async with claim.renewed():
            settle = await self._call(flight, request, claim.stamp)
            if settle is not None:
                await settle(claim)

    async def _call(
        self, flight: Flight[Outcome], request: Request, stamp: bytes
    ) -> _Settle | None:
        """Call, and land; what is left to do is to tell the store."""
        # a call made inside another's call has its place: it must not wait for a second one
        bounded = flight.phase is Phase.ALONE and not flight.nested
        async with self.bulkhead if bounded else nullcontext():
            began = self.clock.now()
            try:
                value = await self.till.pay(request)
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                # the call cancelled itself: that is its caller's affair and nobody else's
                crashed = self.till.crashed(request, error)
            except BaseException as error:  # noqa: BLE001 - its owner gets it
                crashed = self.till.crashed(request, error)
            else:
                self.till.paid(request, began, None)
                return self._answer(flight, request, value, stamp, self.clock.now() - began)
        self.till.paid(request, began, crashed.failure.record.class_name)
        return self._crash(flight, request, crashed, stamp)

    # --- what becomes of it ----------------------------------------------------------------------

    def _answer(
        self, flight: Flight[Outcome], request: Request, value: Any, stamp: bytes, cost: float
    ) -> _Settle | None:
        policy, now = request.policy, self.clock.now()
        ttl = policy.ttl * (1 - policy.ttl_jitter * random.random())  # noqa: S311 - no secret
        try:
            payload = request.codec.encode(value)
            entry, data = seal(request.key, Kind.VALUE, payload, stamp, ttl, cost, now)
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is paid for
            flight.land(Unstored(value, request))
            unnamed = "" if isinstance(error, Unstorable) else f"{type(error).__name__}: "
            self.report(f"{unnamed}{error}")
            return None
        found = Found(entry, "coalesced_local", request, value)
        if len(data) > policy.max_entry:
            flight.land(found)
            self.report(f"an answer of {len(data)} bytes is over max_entry ({policy.max_entry})")
            return None
        self._keep(flight, request.key, entry)
        flight.land(found)
        return lambda claim: self._commit(flight, claim, data, ttl)

    async def _commit(self, flight: Flight[Outcome], claim: Claim, data: bytes, ttl: float) -> None:
        if flight.detached:
            return
        try:
            stored = await claim.commit(data, ttl)
        finally:  # also where the loop ends meanwhile
            self.counters.stored += claim.stored is True
        if stored is False and self.l1 is not None and self.l1 is not self.store.store:
            self.l1.drop(claim.key)  # forgotten elsewhere, or another generation is there

    def _crash(
        self, flight: Flight[Outcome], request: Request, crashed: Crashed, stamp: bytes
    ) -> _Settle | None:
        failure, policy = crashed.failure, request.policy
        if failure.reach is not Reach.FLEET or policy.error_ttl == 0:
            flight.land(crashed)
            return None
        ttl = max(policy.error_ttl, min(failure.record.retry_after or 0.0, policy.retry_after_cap))
        try:
            if failure.completion is not None:
                kind, payload, ttl = Kind.REFUSED, failure.completion, policy.error_ttl
            else:
                kind, payload = Kind.ERROR, Payload("error", msgspec.msgpack.encode(failure.record))
            entry, data = seal(request.key, kind, payload, stamp, ttl, 0.0, self.clock.now())
        except Exception as fault:  # noqa: BLE001 - an error that cannot be told stays in this process
            flight.land(crashed)
            self.report(f"{crashed.failure.record.class_name} cannot be shared: {fault}")
            return None
        self._remember(entry.stamp, crashed.told, ttl)
        flight.land(crashed)
        return lambda claim: claim.fail(data, ttl)

    def _keep(self, flight: Flight[Outcome], key: Key, entry: Entry) -> None:
        if self.l1 is None or self.l1 is self.store.store or entry.kind is not Kind.VALUE:
            return
        if flight.detached:
            return
        self.l1.keep(key, entry, entry.size, self.clock.now() + self.l1_ttl)
        if flight.detached:  # looked at again: another thread may have forgotten just now
            self.l1.drop(key)

    def _remember(self, stamp: bytes, error: BaseException, ttl: float) -> None:
        # who asks again in this process within the error window gets the provider's own exception
        self.errors[stamp] = error
        if len(self.errors) > _ERRORS_KEPT:
            self.errors.popitem(last=False)
        asyncio.get_running_loop().call_later(ttl + 1.0, self.errors.pop, stamp, None)

    # --- what is counted -------------------------------------------------------------------------

    def answered(self, request: Request, answer: object) -> object:
        """Count one answered call, and hand its answer on."""
        name = COUNTED[request.how]
        setattr(self.counters, name, getattr(self.counters, name) + 1)
        if self.observed:
            self._observe(request, None)
        return answer

    def failed(self, request: Request, error: BaseException) -> None:
        """Count one call that ends with an exception, its cancellation included."""
        self.counters.errors += 1
        if self.observed:
            self._observe(request, type(error).__name__)

    def _observe(self, request: Request, error: str | None) -> None:
        self.emit(CallAnswered(request.key, request.how, self.clock.now() - request.began, error))

    async def aclose(self, grace: float) -> None:
        """Let answers be stored, release what is open, close the store."""
        await self.flights.aclose(grace)
        await self.store.aclose(grace)
