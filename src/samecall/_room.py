"""What a cache keeps for one event loop: its store, its flights, and how a flight goes."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import msgspec

from samecall._entry import (
    Entry,
    Freshness,
    Key,
    Kind,
    Payload,
    Policy,
    encode_entry,
    freshness,
)
from samecall._errors import DeadlineExceeded, Unstorable
from samecall._failopen import FailOpenStore
from samecall._flight import Flight, Flights
from samecall._lease import Claim, ClaimState
from samecall._memory import MemoryStore
from samecall._ports import (
    SEEN_NOTHING,
    CallAnswered,
    Clock,
    Codec,
    ErrorRecord,
    Event,
    Failure,
    ProviderCalled,
    Reach,
)

__all__ = ["Counters", "Crashed", "Found", "Grounded", "Outcome", "Request", "Room", "Unstored"]

_ERRORS_KEPT = 256
_COUNTED = {
    "l1": "l1_hits",
    "l2": "l2_hits",
    "coalesced_local": "coalesced_local",
    "coalesced_remote": "coalesced_remote",
}


@dataclass(slots=True, eq=False)
class Request:
    """One caller's question; `seen` grows as the caller refuses what it is given."""

    key: Key
    call: Callable[[], Awaitable[Any]]
    policy: Policy
    codec: Codec[Any]
    seen: bytes = SEEN_NOTHING
    began: float = 0.0
    refusals: int = 0

    def refuse(self, stamp: bytes) -> None:
        """This caller does not take the entry with this stamp."""
        self.seen = stamp
        self.refusals += 1


@dataclass(frozen=True, slots=True)
class Found:
    """An entry answers. `live`: the call's own result, for the caller whose call it was."""

    entry: Entry
    how: str
    owner: Request | None = None
    live: Any = None


@dataclass(frozen=True, slots=True)
class Unstored:
    """The call answered, and its answer has no stored form."""

    live: Any
    owner: Request


@dataclass(frozen=True, slots=True)
class Crashed:
    """The call raised."""

    error: BaseException
    failure: Failure
    owner: Request | None = None


@dataclass(frozen=True, slots=True)
class Grounded:
    """The flight was ended from outside (abandoned, closed): ask again."""


Outcome = Found | Unstored | Crashed | Grounded


