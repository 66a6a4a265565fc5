"""What must hold of every history. Each function gives the breaches of one promise.

How many calls a key may cost follows from four of them together, and is exact:

    calls of a key <= bypasses + grants + alone
    `one_call_per_token`       a lease that was granted pays for one call
    `grants_have_reasons`      a lease is granted again only after its value has gone (by its TTL,
                               a forget, a clear, an eviction), somebody asked for a fresh one, the
                               call failed, or for something that was done to its leader or the
                               store: one more per leader's death, lease loss or restart
    `alone_needs_trouble`      a process calls without a lease only while it has trouble with the
                               store, and
    `one_alone_in_the_air`     then one call at a time per key.

A run without faults has no trouble: every call is then explained by what callers asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from sim_history import Caller, Grant, History, Paid
from sim_plan import DEADLINE
from sim_provider import SimError

from samecall._errors import CacheMiss, DeadlineExceeded, RemoteCallError, WaitTimeout

__all__ = ["INVARIANTS", "judge"]

L1_TRUSTS = 1.0
"""Seconds that a process trusts its copy of what another process may forget."""
OP = 0.2
_NET = 0.05
_LEASE_MARGIN = 0.5


def answers_are_real(history: History) -> Iterator[str]:
    """Every answer is what a call for that very key gave, before it was handed out."""
    for caller in history.callers:
        if caller.answer is None:
            continue
        paid = history.paid[caller.answer[1]]
        if paid.key != caller.key or caller.answer[0] != caller.key:
            yield f"{caller.name} asked {caller.key} and got an answer of {paid.key}"
        elif paid.outcome != "ok" or _end(paid) > _ended(caller):
            yield f"{caller.name} got the answer of a call that gave none: #{paid.name}"
        elif caller.mode == "bypass" and paid.owner is not caller:
            yield f"{caller.name} wanted a call of its own"
        elif caller.mode == "refresh" and _stored_by(history, paid) < _refresh_since(caller):
            yield f"{caller.name} wanted a fresh answer at {caller.at} and got #{paid.name}"


def _refresh_since(caller: Caller) -> float:
    """It may join a refresh that was in the air when it came."""
    return min(caller.at, caller.flight_born if caller.flight_born is not None else caller.at)


def _stored_by(history: History, paid: Paid) -> float:
    """Until when a call counts as in the air: its answer is on its way to the store."""
    if paid.flight is None or not paid.flight.task.done():
        return float("inf")
    return history.landed.get(paid.flight, _end(paid))


def everybody_is_answered(history: History) -> Iterator[str]:
    """Who was neither cancelled nor lost has an answer or an error."""
    for caller in history.callers:
        if not (caller.lost or caller.cancelled) and caller.ended is None:
            yield f"{caller.name} has nothing at the end"


def errors_are_documented(history: History) -> Iterator[str]:
    """An error is the provider's own or one of those that `get_or_call` names."""
    for caller in history.callers:
        match caller.error:
            case None | SimError() | RemoteCallError():
                continue
            case WaitTimeout() if caller.wait is not None:
                continue
            case CacheMiss() if caller.mode == "only":
                continue
            case DeadlineExceeded():
                hung = (p for p in history.paid if p.key == caller.key)
                if any(p.outcome in ("hung", "cancelled") and p.proc == caller.proc for p in hung):
                    continue
        yield f"{caller.name} got {history.named(caller.error)}"


def errors_travel_as_far_as_they_may(history: History) -> Iterator[str]:
    """A leader's own limit is the leader's; a process's error stays in it; each was raised."""
    for caller in history.callers:
        error = caller.error
        if isinstance(error, SimError):
            paid = history.paid[error.number]
        elif isinstance(error, RemoteCallError):
            paid = history.paid[int(str(error.args[0]))]
            if paid.outcome != "fleet":
                yield f"{caller.name} was told #{paid.name}, which is {paid.outcome}"
        else:
            continue
        if paid.key != caller.key or paid.outcome not in ("own", "process", "fleet"):
            yield f"{caller.name} was told #{paid.name}, an error that never was"
        if paid.outcome == "own" and paid.owner is not caller:
            yield f"{caller.name} was told the limit of {paid.owner.name}"
        if paid.outcome == "process" and paid.proc != caller.proc:
            yield f"{caller.name} was told what concerns {paid.proc} alone"


