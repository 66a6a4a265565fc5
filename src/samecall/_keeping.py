"""What becomes of a call's answer or error: its entry, for this process and for the store."""

from __future__ import annotations

import asyncio
import inspect
import random
import traceback
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import Any

import msgspec

from samecall._books import Books, bill
from samecall._entry import Entry, Kind, Payload
from samecall._envelopes import Envelopes
from samecall._errors import ConfigurationError, Unstorable
from samecall._failopen import FailOpenStore
from samecall._flight import Flight
from samecall._generations import Generations
from samecall._lease import Claim
from samecall._memory import MemoryStore
from samecall._outcome import FAULTS, Counters, Crashed, Found, Outcome, Request, Unstored
from samecall._policy import seconds
from samecall._ports import Clock, Reach
from samecall._trust import Trust

__all__ = ["Began", "Keeper", "Settle", "lifetime_of"]

_ERRORS_KEPT = 256
Settle = Callable[[Claim], Coroutine[Any, Any, None]]
"""What is left to do for a flight that has landed: to tell the store."""


class Began(msgspec.Struct, frozen=True):
    """A call's beginning: the stamp of what it makes, and the generations of its tags.

    era: of the copies that they are from.
    """

    stamp: bytes
    generations: tuple[bytes, ...]
    era: int


@dataclass(slots=True, eq=False)
class Keeper:
    """Makes entries of what calls end in, keeps them in L1 and has them stored."""

    store: FailOpenStore
    l1: MemoryStore | None
    trust: Trust
    clock: Clock
    counters: Counters
    books: Books
    report: Callable[[str], None]
    envelopes: Envelopes
    generations: Generations
    errors: OrderedDict[bytes, BaseException] = field(
        default_factory=OrderedDict[bytes, BaseException]
    )

    def answer(
        self,
        flight: Flight[Outcome],
        request: Request,
        value: Any,
        stored: Payload | Exception,
        began: Began,
        cost: float,
    ) -> Settle | None:
        """Land with the answer of a call; gives what is left to do.

        stored: its stored form, or why it has none.
        """
        policy, now = request.policy, self.clock.now()
        try:
            payload = _there(stored)
            life = lifetime_of(request, value)
            entry = Entry(
                Kind.VALUE, payload, began.stamp, life, life + policy.spare_for, cost, now,
                len(payload.data), request.trace, request.tags, began.generations,
            )  # fmt: skip
            data = None
            if not self.store.away or entry.size > policy.max_entry:
                entry, data = self.envelopes.seal(request.key, entry, policy.compress_over)
        except FAULTS as error:  # whatever it is, the answer is paid for
            self.books.paid(request, cost, None, bill(request, value))
            flight.land(Unstored(value, request))
            self.report(_why(error))
            return None
        self.books.paid(request, cost, None, payload.spent)
        found = Found(entry, "coalesced_local", request, value)
        if life == 0 or not began.generations:
            flight.land(found)
            self.counters.unwanted += life == 0
            return None
        if data is None:  # nobody is there to tell, and an envelope is for nobody else
            if self.generations.believed(request.key.namespace, entry):
                self._keep_own(flight, request, entry, self.generations.copies.era)
            flight.land(found)
            return None
        if len(data) > policy.max_entry:
            flight.land(found)
            self.report(f"an answer of {len(data)} bytes is over max_entry ({policy.max_entry})")
            return None
        self._keep_own(flight, request, entry, began.era)
        if request.streams:  # its recording ends before the store is told, and says how
            flight.land(found)
        return lambda claim: self._commit(flight, claim, request, found, data)

    async def _commit(
        self, flight: Flight[Outcome], claim: Claim, request: Request, found: Found, data: bytes
    ) -> None:
        """Store, and land: other processes are told before a crowd here has its answers."""
        entry = found.entry
        if flight.detached:
            flight.land(found)
            return
        l1 = self.l1 if self.l1 is not self.store.store else None
        if l1 is not None:
            self.generations.ahead(claim.key.namespace, entry.tags, request.policy)
        try:
            stored = await claim.commit(data, entry.kept_for, partial(flight.land, found))
        finally:  # also where the loop ends meanwhile
            self.counters.stored += claim.stored is True
        if l1 is not None:
            # forgotten elsewhere, by its key or by a tag, or another generation is there
            era = self.generations.copies.era
            if stored is False or not await self.generations.are(claim.key, entry, request.policy):
                l1.drop(claim.key)
            else:
                l1.compared(claim.key, entry.stamp, era)
        if stored:
            space, timeout = claim.key.namespace, request.policy.op_timeout
            await self.generations.outlast(space, entry, entry.kept_for, timeout)

    def crash(
        self, flight: Flight[Outcome], request: Request, crashed: Crashed, began: Began
    ) -> Settle | None:
        """Land with the error of a call; gives what is left to do."""
        failure, policy = crashed.failure, request.policy
        if failure.reach is not Reach.FLEET or policy.error_ttl == 0 or not began.generations:
            flight.land(crashed)
            return None
        ttl = max(policy.error_ttl, min(failure.record.retry_after or 0.0, policy.retry_after_cap))
        try:
            if failure.completion is not None:
                kind, payload, ttl = Kind.REFUSED, failure.completion, policy.error_ttl
            else:
                kind, payload = Kind.ERROR, Payload("error", msgspec.msgpack.encode(failure.record))
            entry = Entry(
                kind, payload, began.stamp, ttl, ttl, 0.0, self.clock.now(), 0, request.trace,
                request.tags, began.generations,
            )  # fmt: skip
            entry, data = self.envelopes.seal(request.key, entry)
        except FAULTS as fault:  # what cannot be told stays here
            flight.land(crashed)
            self.report(f"{crashed.failure.record.class_name} cannot be shared: {_why(fault)}")
            return None
        self._remember(entry.stamp, crashed.told, ttl)
        flight.land(crashed)
        return lambda claim: claim.fail(data, ttl)

    def _keep_own(self, flight: Flight[Outcome], request: Request, entry: Entry, era: int) -> None:
        """Hold what was made here in L1."""
        self.trust.leads(request.fill)
        self.keep(flight, request, entry, float("inf"), era)

    def keep(
        self, flight: Flight[Outcome], request: Request, entry: Entry, until: float, era: int
    ) -> None:
        """Hold an entry in L1, if that is another place than the store."""
        if self.l1 is None or self.l1 is self.store.store or entry.kind is not Kind.VALUE:
            return
        if flight.detached or flight.outdated:
            return
        self.trust.keep(request.fill, entry, self.clock.now(), until, era)
        if flight.detached:  # looked at again: another thread may have forgotten just now
            self.l1.drop(request.key)

    def _remember(self, stamp: bytes, error: BaseException, ttl: float) -> None:
        # who asks again in this process within the error window gets the provider's own exception
        self.errors[stamp] = error
        if len(self.errors) > _ERRORS_KEPT:
            self.errors.popitem(last=False)
        asyncio.get_running_loop().call_later(ttl + 1.0, self.errors.pop, stamp, None)


