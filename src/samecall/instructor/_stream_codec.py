"""The codec of one caller's stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from samecall._entry import Key, Payload, Spent
from samecall._errors import Undecodable, Unstorable
from samecall._ports import ErrorRecord, Failure, Reach
from samecall._stream import ends_of
from samecall.instructor._codec import AnswerCodec
from samecall.instructor._faults import is_timeout
from samecall.instructor._stream_ends import ended, made_up
from samecall.instructor._stream_events import (
    STREAM,
    chunk_of,
    event_in,
    payload_of,
    stored_chunks,
    stored_in,
)
from samecall.instructor._stream_parts import parts
from samecall.instructor._stream_surface import Opened

__all__ = ["EventCodec"]


class EventCodec:
    """Events of the caller's own SDK; errors are told as those of calls that do not stream."""

    __slots__ = ("_answers", "_model", "_opened", "_usage")

    def __init__(self, answers: AnswerCodec, model: Any, opened: Opened, *, usage: bool) -> None:
        self._answers, self._model, self._opened, self._usage = answers, model, opened, usage

    def taken(self, key: Key, stamp: bytes) -> None:
        """Note which stream the consumer has begun to take."""
        self._opened.generation = key, stamp

    def encode(self, item: Any) -> bytes:
        """One event as a chunk; raises `Unstorable` where its class is not on the list."""
        return chunk_of(item, self._model)

    def decode(self, chunk: bytes) -> Any:
        """A new event equal to the one that the provider sent."""
        return event_in(chunk, self._model)

    def pack(self, chunks: Sequence[bytes], times: Sequence[float]) -> Payload:
        """The whole stream in little room; raises `Unstorable` for a part of one."""
        if made_up(self._opened.raw) or not ended([stored_in(chunk) for chunk in chunks]):
            raise Unstorable("a stream that ended without its provider's last word")
        spent = self.bill([self.decode(chunk) for chunk in ends_of(chunks)])
        return msgspec.structs.replace(payload_of(chunks, times), spent=spent)

    def bill(self, items: Sequence[Any]) -> Spent | None:
        """What a stream cost, by its first and last events."""
        told = [self._answers.spent(bill) for event in items for bill in _bills(event)]
        known = [spent for spent in told if spent is not None]
        if not known:
            return None
        # the last to tell counts; Anthropic tells what came in at the start, and what went out last
        given, made = max(spent.input for spent in known), max(spent.output for spent in known)
        return msgspec.structs.replace(known[-1], input=given, output=made)

    def shown(self, chunks: Sequence[bytes]) -> object:
        """What `create` would return for the same call; where nobody can tell, all events."""
        try:
            return self._answers.streamed(chunks).value
        except Undecodable:
            return [self.decode(chunk) for chunk in chunks]
        except Exception as error:
            why = type(error).__name__
            raise Unstorable(f"a stream that does not pass validation ({why})") from error

    def unpack(self, payload: Payload) -> tuple[Sequence[bytes], Sequence[float]]:
        """The stored chunks, or a few that say what a stored completion says."""
        if payload.tag == STREAM:
            return stored_chunks(payload)
        completion = self._answers.completion(payload)
        chunks = [chunk_of(event, self._model) for event in parts(completion, usage=self._usage)]
        return chunks, [0.0] * len(chunks)

    def explain(self, error: BaseException) -> Failure:
        """How far an error travels, and in what words; one in mid-stream goes to all who follow."""
        failure = self._answers.explain(error)
        if self._opened.raw is None or is_timeout(error) or failure.reach is Reach.FLEET:
            return failure
        return Failure(Reach.FLEET, failure.record)

    def about(self) -> Spent | None:
        """The model that is asked, with nothing spent."""
        return self._answers.about()

    def rebuild(self, record: ErrorRecord) -> BaseException:
        """The provider's own exception, wrapped where the leader's was."""
        return self._answers.rebuild(record)


def _bills(event: Any) -> list[Any]:
    held = (getattr(event, name, None) for name in ("message", "response"))
    return [event, *(bill for bill in held if bill is not None)]
