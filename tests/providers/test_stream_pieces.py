"""Events and the completion that they come to, against what the SDKs themselves make of them.

And events cut out of a completion: what is read piece by piece comes in pieces.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

if os.environ.get("SAMECALL_SDKS") == "newest":
    # Anthropic's is called in another way in each version, LiteLLM's newest goes without its SDK
    why = "held against what the SDKs within instructor's bounds make of their own events"
    pytest.skip(why, allow_module_level=True)

from anthropic._models import construct_type as anthropic_type
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from openai._models import construct_type as openai_type
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import Response

from samecall import Undecodable
from samecall.instructor._completions import make
from samecall.instructor._stream_events import chunk_of, completion_of, event_in
from samecall.instructor._stream_parts import parts
from samecall.instructor._stream_surface import AsyncShared, Opened

Json = dict[str, Any]


def joined(events: list[Any]) -> Any:
    """The completion, by way of the bytes; each event comes back from them as it was."""
    chunks = [chunk_of(event, None) for event in events]
    again = [event_in(chunk, None) for chunk in chunks]
    assert again == events
    assert [type(event) for event in again] == [type(event) for event in events]
    return completion_of(chunks, None)


def bare(told: Any) -> Any:
    """Without what only the SDKs' accumulators add."""
    if isinstance(told, dict):
        added = ("parsed", "parsed_arguments", "parsed_output")
        return {name: bare(value) for name, value in told.items() if name not in added}
    return [bare(value) for value in told] if isinstance(told, list) else told


# --- OpenAI ---------------------------------------------------------------------------------------

HEAD: Json = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
ROLE: Json = {"role": "assistant", "content": None}
CITED = {"type": "url_citation", "url_citation": dict.fromkeys(("url", "title"), "u")}


def said(index: int = 0, ends: str | None = None, token: str | None = None, **delta: Any) -> Json:
    probable = {"token": token, "logprob": -1.0, "bytes": [65], "top_logprobs": []}
    logprobs = None if token is None else {"content": [probable], "refusal": None}
    choice = {"index": index, "delta": delta, "finish_reason": ends, "logprobs": logprobs}
    return {**HEAD, "choices": [choice]}


def tool(index: int, text: str, **more: Any) -> Json:
    function = {"arguments": text, **({"name": "User"} if more else {})}
    return said(tool_calls=[{"index": index, "function": function, **more}])


CHATS: dict[str, list[Json]] = {
    "tools in turn": [
        said(**ROLE),
        tool(0, "", id="a", type="function"),
        tool(0, '{"n":'),
        tool(1, "", id="b", type="function"),
        tool(1, "{}"),
        tool(0, "1}"),
        said(ends="tool_calls"),
        {**HEAD, "choices": [], "usage": dict.fromkeys(
            ("prompt_tokens", "completion_tokens", "total_tokens"), 3)},
    ],
    "two choices": [
        said(**ROLE),
        said(1, **ROLE),
        said(token="A", content="A"),
        said(1, token="B", content="B"),
        said(token="C", content="C"),
        said(1, "stop"),
        said(0, "length"),
    ],
    "a refusal": [said(**ROLE, refusal=""), said(refusal="I can"), said(refusal="not"),
                  said(ends="stop")],
    "thoughts": [said(**ROLE, reasoning_content="th"), said(reasoning_content="ink"),
                 said(content="x"), said(ends="stop")],
    "Azure's filter": [{**HEAD, "choices": [], "prompt_filter_results": []},
                       said(**{**ROLE, "content": "x"}), said(ends="stop")],
    "citations": [said(**{**ROLE, "content": "x"}), said(annotations=[CITED]), said(ends="stop")],
}  # fmt: skip


@pytest.mark.parametrize("told", CHATS.values(), ids=CHATS)
def test_openais_chunks(told: list[Json]) -> None:
    events = [openai_type(type_=ChatCompletionChunk, value=each) for each in told]
    state: Any = ChatCompletionStreamState()
    for event in events:
        state.handle_chunk(event)
    theirs = bare(state.current_completion_snapshot.model_dump())
    for choice in theirs["choices"]:
        for call in choice["message"]["tool_calls"] or ():
            call.pop("index")  # of a chunk; an answer that comes at once has none
    completion = joined(events)
    assert bare(completion.model_dump()) == theirs
    assert joined(parts(completion, usage=True)) == completion


