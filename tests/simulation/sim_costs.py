"""What calls cost, and how leases end.

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
from collections.abc import Iterator

from sim_history import Grant, History, Paid, end_of
from sim_plan import DEADLINE

__all__ = [
    "alone_needs_trouble",
    "calls_end_by_their_deadline",
    "grants_have_reasons",
    "leases_end_in_one_of_three",
    "one_alone_in_the_air",
    "one_call_per_token",
    "one_commit_per_lease",
]

_BEFORE = 0.4
_SILENT = 10 / 3  # seconds in which a live leader renews, whatever its lease
"""Seconds back to the trouble for which a process goes on without a store."""
_COPY = 2.0
"""Seconds for which a process may go by a copy of a generation."""
_GONE = (
    "first", "expired value", "forgotten", "cleared", "evicted", "restarted", "refresh", "stolen",
)  # fmt: skip


def one_call_per_token(history: History) -> Iterator[str]:
    """A lease pays for one call, and a call that is led has a lease that was granted."""
    for token, count in Counter(paid.token for paid in history.paid if paid.token).items():
        if count > 1:
            yield f"{count} calls under the lease {token!r}"
    for paid in history.paid:
        if paid.kind == "led" and paid.token not in history.grants:
            yield f"#{paid.name} is led by {paid.token!r}, who has no lease"
    yield from (f"#{p.name} is neither led nor alone" for p in history.paid if p.kind == "?")


def grants_have_reasons(history: History) -> Iterator[str]:
    """Nobody leads again unless the answer has gone, or something was done to the last leader."""
    calls = {paid.token: paid for paid in history.paid if paid.kind == "led"}
    for grant in history.grants.values():
        if grant.why in _GONE or (grant.why == "refused" and _rightly_refused(history, grant)):
            continue
        previous = grant.previous
        if previous is not None and _excused(history, previous, calls.get(previous.token), grant):
            continue
        yield f"{grant.token} leads after {previous and previous.token}: {grant.why!r}"


def _rightly_refused(history: History, grant: Grant) -> bool:
    """Whether the value that was there is no answer: damaged, too old for who asks, or cleared."""
    if (grant.key, grant.refused) in history.foreign:
        return True
    own = [c for c in history.callers if (c.key, c.proc) == (grant.key, grant.proc)]
    if any(caller.max_age is not None and caller.at <= grant.at for caller in own):
        return True
    # A refresh that has waited for a leader who came to nothing names what was there when it asked.
    asker = grant.token.partition("/")[0]
    asked = [c.at for c in own if c.mode == "refresh" and f"{c.proc}.{c.name}" == asker]
    if asked and any(c.stamp == grant.refused and c.at <= asked[0] for c in history.commits):
        return True
    # It bears the generations of before its call, or a copy of them that was as old. Who asked for
    # a clear believes them no more, done or not: for all that it knows, the store did it.
    since = _begun(history, grant) - _COPY
    namespace = grant.key.partition("/")[0]
    return any(
        clear.namespace == namespace
        and since <= clear.at <= grant.at
        and (clear.done or clear.proc == grant.proc)
        for clear in history.clears
    )


def _begun(history: History, grant: Grant) -> float:
    # when the call began whose answer is refused
    makers = {c.token.partition("/")[0] for c in history.commits if c.stamp == grant.refused}
    calls = [paid for paid in history.paid if f"{paid.proc}.{paid.owner.name}" in makers]
    return min((paid.began for paid in calls), default=0.0)


def _excused(history: History, last: Grant, paid: Paid | None, now: Grant) -> bool:
    if not history.healthy(last.proc, last.at, now.at):
        return True
    if last.end == "refused" and last.tenures > 1:  # it asked anew for what a forget had ended
        key, began = last.key, last.at
        return any(f.key == key and began <= f.executed <= now.at for f in history.forgotten)
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
    """A call without a lease is made only by who has trouble with the store, or with its leaders.

    No call lasts longer than its deadline, so one leader alone keeps nobody for so long: others
    have hung, one after another, or one that never ends.
    """
    for paid in history.paid:
        if paid.kind != "alone":
            continue
        waited = paid.began - paid.owner.at  # by its own clock, with its leaps
        leaps = (leap for leap in history.leaps if leap[0] == paid.proc)
        waited += sum(by for _, at, by in leaps if paid.owner.at <= at <= paid.began)
        if waited > 0.98 * (DEADLINE + max(history.leases[paid.proc], _SILENT)):
            continue
        if history.healthy(paid.proc, paid.began - _BEFORE, paid.began):
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
    """Without a store, one call per key and process at a time.

    Not counting one that a store which was back in between has told of another's call or a forget.
    """
    alone = [paid for paid in history.paid if paid.kind == "alone"]
    for i, paid in enumerate(alone):
        for other in alone[:i]:
            over = other.flight.detached or other.flight.outdated
            if (other.proc, other.key) != (paid.proc, paid.key) or over:
                continue
            if other.began <= paid.began < end_of(other) - 1e-9:
                yield f"#{other.name} and #{paid.name} are in the air together"


def one_commit_per_lease(history: History) -> Iterator[str]:
    """A lease stores one generation at most, and only what was paid for by who held it."""
    calls = {f"{paid.proc}.{paid.owner.name}" for paid in history.paid}
    stamps: dict[str, set[bytes]] = {}
    for commit in history.commits:
        stamps.setdefault(commit.lease, set()).add(commit.stamp)
        if commit.token.partition("/")[0] not in calls:
            yield f"{commit.token} committed without a call"
    for token, different in stamps.items():
        if len(different) > 1:
            yield f"{token} committed {len(different)} generations"
