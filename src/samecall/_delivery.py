"""A caller's own share of an outcome: an object of its own, an exception, or `Again`."""

from __future__ import annotations

import copy

import msgspec

from samecall._entry import Entry, Kind
from samecall._flight import clone_error
from samecall._ports import SEEN_ANY, EntryUndecodable, ErrorRecord, Reach
from samecall._room import Crashed, Found, Grounded, Outcome, Request, Room, Unstored

__all__ = ["Again", "deliver"]


class Again(Exception):
    """This outcome is not for this caller, which asks again."""


def deliver(room: Room, request: Request, outcome: Outcome) -> object:
    """What `request` gets of `outcome`; decoding runs here, in the caller's own task."""
    match outcome:
        case Found(owner=owner, live=live) if owner is request:
            return room.answered(request, "led", live)
        case Found(entry=entry, how=how) if entry.kind is Kind.VALUE:
            return room.answered(request, how, _decode(room, request, entry))
        case Found(entry=entry):
            return _told(room, request, entry)
        case Unstored(live=live, owner=owner):
            if owner is request:
                return room.answered(request, "led", live)
            return room.answered(request, "coalesced_local", _copy(live))
        case Crashed():
            return _crashed(room, request, outcome)
        case Grounded():
            raise Again


def _decode(room: Room, request: Request, entry: Entry) -> object:
    try:
        return request.codec.decode(entry.payload)
    except Exception as error:  # whatever a codec or a validator raises: this entry is a miss
        room.emit(EntryUndecodable(request.key, type(error).__name__))
        request.refuse(entry.stamp)
        raise Again from error


def _told(room: Room, request: Request, entry: Entry) -> object:
    """A leader failed a moment ago, here or in another process."""
    known = room.errors.get(entry.stamp)
    if entry.kind is Kind.REFUSED:
        try:
            answer = request.codec.refused(entry.payload)
        except Exception:
            if known is None:
                raise
        else:
            return room.answered(request, "coalesced_remote", answer)
    if known is not None:
        raise clone_error(known)
    try:
        record = msgspec.msgpack.decode(entry.payload.data, type=ErrorRecord)
    except msgspec.MsgspecError as error:
        room.emit(EntryUndecodable(request.key, "no error record"))
        request.refuse(SEEN_ANY)
        raise Again from error
    room.observe(request, "coalesced_remote", record.class_name)
    raise request.codec.rebuild(record)


def _crashed(room: Room, request: Request, crash: Crashed) -> object:
    room.observe(request, "led", crash.failure.record.class_name)
    if crash.owner is request:
        raise crash.error
    if crash.failure.reach is Reach.OWN:
        raise Again
    if crash.failure.completion is not None:
        try:
            answer = request.codec.refused(crash.failure.completion)
        except Exception:  # refused here too: the leader's own error says why
            raise clone_error(crash.error) from crash.error.__cause__
        return room.answered(request, "coalesced_local", answer)
    raise clone_error(crash.error)


def _copy(answer: object) -> object:
    try:
        return copy.deepcopy(answer)
    except Exception:  # it cannot be shared safely: this caller asks for itself
        raise Again from None