def test_a_response_in_pieces() -> None:
    """A refusal too comes as part after part."""
    text = {"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}
    content = [{"type": "refusal", "refusal": "no"}, text]
    answer = {"id": "i", "type": "message", "role": "assistant", "status": "completed"}
    told = {"id": "r", "object": "response", "created_at": 1.0, "model": "m", "tools": []}
    more = {"status": "completed", "parallel_tool_calls": True, "tool_choice": "auto"}
    response = openai_type(
        type_=Response, value={**told, **more, "output": [{**answer, "content": content}]}
    )
    events = parts(response, usage=False)
    assert joined(events) == response
    pieces = [(e.type, e.content_index, e.delta) for e in events if e.type.endswith(".delta")]
    assert pieces == [("response.refusal.delta", 0, "no"), ("response.output_text.delta", 1, "hi")]


# --- Anthropic ------------------------------------------------------------------------------------

SEARCH = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
FOUND = {"type": "web_search_result", "title": "t", "url": "u", "encrypted_content": "e"}
RESULT = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [FOUND]}
PLACE = {"type": "web_search_result_location", "cited_text": "c", "url": "u", "title": "t"}
QUOTED = {"type": "citations_delta", "citation": {**PLACE, "encrypted_index": "i"}}
BLOCKS: list[tuple[Json, list[Json]]] = [
    ({"type": "thinking", "thinking": "", "signature": ""}, [
        {"type": "thinking_delta", "thinking": "Let me "},
        {"type": "thinking_delta", "thinking": "think"},
        {"type": "signature_delta", "signature": "S=="},
    ]),
    ({"type": "redacted_thinking", "data": "d"}, []),
    (SEARCH, [{"type": "input_json_delta", "partial_json": each} for each in ("", '{"q":', "1}")]),
    (RESULT, []),
    ({"type": "text", "text": "", "citations": []}, [
        QUOTED, {"type": "text_delta", "text": "Hello "}, {"type": "text_delta", "text": "you"},
    ]),
    ({"type": "tool_use", "id": "t", "name": "User", "input": {}}, []),
]  # fmt: skip


def message() -> list[Any]:
    spent = {"input_tokens": 10, "output_tokens": 1}
    start = {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": []}
    told: list[Json] = [{"type": "message_start", "message": {**start, "usage": spent}}]
    for at, (block, deltas) in enumerate(BLOCKS):
        told.append({"type": "content_block_start", "index": at, "content_block": block})
        told += [{"type": "content_block_delta", "index": at, "delta": each} for each in deltas]
        told.append({"type": "content_block_stop", "index": at})
    stop = {"stop_reason": "tool_use", "stop_sequence": None}
    told.append({"type": "message_delta", "delta": stop, "usage": {**spent, "output_tokens": 50}})
    told.append({"type": "message_stop"})
    return [anthropic_type(type_=RawMessageStreamEvent, value=each) for each in told]


def accumulated(events: list[Any]) -> Any:
    snapshot: Any = None
    for event in events:
        snapshot = accumulate_event(event=event, current_snapshot=snapshot)
    return bare(snapshot.model_dump())


def test_anthropics_events() -> None:
    completion = joined(message())
    assert bare(completion.model_dump()) == accumulated(message())


def test_what_anthropic_tells_in_deltas() -> None:
    """Of texts with citations, thoughts and servers' tools too: their readers hear deltas only."""
    completion = joined(message())
    events = parts(completion, usage=False)
    assert joined(events) == completion
    assert accumulated(events) == accumulated(message())
    deltas = [event.delta for event in events if event.type == "content_block_delta"]
    kinds = ("text", "thinking", "signature", "partial_json", "citation")
    told = {kind: [getattr(d, kind) for d in deltas if hasattr(d, kind)] for kind in kinds}
    assert told["text"] == ["Hello you"]
    assert told["thinking"] == ["Let me think"]
    assert told["signature"] == ["S=="]
    assert told["partial_json"] == ['{"q": 1}', "{}"]
    assert [each.url for each in told["citation"]] == ["u"]


# --- Google ---------------------------------------------------------------------------------------


def generated(*pieces: Json, **candidate: Any) -> Any:
    ends = {"finishReason": "STOP"} if pieces and pieces[-1].pop("ends", None) else {}
    content = {"role": "model", "parts": list(pieces)}
    return make("google.genai", {"candidates": [{"content": content, **ends, **candidate}]})


def test_googles_pieces() -> None:
    thought = {"text": "hm", "thought": True}
    call = {"functionCall": {"name": "f", "args": {"a": 1}}}
    events = [
        generated({"text": "A"}),
        generated({"text": "da"}, dict(thought)),
        generated(dict(thought), call, {**call, "ends": True}),
    ]
    [candidate] = joined(events).candidates
    texts = [part.text for part in candidate.content.parts]
    assert texts == ["Ada", "hmhm", None, None]


PROBABLE = {"logprobsResult": {"chosenCandidates": [{"token": "A", "logProbability": -1.0}]}}
PARTIAL = {"functionCall": {"name": "f", "partialArgs": [], "willContinue": True}}


@pytest.mark.parametrize(
    "events",
    [
        [generated({"text": "A"}, **PROBABLE), generated({"text": "B", "ends": True}, **PROBABLE)],
        [generated(PARTIAL), generated({"functionCall": {}, "ends": True})],
    ],
    ids=["log probabilities", "arguments in pieces"],
)
def test_what_google_tells_piece_by_piece_makes_no_completion(events: list[Any]) -> None:
    with pytest.raises(Undecodable):
        joined(events)


# --- who speaks like OpenAI -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "tag", ["cerebras", "fireworks", "groq", "litellm", "openai", "writer"], ids=str
)
async def test_an_event_without_choices(tag: str) -> None:
    """Azure begins with one; only one that tells the usage is for those who asked for it."""
    usage = dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 3)
    told = {**HEAD, "choices": []}
    given = [make(f"{tag}.chunk", told), make(f"{tag}.chunk", {**told, "usage": usage})]

    async def events() -> Any:
        for event in given:
            yield event

    for asked in (True, False):
        stream = AsyncShared(events(), Opened(), usage=asked)
        assert [event async for event in stream] == given[: 1 + asked]
