"""Whether a stream came to its end, by what its provider says in its last events.

A connection that is closed in good order looks like an end: proxies close one so that have lost the
provider. What then came is part of an answer, and must not be stored as the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from samecall.instructor._completions import Stored

__all__ = ["ended", "made_up"]

_LAST = 3
"""Events among which the last word is: some providers say a little more after it."""
_WORDS = {
    "anthropic.beta": {"BetaRawMessageStopEvent"},
    "anthropic.event": {"RawMessageStopEvent"},
    "cohere.event": {"MessageEndV2ChatStreamResponse"},
    "openai.event": {"ResponseCompletedEvent", "ResponseIncompleteEvent"},
}


class _Choice(msgspec.Struct):
    index: Any = 0
    finish_reason: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None


class _Wrapped(msgspec.Struct):
    data: _Chunk


class _Candidate(msgspec.Struct, rename="camel"):
    index: Any = None
    finish_reason: Any = None


class _Generated(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: Any = None


_chunk = msgspec.json.Decoder(_Chunk)
_wrapped = msgspec.json.Decoder(_Wrapped)
_generated = msgspec.json.Decoder(_Generated)


def ended(events: Sequence[Stored]) -> bool:
    """Whether these are all events; True also where the provider never says so."""
    if not events:
        return False
    family, _, name = events[0].tag.partition("/")
    if name:
        words = _WORDS.get(family)
        return words is None or any(e.tag.partition("/")[2] in words for e in events[-_LAST:])
    try:
        if family == "google.genai":
            return _google_ended(events)
        if family in ("mistral.chunk", "mistral.chunk1"):
            return _all_finished(_wrapped.decode(event.data).data.choices for event in events)
        if family.endswith(".chunk"):
            return _all_finished(_chunk.decode(event.data).choices for event in events)
    except msgspec.MsgspecError:  # in a form of its own: nobody can tell
        pass
    return True


def made_up(stream: object) -> bool:
    """Whether the SDK's `stream` itself said the last word, of which its provider said nothing.

    LiteLLM ends every stream with "stop", and remembers whether that came from anywhere.
    """
    return getattr(stream, "received_finish_reason", "") is None


def _google_ended(events: Sequence[Stored]) -> bool:
    told = [_generated.decode(event.data) for event in events]
    blocked = any(event.prompt_feedback for event in told)
    return blocked or _all_finished(event.candidates for event in told)


def _all_finished(rows: Any) -> bool:
    """Whether each choice that was begun has a reason why it ends."""
    begun, finished = set[object](), set[object]()
    for row in rows:
        for choice in row or ():
            begun.add(choice.index or 0)
            if choice.finish_reason:
                finished.add(choice.index or 0)
    return bool(begun) and begun == finished
