"""A caller's own share of an outcome: an object of its own, an exception, or `Again`."""

from __future__ import annotations

import copy

import msgspec

from samecall._clone import clone_error
from samecall._codec import UNREADABLE
from samecall._entry import Entry, Kind
from samecall._errors import CacheMiss, ConfigurationError, ReentrantCall, Undecodable
from samecall._outcome import (
    REFUSALS,
    Crashed,
    Found,
    Grounded,
    Outcome,
    Request,
    Unstored,
)
from samecall._ports import SEEN_ANY, EntryUndecodable, ErrorRecord, Reach
from samecall._room import Room

__all__ = ["Again", "deliver", "instead", "spared"]

_OURS = (CacheMiss, ConfigurationError, ReentrantCall)
"""Mistakes of the caller, which no answer hides."""
_GROUNDED = 8
"""Flights of one request that may end in the air before it makes a call of its own."""


class Again(Exception):
    """This outcome is not for this caller, which asks again."""


def deliver(room: Room, request: Request, outcome: Outcome) -> object:
    """What `request` gets of `outcome`; decoding runs here, in the caller's own task."""
    match outcome:
        case Found(entry=entry, owner=owner, live=live) if owner is request:
            request.how, request.entry = "led", entry
            return live
        case Found(entry=entry, how=how) if entry.kind is Kind.VALUE:
            request.how, request.entry = how, entry
            return _kept(room, request, entry)
        case Found(entry=entry, how=how):
            request.how, request.entry = how, entry
            return _told(room, request, entry)
        case Unstored(live=live, owner=owner):
            if owner is request:
                request.how = "led"
                return live
            request.how = "coalesced_local"
            request.leader, request.trace = owner.leader, owner.trace
            return _copy(request, live)
        case Crashed():
            return _crashed(request, outcome)
        case Grounded():
            request.grounded += 1
            if request.grounded >= _GROUNDED:  # each may have been paid for: no more of these
                request.refusals = REFUSALS
            raise Again


def _kept(room: Room, request: Request, entry: Entry) -> object:
    if request.how == "l2" and not room.judge(request, entry):
        request.refuse(entry.stamp)  # fresh enough for who asked first, not for this one
        raise Again
    answer = _decode(room, request, entry)
    if request.stale:
        room.refresher.begin(request, entry)
    elif request.policy.early_refresh and request.how in ("l1", "l2"):
        room.refresher.perhaps(request, entry)
    return answer


async def instead(room: Room, request: Request, error: BaseException) -> object:
    """A stale answer in place of an error of the call or the end of `wait`; else raises `error`."""
    try:
        answer = await spared(room, request, error)
    except BaseException:
        room.books.failed(request, error)
        raise
    return room.books.answered(request, answer)


async def spared(room: Room, request: Request, error: BaseException) -> object:
    """As `instead`, and counts nothing."""
    entry = request.spare
    hides = isinstance(error, Exception) and not isinstance(error, _OURS)
    if entry is not None and hides and await room.spares(request):
        try:
            answer = request.codec.decode(entry.payload)
        except Exception as fault:  # noqa: BLE001 - as in a call: what cannot be read is not there
            room.emit(EntryUndecodable(request.key, type(fault).__name__))
        else:
            request.how, request.entry, request.stale = "l2", entry, True
            return answer
    raise error


def _decode(room: Room, request: Request, entry: Entry) -> object:
    try:
        return request.codec.decode(entry.payload)
    except Exception as error:
        room.emit(EntryUndecodable(request.key, type(error).__name__))
        request.refuse(entry.stamp)
        raise Again from error


def _told(room: Room, request: Request, entry: Entry) -> object:
    """A leader failed a moment ago, here or in another process."""
    known = room.keeper.errors.get(entry.stamp)
    if entry.kind is Kind.REFUSED:
        try:
            return request.codec.refused(entry.payload)
        except Undecodable as error:
            if known is None:
                raise _untold(room, request, str(error)) from error
        except Exception:
            if known is None:
                raise
    if known is not None:
        raise clone_error(known)
    try:
        record = msgspec.msgpack.decode(entry.payload.data, type=ErrorRecord)
    except UNREADABLE as error:
        raise _untold(room, request, "no error record") from error
    raise request.codec.rebuild(record)


def _untold(room: Room, request: Request, why: str) -> Again:
    room.emit(EntryUndecodable(request.key, why))
    request.refuse(SEEN_ANY)
    return Again()


def _crashed(request: Request, crash: Crashed) -> object:
    if crash.owner is request:
        request.how = "led"
        raise crash.error
    if crash.failure.reach is Reach.OWN:
        raise Again
    request.how = "coalesced_local"
    if crash.owner is not None:
        request.leader, request.trace = crash.owner.leader, crash.owner.trace
    if crash.failure.completion is not None:
        try:
            return request.codec.refused(crash.failure.completion)
        except Exception:  # noqa: BLE001 - refused here too: the leader's own error says why
            told = clone_error(crash.told)
        raise told
    raise clone_error(crash.told)


def _copy(request: Request, answer: object) -> object:
    try:
        return copy.deepcopy(answer)
    except Exception:  # noqa: BLE001 - it cannot be shared: this caller makes its own call, without a queue
        request.refusals = REFUSALS
        raise Again from None