@dataclass(slots=True)
class Counters:
    """What `Cache.statistics` adds up; one per event loop, so that threads do not race."""

    calls: int = 0
    l1_hits: int = 0
    l2_hits: int = 0
    coalesced_local: int = 0
    coalesced_remote: int = 0
    provider_calls: int = 0
    provider_errors: int = 0
    stored: int = 0
    uncached: int = 0
    streams: int = 0
    undecodable: int = 0
    store_faults: int = 0


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
    flights: Flights[Outcome] = field(default_factory=lambda: Flights[Outcome](_ended))
    errors: OrderedDict[bytes, BaseException] = field(default_factory=OrderedDict)

    # --- a flight ----------------------------------------------------------------------------------

    async def fly(self, flight: Flight[Outcome], request: Request) -> None:
        """Look again, ask the store once, then follow or lead."""
        entry = self.look(request)
        if entry is not None:
            flight.land(Found(entry, "l1"))
            return
        claim = Claim(
            self.store, request.key, request.policy, request.seen, self.clock, self.emit
        )
        try:
            entry = await claim.resolve()
            if entry is not None:
                self._keep(flight, request.key, entry)
                flight.land(Found(entry, "coalesced_remote" if claim.waited else "l2"))
            else:
                await self._lead(flight, request, claim)
        finally:
            await claim.close()

    def look(self, request: Request) -> Entry | None:
        """A fresh entry from L1, unless this caller has refused what is there."""
        if self.l1 is None or request.seen != SEEN_NOTHING:
            return None
        entry = self.l1.look(request.key)
        if entry is None or freshness(entry, request.policy, self.clock.now()) is not Freshness.FRESH:
            return None
        return entry

    async def _lead(self, flight: Flight[Outcome], request: Request, claim: Claim) -> None:
        flight.leading = True
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(claim.renewed())
            if claim.state is ClaimState.ALONE:
                await stack.enter_async_context(self.bulkhead)
            began = self.clock.now()
            try:
                value = await self._pay(request)
            except Exception as error:
                crashed = Crashed(error, self._explain(request, error), request)
            except asyncio.CancelledError as error:
                if flight.task is not None and flight.task.cancelling():
                    raise
                # the call cancelled itself: that is its caller's affair and nobody else's
                crashed = Crashed(error, Failure(Reach.OWN, ErrorRecord("CancelledError", "")), request)
            else:
                self._paid(request, began, None)
                await self._answer(flight, request, claim, value, self.clock.now() - began)
                return
        self._paid(request, began, crashed.failure.record.class_name)
        await self._crash(flight, request, claim, crashed)

    async def _pay(self, request: Request) -> Any:
        # a task of its own, so that a call that ignores its cancellation holds up nobody
        self.counters.provider_calls += 1
        task = asyncio.get_running_loop().create_task(_await(request.call))
        task.add_done_callback(_retrieve)
        try:
            done, _ = await asyncio.wait({task}, timeout=request.policy.deadline)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not done:
            task.cancel()
            raise DeadlineExceeded(
                f"the call had no answer within the deadline of {request.policy.deadline:g} s"
            )
        return task.result()

    def _explain(self, request: Request, error: BaseException) -> Failure:
        failure = request.codec.explain(error)
        if isinstance(error, DeadlineExceeded):
            return Failure(Reach.PROCESS, failure.record)
        if not request.policy.share_errors:
            return Failure(Reach.OWN, failure.record)
        return failure

    def _paid(self, request: Request, began: float, error: str | None) -> None:
        self.counters.provider_errors += error is not None
        self.emit(ProviderCalled(request.key, self.clock.now() - began, error))

    async def _answer(
        self, flight: Flight[Outcome], request: Request, claim: Claim, value: Any, cost: float
    ) -> None:
        policy = request.policy
        try:
            payload = request.codec.encode(value)
        except Unstorable as error:
            flight.land(Unstored(value, request))
            self.report(str(error))
            return
        ttl = policy.ttl * (1 - policy.ttl_jitter * random.random())
        entry, data = self._seal(request.key, Kind.VALUE, payload, ttl, cost, stamp=claim.stamp)
        if len(data) > policy.max_entry:
            flight.land(Found(entry, "coalesced_local", request, value))
            self.report(f"an answer of {len(data)} bytes is over max_entry ({policy.max_entry})")
            return
        self._keep(flight, request.key, entry)
        flight.land(Found(entry, "coalesced_local", request, value))
        if not flight.detached and await claim.commit(data, ttl):
            self.counters.stored += 1

    async def _crash(
        self, flight: Flight[Outcome], request: Request, claim: Claim, crashed: Crashed
    ) -> None:
        failure, policy = crashed.failure, request.policy
        ttl = max(policy.error_ttl, min(failure.record.retry_after or 0.0, policy.retry_after_cap))
        if failure.reach is not Reach.FLEET or policy.error_ttl == 0:
            flight.land(crashed)
            return
        if failure.completion is not None:
            kind, payload, ttl = Kind.REFUSED, failure.completion, policy.error_ttl
        else:
            kind, payload = Kind.ERROR, Payload("error", msgspec.msgpack.encode(failure.record))
        entry, data = self._seal(request.key, kind, payload, ttl, 0.0, stamp=claim.stamp)
        self._remember(entry.stamp, crashed.error)
        flight.land(crashed)
        await claim.fail(data, ttl)

    def _seal(
        self, key: Key, kind: Kind, payload: Payload, ttl: float, cost: float, *, stamp: bytes
    ) -> tuple[Entry, bytes]:
        entry = Entry(kind, payload, stamp, ttl, ttl, cost, self.clock.now())
        data = encode_entry(key, entry)
        return msgspec.structs.replace(entry, size=len(data)), data

    def _keep(self, flight: Flight[Outcome], key: Key, entry: Entry) -> None:
        if self.l1 is None or self.l1 is self.store.store or flight.detached:
            return
        if entry.kind is Kind.VALUE:
            self.l1.keep(key, entry, entry.size, self.clock.now() + self.l1_ttl)

    def _remember(self, stamp: bytes, error: BaseException) -> None:
        # who asks again in this process within the error window gets the provider's own exception
        self.errors[stamp] = error
        if len(self.errors) > _ERRORS_KEPT:
            self.errors.popitem(last=False)

    # --- what callers are told of themselves -------------------------------------------------------

    def answered(self, request: Request, how: str, answer: object) -> object:
        """Count one answered call, and hand its answer on."""
        if how in _COUNTED:
            name = _COUNTED[how]
            setattr(self.counters, name, getattr(self.counters, name) + 1)
        self.observe(request, how, None)
        return answer

    def observe(self, request: Request, how: str, error: str | None) -> None:
        """Tell the observers, if there are any, how a call ended."""
        if self.observed:
            self.emit(CallAnswered(request.key, how, self.clock.now() - request.began, error))

    async def aclose(self, grace: float) -> None:
        """Let answers be stored, release what is open, close the store."""
        await self.flights.aclose(grace)
        await self.store.aclose()


def _ended(error: BaseException | None) -> Outcome:
    if error is None:
        return Grounded()
    return Crashed(error, Failure(Reach.PROCESS, ErrorRecord(type(error).__name__, str(error))))


async def _await(call: Callable[[], Awaitable[Any]]) -> Any:
    return await call()


def _retrieve(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
