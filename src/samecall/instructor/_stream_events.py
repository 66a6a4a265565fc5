"""An SDK's events to bytes and back, and a stored stream as the completion that it comes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from samecall._entry import Payload
from samecall._errors import Undecodable
from samecall.instructor._completions import Stored, pack, unpack
from samecall.instructor._stream_columns import Chunks, folded, unfolded
from samecall.instructor._stream_whole import whole

__all__ = [
    "STREAM",
    "chunk_of",
    "completion_in",
    "completion_of",
    "event_in",
    "payload_of",
    "stored_chunks",
    "stored_in",
]

STREAM = "instructor.stream"
"""The tag of a stored stream."""
_Head = tuple[str, str, dict[str, Any], dict[str, Any], bool]
_encode = msgspec.json.Encoder().encode
_head = msgspec.json.Decoder(_Head)


def chunk_of(event: Any, model: Any) -> bytes:
    """One event as bytes: a line that says what it is, and its JSON; raises `Unstorable`.

    model: the response model, for an SDK that parses too.
    """
    stored = pack(event, model)
    told = (stored.tag, stored.way, stored.marks, stored.private, stored.parsed)
    return b"%b\n%b" % (_encode(told), stored.data)


def event_in(chunk: bytes, model: Any) -> Any:
    """A new event equal to the one that was encoded; raises `Undecodable`."""
    return unpack(stored_in(chunk), model)


def stored_in(chunk: bytes) -> Stored:
    """An event as it is stored; raises `Undecodable`."""
    head, _, data = chunk.partition(b"\n")
    try:
        tag, way, marks, private, parsed = _head.decode(head)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Undecodable(f"no event: {type(error).__name__}") from None
    return Stored(tag, way, data, marks, private, parsed)


def payload_of(chunks: Sequence[bytes], times: Sequence[float]) -> Payload:
    """The compact stored form of a whole stream."""
    return Payload(STREAM, folded(chunks, times))


def stored_chunks(payload: Payload) -> Chunks:
    """The chunks and times of a stored stream; raises `Undecodable`."""
    return unfolded(payload.data)


def completion_in(payload: Payload, model: Any) -> Any:
    """What the stored stream would have been, had it come at once; raises `Undecodable`."""
    return completion_of(stored_chunks(payload)[0], model)


def completion_of(chunks: Sequence[bytes], model: Any) -> Any:
    """What a stream would have been, had it come at once; raises `Undecodable`."""
    return whole([stored_in(chunk) for chunk in chunks], getattr(model, "__name__", None))
