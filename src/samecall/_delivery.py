"""A caller's own share of an outcome: an object of its own, an exception, or `Again`."""

from __future__ import annotations

import copy

import msgspec

from samecall._clone import clone_error
from samecall._codec import UNREADABLE
from samecall._entry import Entry, Freshness, Kind, freshness
from samecall._errors import Undecodable
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

__all__ = ["Again", "deliver"]

_FRESH = Freshness.FRESH


class Again(Exception):
    """This outcome is not for this caller, which asks again."""


def deliver(room: Room, request: Request, outcome: Outcome) -> object:
    """What `request` gets of `outcome`; decoding runs here, in the caller's own task."""
    match outcome:
        case Found(owner=owner, live=live) if owner is request:
            request.how = "led"
            return live
        case Found(entry=entry, how=how) if entry.kind is Kind.VALUE:
            request.how = how
            if how == "l2" and freshness(entry, request.policy, room.clock.now()) is not _FRESH:
                request.refuse(entry.stamp)  # fresh enough for who asked first, not for this one
                raise Again
            return _decode(room, request, entry)
        case Found(entry=entry, how=how):
            request.how = how
            return _told(room, request, entry)
        case Unstored(live=live, owner=owner):
            if owner is request:
                request.how = "led"
                return live
            request.how = "coalesced_local"
            return _copy(request, live)
        case Crashed():
            return _crashed(request, outcome)
        case Grounded():
            raise Again


def _decode(room: Room, request: Request, entry: Entry) -> object:
    try:
        return request.codec.decode(entry.payload)
    except Exception as error:
        room.emit(EntryUndecodable(request.key, type(error).__name__))
        request.refuse(entry.stamp)
        raise Again from error


def _told(room: Room, request: Request, entry: Entry) -> object:
    """A leader failed a moment ago, here or in another process."""
    known = room.errors.get(entry.stamp)
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