def one_call_per_token(history: History) -> Iterator[str]:
    """A lease pays for one call, and a call that is led has a lease that was granted."""
    for token, count in Counter(paid.token for paid in history.paid if paid.token).items():
        if count > 1:
            yield f"{count} calls under the lease {token!r}"
    for paid in history.paid:
        if paid.kind == "led" and paid.token not in history.grants:
            yield f"#{paid.name} is led by {paid.token!r}, who has no lease"
    yield from (f"#{p.name} is neither led nor alone" for p in history.paid if p.kind == "?")


_GONE = ("first", "expired value", "forgotten", "cleared", "evicted", "restarted", "refresh")


def grants_have_reasons(history: History) -> Iterator[str]:
    """Nobody leads again unless the answer has gone, or something was done to the last leader."""
    calls = {paid.token: paid for paid in history.paid if paid.kind == "led"}
    asked = {caller.key for caller in history.callers if caller.max_age is not None}
    for grant in history.grants.values():
        if grant.why in _GONE or grant.why == "stolen":
            continue
        if grant.why == "refused" and (grant.key in history.damaged or grant.key in asked):
            continue
        previous = grant.previous
        if previous is not None and _excused(history, previous, calls.get(previous.token), grant):
            continue
        yield f"{grant.token} leads after {previous and previous.token}: {grant.why!r}"


def _excused(history: History, last: Grant, paid: Paid | None, now: Grant) -> bool:
    if not history.healthy(last.proc, last.at, now.at):
        return True
    if last.end == "failed":
        return paid is not None and paid.outcome == "fleet"
    if last.end == "released":
        return (
            paid is None
            or paid.outcome in ("own", "process", "hung")
            or (paid.outcome == "cancelled" and paid.abandon)
            or paid.flight.detached
        )
    # a doubled or late ACQUIRE of the next one took the lease: nobody holds it
    return not history.healthy(now.proc, last.at, now.at) and paid is None


def leases_end_in_one_of_three(history: History) -> Iterator[str]:
    """The lease of a healthy process ends by COMMIT, FAIL or RELEASE and never by its time."""
    for grant in history.grants.values():
        if grant.end in ("", "expired", "deposed"):
            until = grant.ended if grant.ended is not None else history.rested
            if history.healthy(grant.proc, grant.at, until):
                yield f"{grant.token} of {grant.proc} ended as {grant.end!r}"


def alone_needs_trouble(history: History) -> Iterator[str]:
    """A call without a lease is made only by who has trouble with the store."""
    for paid in history.paid:
        if paid.kind == "alone" and history.healthy(paid.proc, paid.began - 2 * OP, paid.began):
            yield f"{paid.proc} calls #{paid.name} alone, with nothing wrong"


def calls_end_by_their_deadline(history: History) -> Iterator[str]:
    """A flight's call that does not answer is given up, whatever it does."""
    for paid in history.paid:
        if paid.kind == "bypass":
            continue
        frozen = sum(end - start for start, end in history.frozen.get(paid.proc, ()))
        took = (paid.ended if paid.ended is not None else history.rested) - paid.began
        if took > 1.02 * DEADLINE + frozen:
            yield f"#{paid.name} was in the air for {took:.3f} s"


def one_alone_in_the_air(history: History) -> Iterator[str]:
    """Without a store, one call per key and process at a time."""
    alone = [paid for paid in history.paid if paid.kind == "alone"]
    for i, paid in enumerate(alone):
        for other in alone[:i]:
            if (other.proc, other.key) != (paid.proc, paid.key) or other.flight.detached:
                continue
            if other.began <= paid.began < _end(other) - 1e-9:
                yield f"#{other.name} and #{paid.name} are in the air together"


def one_commit_per_lease(history: History) -> Iterator[str]:
    """A lease stores one generation at most, and only what was paid for by who held it."""
    calls = {f"{paid.proc}.{paid.owner.name}" for paid in history.paid}
    stamps: dict[str, set[bytes]] = {}
    for commit in history.commits:
        stamps.setdefault(commit.token, set()).add(commit.stamp)
        if commit.token.partition("/")[0] not in calls:
            yield f"{commit.token} committed without a call"
    for token, different in stamps.items():
        if len(different) > 1:
            yield f"{token} committed {len(different)} generations"