def _there(stored: Payload | Exception) -> Payload:
    if isinstance(stored, Exception):
        raise stored
    return stored


def lifetime_of(request: Request, value: Any) -> float:
    """How long an answer will be fresh; 0: it is not to be stored. Raises what the policy raises.

    A rule that fails stores nothing: it may have meant to say no. So does one that raises
    `CancelledError`, which nothing that is not awaited can be for its caller.
    """
    policy = request.policy
    life: float | None = None
    if policy.should_store is not None or policy.lifetime is not None:
        answer = request.codec.shown(value)
        if policy.should_store is not None:
            wanted = policy.should_store(request.asked, answer)
            if inspect.isawaitable(wanted):  # a future, say, which says yes to everything
                if inspect.iscoroutine(wanted):
                    wanted.close()
                raise Unstorable("should_store takes a plain function; this one is async")
            if not wanted:
                return 0.0
        if policy.lifetime is not None:
            life = _told(policy.lifetime(answer))
    if life is None:
        life = policy.ttl
    return life * (1 - policy.ttl_jitter * random.random())  # noqa: S311 - no secret


def _told(life: object) -> float | None:
    try:
        return None if life is None else seconds(life, "lifetime", zero=True)
    except ConfigurationError:  # which would quote it
        kind = type(life).__name__
        why = f"lifetime gives None, or seconds or a timedelta of 0 or more; this is a {kind}"
        raise Unstorable(why) from None


def _why(error: BaseException) -> str:
    """Our own words, or where somebody else's code failed: its words may quote the answer."""
    if isinstance(error, Unstorable):
        return str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} ({PurePath(last.filename).name}, line {last.lineno})"
