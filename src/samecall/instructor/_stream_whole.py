"""The completion that a provider would have given at once, put together from its stream's events.

A stored stream so answers a later call that does not stream. What cannot be put together is a miss.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeGuard

import msgspec

from samecall._errors import Undecodable
from samecall.instructor._completions import Stored, make, unpack
from samecall.instructor._stream_cohere import chat_joined

__all__ = ["whole"]

Json = dict[str, Any]
_read = msgspec.json.Decoder(Json).decode
_CHAT = {
    "cerebras.chunk": "cerebras.chat",
    "fireworks.chunk": "fireworks.chat",
    "groq.chunk": "groq.chat",
    "litellm.chunk": "litellm.chat",
    "openai.chunk": "openai.chat",
    "writer.chunk": "writer.chat",
}
_GIVEN = frozenset({"id", "index", "name", "role", "type"})  # told once, or the same every time


def whole(events: Sequence[Stored], name: str | None = None) -> Any:
    """One completion out of the events; raises `Undecodable`.

    name: of the response model. Asking for the parts of a model, instructor calls the tool
    otherwise than asking for all of it, and parsing the whole it wants the name that it knows.
    """
    tag = events[0].tag if events else ""
    put_together = _MAKERS.get(tag.partition("/")[0])
    if put_together is None:
        raise Undecodable("no completion can be put together from these events")
    try:
        completion = put_together(tag, events)
        if name is not None:
            _rename(completion, name)
    except (AttributeError, LookupError, TypeError, ValueError, msgspec.MsgspecError) as error:
        raise Undecodable(f"events out of order ({type(error).__name__})") from None
    return completion


def _rename(completion: Any, name: str) -> None:
    for call in _calls(completion):
        if getattr(call, "name", None) == f"Partial{name}":
            call.name = name


def _calls(completion: Any) -> Iterator[Any]:
    for choice in getattr(completion, "choices", None) or ():
        yield from (getattr(c, "function", None) for c in choice.message.tool_calls or ())
    for candidate in getattr(completion, "candidates", None) or ():
        yield from (part.function_call for part in candidate.content.parts or ())
    yield from getattr(completion, "output", None) or ()  # of Responses
    yield from getattr(completion, "content", None) or ()  # of Anthropic


def _told(events: Iterable[Stored]) -> Iterator[Json]:
    # as JSON: to make the SDK's objects of thousands of events would take ten times as long
    return (_read(event.data) for event in events)


# --- OpenAI's chat completions, and those who speak it --------------------------------------------


def _chat(tag: str, events: Sequence[Stored]) -> Any:
    return make(_CHAT[tag], _chat_of(_told(events), "chat.completion"))


def _mistral(tag: str, events: Sequence[Stored]) -> Any:
    completion = _chat_of((event["data"] for event in _told(events)), "chat.completion")
    if completion.get("usage") is None:
        completion["usage"] = {}  # which the SDK demands; a server of its kind need not tell it
    return make("mistral.chat" if tag == "mistral.chunk1" else "mistral.chat2", completion)


def _chat_of(chunks: Any, kind: str) -> Json:
    completion: Json = {}
    choices: dict[int, Json] = {}
    for chunk in chunks:
        for choice in chunk.pop("choices", None) or ():
            _add_choice(choices.setdefault(choice.get("index", 0), {}), choice)
        completion.update({k: v for k, v in chunk.items() if v is not None or k not in completion})
    if not choices or any(not choice.get("finish_reason") for choice in choices.values()):
        raise ValueError("the stream did not say how it ends")
    completion["choices"] = [_closed(choices[index]) for index in sorted(choices)]
    completion["object"] = kind
    return completion


def _add_choice(choice: Json, more: Json) -> None:
    _add(choice.setdefault("message", {}), more.pop("delta", None) or {})
    logprobs: Json = more.pop("logprobs", None) or {}
    if logprobs or "logprobs" not in choice:
        choice["logprobs"] = _joined(choice.get("logprobs"), logprobs)
    choice.update({k: v for k, v in more.items() if v is not None or k not in choice})


def _joined(known: Json | None, more: Json) -> Json | None:
    lists = {k: [*((known or {}).get(k) or ()), *v] for k, v in more.items() if v}
    return {**(known or {}), **more, **lists} or None


def _add(message: Json, delta: Json) -> None:
    """What a delta adds: texts to texts, entries of lists to the entry of their index."""
    for name, value in delta.items():
        known = message.get(name)
        if value is None:
            message.setdefault(name, None)
        elif isinstance(value, str) and isinstance(known, str) and name not in _GIVEN:
            message[name] = known + value
        elif _is_dict(value):
            if not _is_dict(known):
                known = message[name] = {}
            _add(known, value)
        elif _is_list(value):
            message[name] = _add_entries(known if _is_list(known) else [], value)
        else:
            message[name] = value


def _add_entries(known: list[Any], entries: list[Any]) -> list[Any]:
    for entry in entries:
        if not _is_dict(entry):
            known.append(entry)
            continue
        index = entry.get("index")
        mine = next((e for e in known if index is not None and e.get("index") == index), None)
        if mine is None:
            known.append(mine := {})
        _add(mine, entry)
    return known


def _is_dict(value: Any) -> TypeGuard[Json]:
    return isinstance(value, dict)


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _closed(choice: Json) -> Json:
    message = choice["message"]
    message.setdefault("content", None)
    message.setdefault("role", "assistant")
    for call in message.get("tool_calls") or ():
        call.pop("index", None)
    return choice


# --- OpenAI's Responses ---------------------------------------------------------------------------


_LAST = {f"openai.event/Response{how}Event" for how in ("Completed", "Incomplete")}


def _response(_: str, events: Sequence[Stored]) -> Any:
    for event in reversed(events):
        if event.tag in _LAST:
            return unpack(event).response
    raise ValueError("the response did not come to its end")


# --- Anthropic ------------------------------------------------------------------------------------


def _message(_: str, events: Sequence[Stored]) -> Any:
    message: Json = {}
    pieces: dict[int, list[str]] = {}
    for event in _told(events):
        match event["type"]:
            case "message_start":
                message = event["message"]
            case "content_block_start":
                message["content"].append(event["content_block"])
            case "content_block_delta":
                index, delta = event["index"], event["delta"]
                if delta["type"] == "input_json_delta":
                    pieces.setdefault(index, []).append(delta["partial_json"])
                else:
                    _add_delta(message["content"][index], delta)
            case "message_delta":
                message.update(event["delta"])
                known = {k: v for k, v in event.get("usage", {}).items() if v is not None}
                message["usage"].update(known)
            case "message_stop":
                for index, texts in pieces.items():
                    text = "".join(texts)
                    message["content"][index]["input"] = json.loads(text) if text else {}
                return make("anthropic.message", message)
            case _:
                pass
    raise ValueError("the message did not come to its end")


def _add_delta(block: Json, delta: Json) -> None:
    kind = delta["type"].removesuffix("_delta")
    if kind == "citations":
        block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
    else:  # text, thinking, signature
        block[kind] = (block.get(kind) or "") + delta[kind]


# --- Google ---------------------------------------------------------------------------------------


def _generated(_: str, events: Sequence[Stored]) -> Any:
    answer: Json = {}
    candidates: dict[int, Json] = {}
    for event in _told(events):
        for candidate in event.pop("candidates", None) or ():
            mine = candidates.setdefault(candidate.get("index") or 0, {"parts": []})
            content: Json = candidate.pop("content", None) or {}
            if mine.get("logprobsResult") and candidate.get("logprobsResult"):
                raise ValueError("what they come to together is not told")
            _add_parts(mine["parts"], content.pop("parts", None) or ())
            mine.update(candidate, content={**mine.get("content", {}), **content})
        answer.update({k: v for k, v in event.items() if v is not None})
    if not candidates or any(not mine.get("finishReason") for mine in candidates.values()):
        raise ValueError("the stream did not say how it ends")
    for mine in candidates.values():
        mine["content"]["parts"] = mine.pop("parts")
    answer["candidates"] = [candidates[index] for index in sorted(candidates)]
    return make("google.genai", answer)


def _add_parts(parts: list[Json], more: Sequence[Json]) -> None:
    for part in more:
        if {"partialArgs", "willContinue"} & (part.get("functionCall") or {}).keys():
            raise ValueError("the arguments came in pieces, in a form of their own")
        last = parts[-1] if parts else {}
        if part.keys() == last.keys() <= {"text", "thought"} and "text" in part:
            last["text"] += part["text"]
        else:
            parts.append(part)


_MAKERS: dict[str, Callable[[str, Sequence[Any]], Any]] = {
    **dict.fromkeys(_CHAT, _chat),
    "anthropic.event": _message,
    "cohere.event": lambda _, events: chat_joined(_told(events)),
    "google.genai": _generated,
    "mistral.chunk": _mistral,
    "mistral.chunk1": _mistral,
    "openai.event": _response,
}