def forgotten_is_forgotten(history: History) -> Iterator[str]:
    """Who asks after a forget gets nothing that was begun before it.

    In another process: unless it joins a flight of that process, which did not hear of it, or
    within the second that L1 trusts its copies. A store that lost its tombstones promises nothing.
    """
    for gone in history.forgotten:
        for caller in history.callers:
            if caller.answer is None or caller.at < gone.confirmed:
                continue
            if gone.what == "clear":
                if caller.key.partition("/")[0] == gone.key:
                    yield from _cleared(history, gone.executed, gone.proc, caller)
                continue
            paid = history.paid[caller.answer[1]]
            if caller.key != gone.key or paid.began >= gone.executed:
                continue
            if not _may_see_it_still(history, gone.executed, gone.proc, caller, paid):
                yield f"{caller.name} got #{paid.name}, forgotten at {gone.executed:.4f}"


def _may_see_it_still(
    history: History, executed: float, proc: str, caller: Caller, paid: Paid
) -> bool:
    ended = _ended(caller)
    if any(executed <= at <= ended for at in history.restarts) or caller.key in history.damaged:
        return True
    commits = [c.at for c in history.commits if c.token == paid.token and paid.token]
    if any(at >= executed + DEADLINE for at in commits):  # the tombstone had gone
        return True
    if _led_past_it(history, executed, paid):
        return True
    if caller.proc == proc:
        return False
    joined = caller.flight_born is not None and caller.flight_born <= executed
    return joined or _l1_may(history, executed, caller)


def _led_past_it(history: History, executed: float, paid: Paid) -> bool:
    """A gap of the protocol that is known: docs/simulation.md, "an ACQUIRE that comes too late"."""
    grant = history.grants.get(paid.token)
    if grant is None:
        return False
    late = grant.tenures > 1 or (paid.kind == "alone" and grant.at >= executed)
    history.known["a doubled or late ACQUIRE led past a forget"] += late
    return late


def _l1_may(history: History, executed: float, caller: Caller) -> bool:
    # 1 s of its own clock, from when the copy was made: a reply may have been on its way
    if caller.how not in ("l1", "coalesced_local", "led"):
        return False
    if caller.at <= executed + L1_TRUSTS + 2 * _NET + OP:
        return True
    return not history.healthy(caller.proc, executed - DEADLINE, _ended(caller))


def _cleared(history: History, executed: float, proc: str, caller: Caller) -> Iterator[str]:
    paid = history.paid[caller.answer[1]]
    if caller.how != "l2" or caller.key in history.damaged:
        return
    stored = [commit.at for commit in history.commits if commit.key == caller.key]
    if not any(executed <= at <= _ended(caller) for at in stored):
        yield f"{caller.name} got #{paid.name} from a store cleared at {executed:.4f}"


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
    ended = _ended(caller)
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
        return lease * (1 + len(orphans)) + _LEASE_MARGIN
    return lease + 2.0 + 8 * OP + 2.0


def _longest_gap(history: History, caller: Caller) -> tuple[float, float]:
    ended = _ended(caller)
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
    start, end = paid.began, _end(paid)
    if paid.kind != "bypass":
        storing = history.landed.get(paid.flight, end)
        end = max(end, min(storing, end + history.leases[paid.proc] + 2 * OP))
    for begins, ends in sorted(history.frozen.get(paid.proc, ())):
        if begins < end and start < ends:
            yield start, max(start, begins)
            start = min(ends, end)
    yield start, end


def _end(paid: Paid) -> float:
    return paid.ended if paid.ended is not None else float("inf")


def _ended(caller: Caller) -> float:
    return caller.ended if caller.ended is not None else float("inf")


INVARIANTS: tuple[Callable[[History], Iterator[str]], ...] = (
    answers_are_real,
    everybody_is_answered,
    errors_are_documented,
    errors_travel_as_far_as_they_may,
    one_call_per_token,
    grants_have_reasons,
    leases_end_in_one_of_three,
    alone_needs_trouble,
    calls_end_by_their_deadline,
    one_alone_in_the_air,
    one_commit_per_lease,
    forgotten_is_forgotten,
    nobody_waits_for_nothing,
)


def judge(history: History) -> History:
    """The history with all its breaches in `violations`."""
    for invariant in INVARIANTS:
        for breach in invariant(history):
            history.violated(f"{invariant.__name__}: {breach}")
    return history
