"""How one caller's question finds its outcome."""

from __future__ import annotations

from samecall._arguments import Mode
from samecall._entry import Key
from samecall._errors import CacheMiss, WaitTimeout
from samecall._outcome import REFUSALS, Found, Grounded, Outcome, Request
from samecall._ports import SEEN_ANY
from samecall._room import Room

__all__ = ["ask", "missing"]


async def ask(room: Room, request: Request, mode: Mode) -> Outcome:
    """The outcome of a flight, or with "only" of a look into the store."""
    room.books.asks(request)
    if mode == "only":
        policy = request.policy
        await room.settled(request.key)  # what was answered here just now is on its way
        found = await room.store.find(request.key, policy.op_timeout)
        window = policy.stale_while_revalidate
        entry = await room.find(request.key, policy, found, window)
        if entry is None or entry.stamp == request.seen:
            raise missing(request.key)
        return Found(entry, "l2")
    if request.seen == SEEN_ANY:  # what came before a refresh was asked for is no answer to it
        await room.settled(request.key)
    elif request.policy.wait is None:  # as `board`, in this frame: each one costs a hit
        flight, owner = room.join(request)
        seat = room.flights.seat(flight)
        try:
            await seat
        finally:
            room.flights.rise(flight, seat)
        if not owner or flight.detached:
            room.spare(flight, request)
        if flight.outcome is not None:
            return flight.outcome
    outcome = await room.board(request)
    if outcome is None:
        if request.policy.on_timeout == "call" and not await room.spares(request):
            request.refusals = REFUSALS
            return Grounded()
        wait = request.policy.wait
        raise WaitTimeout(f"no answer within wait of {wait:g} s; the call goes on")
    return outcome


def missing(key: Key) -> CacheMiss:
    """What "only" raises."""
    return CacheMiss(f"no entry for key {key.hex[:16]} in {key.namespace!r}")
