"""Guards of the real code, each taken away: what the simulation must see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

from sim_store import Server

from samecall import _delivery, _entry, _envelopes, _lease
from samecall._calling import Till
from samecall._entry import Key
from samecall._failopen import FailOpenStore
from samecall._flight import Flight, Flights, Phase
from samecall._holding import Hold
from samecall._keeping import Keeper
from samecall._leading import Leader
from samecall._lease import Claim
from samecall._memory import MemoryStore
from samecall._outcome import Crashed
from samecall._ports import SEEN_ANY, SEEN_NOTHING, Reach, Wait
from samecall._waiting import Renewals

__all__ = ["MUTANTS", "Mutant", "mutated"]


@dataclass(frozen=True)
class Mutant:
    """What is put in place of what."""

    where: Any
    name: str
    instead: Any


async def _nothing(*args: Any, **kwargs: Any) -> None:
    return None


def _commit_blindly(store: MemoryStore, key: Key, token: bytes, seen: bytes, *rest: Any) -> Any:
    held = store._leases.held(key, store._now())
    return _commit(store, key, held.token if held is not None else token, seen, *rest)


def _end_blindly(store: MemoryStore, key: Key, token: bytes, *rest: Any) -> bool:
    held = store._leases.held(key, store._now())
    return _end(store, key, held.token if held is not None else token, *rest)


def _forget_lightly(store: MemoryStore, key: Key, tombstone: float) -> Any:
    return _forget(store, key, 0.0)


def _decode_any(key: Key, data: bytes, **clocks: float) -> Any:
    return _entry.decode_entry(Key(data[19:51], key.namespace), data, **clocks)


def _follow_otherwise(*, second_look: bool = True, lease_end: bool = True) -> Callable[..., Any]:
    async def follow(claim: Claim, wait: Wait) -> Any:
        claim.state, claim.waited = _lease.ClaimState.WAITING, True
        claim._following(wait.token)
        if claim._seen == SEEN_ANY:
            claim._seen = wait.seen or SEEN_NOTHING
        patience = max(claim._policy.lease, _lease._SILENT_AT_LEAST)
        renewals = Renewals(wait, claim._clock.now())
        look = second_look
        async with claim._store.listen(claim.key, claim._policy.op_timeout) as bell:
            while True:
                asked = claim._clock.now()
                reply = await claim._acquire() if look else wait
                look = True
                if not isinstance(reply, Wait):
                    return reply
                silent = renewals.silence(reply, asked, claim._clock.now())
                pause = 2.0
                if lease_end and silent < patience:
                    pause = min(reply.left, 2.0, patience - silent)
                ridden = await claim._rung(bell, max(pause, 0.0) + 0.002, reply.token)
                if ridden is not None:
                    return ridden

    return follow


async def _wait_and_harm(flights: Flights[Any], flight: Flight[Any], *args: Any, **kw: Any) -> Any:
    try:
        return await _wait(flights, flight, *args, **kw)
    except asyncio.CancelledError:
        if flight.task is not None:
            flight.task.cancel()
        raise


def _outdate_and_keep(flights: Flights[Any], flight: Any, *, worthless: bool = False) -> None:
    flight.outdated, flight.detached = True, flight.detached or worthless


def _find_landed(flights: Flights[Any], slot: Any) -> Any:
    return None


def _crashed_for_all(request: Any, crash: Crashed) -> Any:
    raise crash.told


def _crash_for_the_fleet(
    keeper: Keeper, flight: Any, request: Any, crashed: Crashed, *more: Any
) -> Any:
    failure = crashed.failure
    told = type(failure)(Reach.FLEET, failure.record)
    return _crash(
        keeper, flight, request, Crashed(crashed.error, crashed.told, told, crashed.owner), *more
    )


async def _lead_alone_blindly(
    leader: Leader, flight: Flight[Any], request: Any, claim: Claim
) -> None:
    flight.enter(Phase.ALONE)
    await leader.lead(flight, request, claim)


async def _pay_for_ever(till: Till, request: Any, leader: bytes) -> Any:
    till.books.asked(request, leader)
    return await request.call()


async def _commit_only(
    keeper: Keeper, flight: Any, claim: Claim, request: Any, found: Any, data: bytes
) -> None:
    if flight.detached:
        flight.land(found)
        return
    stored = await claim.commit(data, found.entry.kept_for, partial(flight.land, found))
    keeper.counters.stored += stored is True


async def _acquire_or_alone(*args: Any) -> None:
    return None


_commit, _end, _forget = MemoryStore.commit, MemoryStore._end, MemoryStore.forget
_wait, _crash = Flights.wait, Keeper.crash

MUTANTS: dict[str, tuple[Mutant, ...]] = {
    "COMMIT does not compare tokens": (Mutant(MemoryStore, "commit", _commit_blindly),),
    "RELEASE and FAIL do not compare tokens": (Mutant(MemoryStore, "_end", _end_blindly),),
    "a forget leaves no tombstone": (
        Mutant(MemoryStore, "forget", _forget_lightly),
        # the second opinion errs likewise: the invariants have to see it without its help
        Mutant(Server, "_forget", lambda s, p, k, t, real=Server._forget: real(s, p, k, 0.0)),
    ),
    "a forget does not detach flights": (Mutant(Flights, "detach", lambda *_: ()),),
    "a forget leaves L1 alone": (Mutant(MemoryStore, "drop", lambda *_: False),),
    "a waiter does not look again": (
        Mutant(Claim, "_follow", _follow_otherwise(second_look=False)),
    ),
    "a waiter does not watch the lease's end": (
        Mutant(Claim, "_follow", _follow_otherwise(lease_end=False)),
    ),
    "no lease is renewed": (Mutant(Hold, "_renew", _nothing),),
    "a call forgotten elsewhere goes on taking callers in": (
        Mutant(Flights, "outdate", _outdate_and_keep),
    ),
    "a leader that ends without an answer releases nothing": (Mutant(Claim, "close", _nothing),),
    "the fingerprint is not compared": (Mutant(_envelopes, "decode_entry", _decode_any),),
    "a cancelled caller takes its flight along": (Mutant(Flights, "wait", _wait_and_harm),),
    "every caller flies for itself": (
        Mutant(Flights, "find", _find_landed),
        Mutant(Flights, "leader", _find_landed),
    ),
    "without a store, flights of one key do not see each other": (
        Mutant(Flights, "leader", _find_landed),
        Mutant(Leader, "lead_alone", _lead_alone_blindly),
    ),
    "the leader's own limit is told to all": (Mutant(_delivery, "_crashed", _crashed_for_all),),
    "every error goes to the fleet": (Mutant(Keeper, "crash", _crash_for_the_fleet),),
    "a flight has no deadline": (Mutant(Till, "pay", _pay_for_ever),),
    "FAIL is not sent": (Mutant(Claim, "fail", _nothing),),
    "the copy in L1 outlives a refused commit": (
        Mutant(Keeper, "_commit", _commit_only),
        Mutant(Hold, "_again", _nothing),  # which would keep it from being made
    ),
    "ACQUIRE is not sent": (Mutant(FailOpenStore, "acquire", _acquire_or_alone),),
}
"""What is taken away, by its name."""


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """The real code without one of its guards."""
    patches = [patch.object(m.where, m.name, m.instead) for m in MUTANTS[name]]
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in reversed(patches):
            one.stop()
