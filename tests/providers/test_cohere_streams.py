"""Cohere's completions and the events that they come to: each says all that the other says."""

from __future__ import annotations

from typing import Any

import pytest

from samecall import Undecodable
from samecall.instructor._completions import make, pack
from samecall.instructor._stream_parts import parts
from samecall.instructor._stream_whole import whole

pytest.importorskip("cohere")

USAGE = {"billed_units": {"input_tokens": 7, "output_tokens": 5}, "tokens": {"input_tokens": 9}}
TEXT = {"type": "text", "text": "Ada is 36."}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
CITED = {"start": 0, "end": 3, "text": "Ada", "sources": [], "type": "TEXT_CONTENT"}
MESSAGES: list[dict[str, Any]] = [
    {"content": [TEXT]},
    {"content": [{"type": "thinking", "thinking": "Who?"}, TEXT]},
    {"content": [TEXT], "citations": [CITED, {**CITED, "start": 7, "end": 9, "text": "36"}]},
    {"tool_plan": "I ask f.", "tool_calls": [CALL, {**CALL, "id": "c2"}]},
    {},
]


def completion(message: dict[str, Any], **more: Any) -> Any:
    told = {"id": "1", "finish_reason": "COMPLETE", "usage": USAGE, **more}
    return make("cohere.v2", {**told, "message": {"role": "assistant", **message}})


@pytest.mark.parametrize("message", MESSAGES, ids=["text", "thinking", "cited", "tools", "empty"])
def test_a_completion_comes_back_from_its_events(message: dict[str, Any]) -> None:
    told = completion(message)
    events = parts(told, usage=True)
    assert {event.type for event in events} >= {"message-start", "message-end"}
    assert whole([pack(event) for event in events]) == told


def test_pieces_are_joined() -> None:
    """Texts and arguments come in pieces, one block at a time; log probabilities one by one."""
    kinds = [event.type for event in parts(completion({"content": [TEXT]}), usage=True)]
    assert kinds.count("content-delta") == 1

    def event(cls: str, kind: str, **told: Any) -> Any:
        return make(f"cohere.event/{cls}V2ChatStreamResponse", {"type": kind, **told})

    def text(piece: str) -> Any:
        delta = {"message": {"content": {"text": piece}}}
        logprobs = {"text": piece, "token_ids": [1], "logprobs": [-1.0]}
        return event("ContentDelta", "content-delta", index=0, delta=delta, logprobs=logprobs)

    start = {"message": {"content": {"type": "text", "text": ""}}}
    events = [
        event("MessageStart", "message-start", id="1", delta={"message": {"role": "assistant"}}),
        event("ContentStart", "content-start", index=0, delta=start),
        text("Ada is"),
        text(" 36."),
        event("ContentEnd", "content-end", index=0),
        event("MessageEnd", "message-end", delta={"finish_reason": "COMPLETE", "usage": USAGE}),
    ]
    joined = whole([pack(event) for event in events])
    assert joined.message.content[0].text == "Ada is 36."
    assert [each.text for each in joined.logprobs] == ["Ada is", " 36."]
    with pytest.raises(Undecodable):
        parts(joined, usage=True)  # nobody can say which piece each is of
    with pytest.raises(Undecodable):
        whole([pack(event) for event in events[:-1]])
