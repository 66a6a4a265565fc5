"""Cohere's completion out of its stream's events, and events out of its completion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from samecall.instructor._completions import make

__all__ = ["chat_cut", "chat_joined"]

Json = dict[str, Any]


class _Joined:
    """What the events have said so far."""

    def __init__(self) -> None:
        self.told: Json = {}
        self.message: Json = {}
        self.content: dict[int, Json] = {}
        self.calls: dict[int, Json] = {}

    def hear(self, kind: str, index: int, more: Json) -> None:
        """One more event of the message."""
        match kind:
            case "message-start":
                self.message.update({name: value for name, value in more.items() if value})
            case "content-start":
                self.content[index] = more["content"]
            case "content-delta":
                _add(self.content[index], more["content"])
            case "tool-plan-delta":
                _add(self.message, more)
            case "tool-call-start":
                self.calls[index] = more["tool_calls"]
            case "tool-call-delta":
                _add(self.calls[index]["function"], more["tool_calls"]["function"])
            case "citation-start":
                self.message.setdefault("citations", []).append(more["citations"])
            case _:
                pass

    def whole(self, ends: Json) -> Any:
        """The completion. ends: what the last event says."""
        for name, rows in (("content", self.content), ("tool_calls", self.calls)):
            if rows:
                self.message[name] = [rows[at] for at in sorted(rows)]
        last = {name: value for name, value in ends.items() if value is not None}
        return make("cohere.v2", {**self.told, **last, "message": self.message})


def chat_joined(events: Iterator[Json]) -> Any:
    """The completion that these events come to; raises `ValueError` if they do not end."""
    joined = _Joined()
    for event in events:
        delta: Json = event.get("delta") or {}
        if event["type"] == "message-end":
            return joined.whole(delta)
        if event["type"] == "message-start":
            joined.told["id"] = event.get("id") or ""
        if event.get("logprobs") is not None:
            joined.told.setdefault("logprobs", []).append(event["logprobs"])
        joined.hear(event["type"], event.get("index") or 0, delta.get("message") or {})
    raise ValueError("the message did not come to its end")


def _add(known: Json, more: Json) -> None:
    known.update({name: (known.get(name) or "") + text for name, text in more.items() if text})


def chat_cut(completion: Json) -> Iterator[Any]:
    """Events that say what a completion says, given as its JSON; raises `ValueError`."""
    if completion.get("logprobs"):
        raise ValueError("which of the text they are of is not told")
    message: Json = completion["message"]
    yield _event("MessageStart", "message-start", {"role": message["role"]}, id=completion["id"])
    if message.get("tool_plan"):
        yield _event("ToolPlanDelta", "tool-plan-delta", {"tool_plan": message["tool_plan"]})
    for index, call in enumerate(message.get("tool_calls") or ()):
        function: Json = call["function"]
        hollow: Json = {**call, "function": {**function, "arguments": ""}}
        rest = {"function": {"arguments": function.get("arguments") or ""}}
        yield _event("ToolCallStart", "tool-call-start", {"tool_calls": hollow}, index=index)
        yield _event("ToolCallDelta", "tool-call-delta", {"tool_calls": rest}, index=index)
        yield _event("ToolCallEnd", "tool-call-end", index=index)
    for index, part in enumerate(message.get("content") or ()):
        kind: str = part["type"]
        yield _event("ContentStart", "content-start", {"content": {**part, kind: ""}}, index=index)
        yield _event("ContentDelta", "content-delta", {"content": {kind: part[kind]}}, index=index)
        yield _event("ContentEnd", "content-end", index=index)
    for index, citation in enumerate(message.get("citations") or ()):
        yield _event("CitationStart", "citation-start", {"citations": citation}, index=index)
        yield _event("CitationEnd", "citation-end", index=index)
    ends = {name: completion.get(name) for name in ("finish_reason", "usage")}
    told = {name: value for name, value in ends.items() if value is not None}
    yield _made("MessageEnd", {"type": "message-end", "delta": told})


def _event(cls: str, kind: str, message: Json | None = None, **told: Any) -> Any:
    delta = {} if message is None else {"delta": {"message": message}}
    return _made(cls, {"type": kind, **told, **delta})


def _made(cls: str, told: Json) -> Any:
    return make(f"cohere.event/{cls}V2ChatStreamResponse", told)
