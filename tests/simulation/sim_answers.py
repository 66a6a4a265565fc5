"""What callers are told: real answers, errors of their own, nothing that was forgotten."""

from __future__ import annotations

from collections.abc import Iterator

from sim_history import Caller, History, Paid, end_of, ended_at
from sim_plan import DEADLINE
from sim_provider import SimError

from samecall._errors import CacheMiss, DeadlineExceeded, RemoteCallError, WaitTimeout

__all__ = [
    "answers_are_real",
    "errors_are_documented",
    "errors_travel_as_far_as_they_may",
    "everybody_is_answered",
    "forgotten_is_forgotten",
]

L1_TRUSTS = 1.0
"""Seconds that a process trusts its copy of what another process may forget."""
LOOKS = 1.02 * 5 / 3
"""Seconds between two looks of a leader after its lease, by a clock that runs slower."""
ON_ITS_WAY = 0.3
"""Seconds that a reply of a healthy store may take to become such a copy."""


def answers_are_real(history: History) -> Iterator[str]:
    """Every answer is what a call for that very key gave, before it was handed out."""
    for caller in history.callers:
        if caller.answer is None:
            continue
        paid = history.paid[caller.answer[1]]
        if paid.key != caller.key or caller.answer[0] != caller.key:
            yield f"{caller.name} asked {caller.key} and got an answer of {paid.key}"
        elif paid.outcome != "ok" or end_of(paid) > ended_at(caller):
            yield f"{caller.name} got the answer of a call that gave none: #{paid.name}"
        elif caller.mode == "bypass" and paid.owner is not caller:
            yield f"{caller.name} wanted a call of its own"
        elif caller.mode == "refresh" and _too_old(history, caller, paid):
            yield f"{caller.name} wanted a fresh answer at {caller.at} and got #{paid.name}"


def _too_old(history: History, caller: Caller, paid: Paid) -> bool:
    """Whether the call had ended before the refresh was asked for, or before one that it joined.

    Of another process, or with trouble: before its answer was stored, for until then it is in the
    air.
    """
    asked = caller.at if caller.in_the_air is None else min(caller.at, caller.in_the_air)
    known = history.healthy(caller.proc, end_of(paid), ended_at(caller))
    if paid.flight is None or (paid.proc == caller.proc and known):
        return end_of(paid) < asked
    if any(commit.token == paid.token and commit.at >= asked for commit in history.commits):
        return False
    return history.landed.get(paid.flight, float("inf")) < asked


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


def forgotten_is_forgotten(history: History) -> Iterator[str]:
    """Who asks after a forget gets nothing that was begun before it.

    In another process: unless it joins a flight of that process before that has looked after its
    lease, or within the second that L1 trusts its copies. A store that lost its tombstones promises
    nothing.
    """
    for gone in history.forgotten:
        for caller in history.callers:
            # of what is done at one moment, after a pause, the order is not told
            if caller.answer is None or caller.at <= gone.confirmed:
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
    ended = ended_at(caller)
    if any(executed <= at <= ended for at in history.restarts) or caller.key in history.damaged:
        return True
    if caller.proc == proc:
        return False
    joined = caller.flight_born is not None and caller.flight_born <= executed
    return (joined and _unaware(history, executed, caller)) or _l1_may(history, executed, caller)


def _unaware(history: History, executed: float, caller: Caller) -> bool:
    """Whether the process of this caller may not have looked after its lease since."""
    if caller.at <= executed + LOOKS + ON_ITS_WAY:
        return True
    return not history.healthy(caller.proc, executed - DEADLINE, caller.at)


def _l1_may(history: History, executed: float, caller: Caller) -> bool:
    # 1 s of its own clock, from when the copy was made: a reply may have been on its way
    if caller.how not in ("l1", "coalesced_local", "led"):
        return False
    if caller.at <= executed + L1_TRUSTS + ON_ITS_WAY:
        return True
    return not history.healthy(caller.proc, executed - DEADLINE, ended_at(caller))


def _cleared(history: History, executed: float, proc: str, caller: Caller) -> Iterator[str]:
    paid = history.paid[caller.answer[1]]
    if caller.how != "l2" or caller.key in history.damaged:
        return
    stored = [commit.at for commit in history.commits if commit.key == caller.key]
    if any(executed <= at <= ended_at(caller) for at in stored):
        return
    if caller.proc == proc or not _had_put_by(history, executed, caller):
        yield f"{caller.name} got #{paid.name} from a store cleared at {executed:.4f}"


def _had_put_by(history: History, executed: float, caller: Caller) -> bool:
    """Whether it joined a flight of before, and had what that had put by in place of an error.

    For as long as its process believes its copies, as with L1.
    """
    ended = ended_at(caller)
    if caller.flight_born is None or caller.flight_born > executed:
        return False
    failed = any(
        (paid.key, paid.proc) == (caller.key, caller.proc)
        and paid.outcome in ("own", "process", "fleet")
        and caller.at <= end_of(paid) <= ended
        for paid in history.paid
    )
    if not failed and caller.wait is None:
        return False
    if ended <= executed + L1_TRUSTS + ON_ITS_WAY:
        return True
    return not history.healthy(caller.proc, executed - DEADLINE, ended)
