"""A completion cut into the events of a stream: as few as say it all.

A stored completion so answers a later call that streams. What cannot be cut is a miss.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

from samecall._errors import Undecodable
from samecall.instructor._completions import make, tag_of
from samecall.instructor._stream_cohere import chat_cut

__all__ = ["parts"]

Json = dict[str, Any]
_CHAT = {
    "cerebras.chat": "cerebras.chunk",
    "fireworks.chat": "fireworks.chunk",
    "groq.chat": "groq.chunk",
    "litellm.chat": "litellm.chunk",
    "openai.chat": "openai.chunk",
    "writer.chat": "writer.chunk",
}


def parts(completion: Any, *, usage: bool) -> list[Any]:
    """Events that say what the completion says; raises `Undecodable`.

    usage: whether its consumer has asked for an event of its own that tells the usage (OpenAI).
    """
    tag = tag_of(completion) or ""
    cut = _CUTTERS.get(tag)
    if cut is None:
        raise Undecodable(f"a {type(completion).__qualname__} cannot be cut into events")
    try:
        return list(cut(tag, completion, usage))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise Undecodable(f"no events of this completion ({type(error).__name__})") from None


def _dump(completion: Any) -> Json:
    told: Json = completion.model_dump(
        mode="json", exclude_unset=True, by_alias=True, warnings=False
    )
    return told


# --- OpenAI's chat completions, and those who speak it --------------------------------------------


def _chat(tag: str, completion: Any, usage: bool) -> Iterator[Any]:
    told = _dump(completion)
    choices, used = told.pop("choices"), told.pop("usage", None)
    head = {**told, "object": "chat.completion.chunk"}
    for choice in choices:
        delta = choice.pop("message")
        for index, call in enumerate(delta.get("tool_calls") or ()):
            call["index"] = index
        finish = choice.pop("finish_reason")
        yield _chunk(tag, head, {**choice, "delta": delta, "finish_reason": None})
        end: Json = {"index": choice.get("index", 0), "delta": {}, "finish_reason": finish}
        yield _chunk(tag, head, end)
    if usage and used is not None:
        yield make(_CHAT[tag], {**head, "choices": [], "usage": used})


def _chunk(tag: str, head: Json, choice: Json) -> Any:
    return make(_CHAT[tag], {**head, "choices": [choice]})


# --- Mistral: an event holds a chunk, and the last one tells the usage ----------------------------


def _mistral(tag: str, completion: Any, _: bool) -> Iterator[Any]:
    told = _dump(completion)
    choices, used = told.pop("choices"), told.pop("usage", None)
    head = {**told, "object": "chat.completion.chunk"}
    event = "mistral.chunk" if tag == "mistral.chat2" else "mistral.chunk1"
    for at, choice in enumerate(choices):
        delta = choice.pop("message")
        delta.pop("prefix", None)  # of a request
        finish = choice.pop("finish_reason")
        begins = [{**choice, "delta": delta, "finish_reason": None}]
        yield make(event, {"data": {**head, "choices": begins}})
        end: Json = {"index": choice.get("index", 0), "delta": {}, "finish_reason": finish}
        spent = {"usage": used} if used is not None and at == len(choices) - 1 else {}
        yield make(event, {"data": {**head, "choices": [end], **spent}})


# --- OpenAI's Responses ---------------------------------------------------------------------------

_SAID = {"output_text": ("Text", "text"), "refusal": ("Refusal", "refusal")}


def _response(_: str, completion: Any, __: bool) -> Iterator[Any]:
    count = itertools.count()

    def event(cls: str, kind: str, **told: Any) -> Any:
        numbered = {"type": f"response.{kind}", "sequence_number": next(count), **told}
        return make(f"openai.event/Response{cls}Event", numbered)

    full = _dump(completion)
    bare: Json = {**full, "status": "in_progress", "output": [], "usage": None}
    yield event("Created", "created", response=bare)
    for at, item in enumerate(full["output"]):
        where = {"item_id": item.get("id", ""), "output_index": at}
        hollow = {**item, "status": "in_progress"}
        hollow |= {k: type(item[k])() for k in ("arguments", "content") if k in item}
        yield event("OutputItemAdded", "output_item.added", output_index=at, item=hollow)
        if "arguments" in item:
            done = {"arguments": item["arguments"], "name": item.get("name", "")}
            call = "function_call_arguments"
            delta = item["arguments"]
            yield event("FunctionCallArgumentsDelta", f"{call}.delta", delta=delta, **where)
            yield event("FunctionCallArgumentsDone", f"{call}.done", **done, **where)
        for place, part in enumerate(item.get("content") or ()):
            here = {"content_index": place, **where}
            if (kind := part.get("type")) not in _SAID:
                continue
            cls, name = _SAID[kind]
            yield event("ContentPartAdded", "content_part.added", part={**part, name: ""}, **here)
            told = here if name != "text" else {"logprobs": part.get("logprobs") or [], **here}
            yield event(f"{cls}Delta", f"{kind}.delta", delta=part[name], **told)
            yield event(f"{cls}Done", f"{kind}.done", **{name: part[name]}, **told)
            yield event("ContentPartDone", "content_part.done", part=part, **here)
        yield event("OutputItemDone", "output_item.done", output_index=at, item=item)
    if full.get("status") == "incomplete":
        yield event("Incomplete", "incomplete", response=full)
    else:
        yield event("Completed", "completed", response=full)


# --- Anthropic ------------------------------------------------------------------------------------


def _message(_: str, completion: Any, __: bool) -> Iterator[Any]:
    def event(cls: str, kind: str, **told: Any) -> Any:
        return make(f"anthropic.event/Raw{cls}Event", {"type": kind, **told})

    message = _dump(completion)
    content, usage = message.pop("content"), message["usage"]
    stop = {k: message.pop(k, None) for k in ("stop_reason", "stop_sequence")}
    start: Json = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    yield event("MessageStart", "message_start", message=start)
    for index, block in enumerate(content):
        hollow, delta = _hollow(block)
        yield event("ContentBlockStart", "content_block_start", index=index, content_block=hollow)
        for each in delta:
            yield event("ContentBlockDelta", "content_block_delta", index=index, delta=each)
        yield event("ContentBlockStop", "content_block_stop", index=index)
    yield event("MessageDelta", "message_delta", delta=stop, usage=usage)
    yield event("MessageStop", "message_stop")


def _hollow(block: Json) -> tuple[Json, list[Json]]:
    """How a block starts, and what makes it whole."""
    match block["type"]:
        case "text":
            cited: list[Json] = block.get("citations") or []
            text = {"type": "text_delta", "text": block["text"]}
            more = [{"type": "citations_delta", "citation": each} for each in cited]
            return {**block, "text": "", **({"citations": []} if cited else {})}, [text, *more]
        case "thinking":
            thought = {"type": "thinking_delta", "thinking": block["thinking"]}
            sign = {"type": "signature_delta", "signature": block["signature"]}
            return {**block, "thinking": "", "signature": ""}, [thought, sign]
        case "tool_use" | "server_tool_use":
            asked = json.dumps(block["input"])
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": asked}]
        case _:  # comes whole, as results of servers' own tools do
            return block, []


# --- Google ---------------------------------------------------------------------------------------


def _generated(_: str, completion: Any, __: bool) -> Iterator[Any]:
    yield completion  # an answer is a stream of one


_CUTTERS: dict[str, Callable[[str, Any, bool], Iterator[Any]]] = {
    **dict.fromkeys(_CHAT, _chat),
    "anthropic.message": _message,
    "cohere.v2": lambda _tag, completion, _usage: chat_cut(_dump(completion)),
    "google.genai": _generated,
    "mistral.chat": _mistral,
    "mistral.chat2": _mistral,
    "openai.response": _response,
}
