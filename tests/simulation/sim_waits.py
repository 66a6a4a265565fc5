"""How long callers wait for nothing."""

from __future__ import annotations

from collections.abc import Iterator

from sim_history import Caller, History, Paid, end_of, ended_at

__all__ = ["nobody_waits_for_nothing"]

OP = 0.2
"""Seconds that one operation on the store may take (`op_timeout`)."""
_NET = 0.05
_LEASE_MARGIN = 0.5


def nobody_waits_for_nothing(history: History) -> Iterator[str]:
    """While somebody waits, the next call starts within lease + 0.5 s: no longer gap without one.

    A caller whose own process is in trouble has besides its operations' time, the 2 s after which
    a waiter looks again whatever happened, and what its process was frozen for.
    """
    for caller in history.callers:
        if caller.lost or caller.ended is None:
            continue
        bound = _patience(history, caller)
        gap, at = _longest_gap(history, caller)
        if gap > bound:
            yield f"{caller.name} waited {gap:.3f} s at {at:.3f} with no call in the air ({bound})"


def _patience(history: History, caller: Caller) -> float:
    ended = ended_at(caller)
    own, longest = history.leases[caller.proc], max(history.leases.values())
    # a lease longer than one's own is given up when it has shown no sign of life for 10/3 s or
    # one's own lease; signs are seen when the waiter looks, every 2 s
    lease = longest if longest <= own else min(longest, max(own, 10 / 3) + 2.0)
    if history.healthy(caller.proc, caller.at - 2 * OP, ended):
        troubled = {n for n in history.leases if not history.healthy(n, caller.at - 9, ended)}
        if not troubled:
            return 2 * _NET
        # a doubled or late ACQUIRE may take a lease that nobody knows of, each time for a lease
        orphans = [
            grant for grant in history.grants.values()
            if grant.key == caller.key and grant.end in ("expired", "deposed", "released")
            and grant.ended is not None and grant.ended >= caller.at
            and not any(paid.token == grant.token for paid in history.paid)
        ]  # fmt: skip
        # a RENEW that the dead had sent may arrive late, and lengthens its lease once more
        rates = history.plan.rates
        late = 2.0 if rates.slow or rates.twice else 0.0
        return lease * (1 + len(orphans)) + _LEASE_MARGIN + late
    return lease + 2.0 + 8 * OP + 2.0


def _longest_gap(history: History, caller: Caller) -> tuple[float, float]:
    ended = ended_at(caller)
    busy = list(history.frozen.get(caller.proc, ()))
    for paid in history.paid:
        if paid.key == caller.key:
            busy += _in_the_air(history, paid)
    longest, where, reached = 0.0, caller.at, caller.at
    for start, end in [*sorted(busy), (ended, ended)]:
        until = min(start, ended)
        if until - reached > longest:
            longest, where = until - reached, reached
        reached = max(reached, end)
    return longest, where


def _in_the_air(history: History, paid: Paid) -> Iterator[tuple[float, float]]:
    """When a call was running, or its answer on its way to the store for a lease at most.

    That of a frozen process is not in the air.
    """
    start, end = paid.began, end_of(paid)
    if paid.kind != "bypass":
        died = history.dead.get(paid.proc, float("inf"))
        storing = history.landed.get(paid.flight, died)
        end = max(end, min(storing, end + history.leases[paid.proc] + 2 * OP))
    for begins, ends in sorted(history.frozen.get(paid.proc, ())):
        if begins < end and start < ends:
            yield start, max(start, begins)
            start = min(ends, end)
    yield start, end
