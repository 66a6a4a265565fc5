"""Streams of plain items, and the view that a call's protocol has of a stream."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from samecall._codec import ITEMS, UNREADABLE, PlainCodec, pack_items, unpack_items
from samecall._entry import Payload, Spent
from samecall._errors import Undecodable, Unstorable
from samecall._ports import ErrorRecord, Failure, StreamCodec
from samecall._stream.tape import Tape

__all__ = ["PlainStreamCodec", "Track", "TrackCodec", "ends_of"]

_PLAIN = PlainCodec()


@dataclass(frozen=True, slots=True)
class Track:
    """A whole stream, as it was stored."""

    chunks: Sequence[bytes]
    times: Sequence[float]


class PlainStreamCodec:
    """Items that are None, bool, int, float, str, bytes, lists and string-keyed dicts of them."""

    def encode(self, item: Any) -> bytes:
        """MessagePack; raises `Unstorable` for what would come back as another type."""
        return _PLAIN.encode(item).data

    def decode(self, chunk: bytes) -> Any:
        """A new item."""
        return msgspec.msgpack.decode(chunk)

    def pack(self, chunks: Sequence[bytes], times: Sequence[float]) -> Payload:
        """All items as one compressed list, with the milliseconds between them."""
        marks = [round(time * 1000) for time in times]
        pauses = [max(0, now - then) for then, now in itertools.pairwise((0, *marks))]
        return pack_items(chunks, pauses)

    def unpack(self, payload: Payload) -> tuple[Sequence[bytes], Sequence[float]]:
        """The items again; of a plain list that a call has stored, its elements, all at once."""
        if payload.tag == ITEMS:
            items, pauses = unpack_items(payload)
            return items, [mark / 1000 for mark in itertools.accumulate(pauses)]
        if payload.tag != "plain":
            raise Undecodable(f"tag {payload.tag!r} is no stream of plain data")
        try:
            answer = msgspec.msgpack.decode(payload.data, type=list[msgspec.Raw])
        except UNREADABLE as error:
            raise Undecodable(str(error)) from None
        return [bytes(item) for item in answer], [0.0] * len(answer)

    def explain(self, error: BaseException) -> Failure:
        """As for calls of plain data."""
        return _PLAIN.explain(error)

    def rebuild(self, record: ErrorRecord) -> BaseException:
        """As for calls of plain data."""
        return _PLAIN.rebuild(record)


_ITEMS = PlainStreamCodec()
T = TypeVar("T")


def ends_of(items: Sequence[T]) -> Sequence[T]:
    """The first item and the last three: those that tell what a stream cost."""
    return items if len(items) <= 4 else (items[0], *items[-3:])


class TrackCodec:
    """A `Codec` whose answers are whole streams: what is stored is `pack`'s, tapes go in, tracks
    come out.
    """

    def __init__(self, stream: StreamCodec[Any] | None) -> None:
        self.stream: StreamCodec[Any] = stream or _ITEMS

    def encode(self, value: Tape) -> Payload:
        """The stored form of a tape that came to its end."""
        if value.end is not None:
            raise Unstorable("an item of the stream has no stored form, or it is too long to keep")
        return self.stream.pack(value.chunks, value.times)

    def decode(self, payload: Payload) -> Track:
        """The stream in an entry, whoever stored it."""
        chunks, times = self.stream.unpack(payload)
        if len(times) != len(chunks):
            raise Undecodable("a stream has one time for each chunk")
        return Track(chunks, times)

    def shown(self, value: Tape) -> object:
        """What rules are told: all items, as consumers have them, or what the codec says."""
        shows = getattr(self.stream, "shown", None)
        if shows is not None:
            return shows(value.chunks)
        return [self.stream.decode(chunk) for chunk in value.chunks]

    def refused(self, payload: Payload) -> Track:
        """What a leader's own validation refused is for each consumer to parse."""
        return self.decode(payload)

    def explain(self, error: BaseException) -> Failure:
        """See `StreamCodec`."""
        return self.stream.explain(error)

    def rebuild(self, record: ErrorRecord) -> BaseException:
        """See `StreamCodec`."""
        return self.stream.rebuild(record)

    def bill(self, value: Tape | Sequence[Any]) -> Spent | None:
        """What a stream cost (a tape, or the ends of its items), where its codec knows."""
        tells = getattr(self.stream, "bill", None)
        if tells is None:
            return None
        if isinstance(value, Tape):
            value = [self.stream.decode(chunk) for chunk in ends_of(value.chunks)]
        told: Spent | None = tells(value)
        return told

    def about(self) -> Spent | None:
        """Which model the stream is asked of, where its codec knows."""
        asks = getattr(self.stream, "about", None)
        return None if asks is None else asks()
