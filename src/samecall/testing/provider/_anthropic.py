"""Anthropic messages."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

from samecall.testing.provider._ask import (
    Ask,
    Json,
    Reply,
    Tool,
    json_only_schema,
    mapping,
    pieces,
    question,
    records,
    sse,
    text_of,
    tokens,
)
from samecall.testing.provider._openai_chat import chosen

__all__ = ["AnthropicMessages"]

_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class AnthropicMessages:
    """`POST .../v1/messages`."""

    name = "anthropic"

    def read(self, path: str, body: Json) -> Ask:
        messages = records(body.get("messages"))
        users = [text_of(m.get("content")) for m in messages if m.get("role") == "user"]
        texts = [text_of(m.get("content")) for m in messages]
        everything = "\n".join([text_of(body.get("system")), *texts])
        tools = tuple(
            Tool(str(tool.get("name")), mapping(tool.get("input_schema")))
            for tool in records(body.get("tools"))
            if "input_schema" in tool
        )
        choice = mapping(body.get("tool_choice"))
        may_be_many = choice.get("disable_parallel_tool_use") is not True
        wanted = mapping(body.get("output_format")) or mapping(
            mapping(body.get("output_config")).get("format")
        )
        return Ask(
            shape=self.name,
            model=str(body.get("model", "")),
            prompt=question(users),
            tools=chosen(tools, choice.get("type"), choice.get("name")),
            parallel="name" not in choice and may_be_many,
            schema=mapping(wanted.get("schema")) or json_only_schema(everything),
            stream=body.get("stream") is True,
            input_tokens=tokens(everything),
            body=body,
        )

    def whole(self, ask: Ask, reply: Reply) -> Json:
        return _head(ask) | {
            "content": _content(reply),
            "stop_reason": _stop(reply),
            "usage": _usage(ask, reply.output_tokens),
        }

    def events(self, ask: Ask, reply: Reply, size: int) -> Iterator[bytes]:
        def event(kind: str, **data: object) -> bytes:
            return sse({"type": kind, **data}, kind)

        yield event("message_start", message=_head(ask) | {"usage": _usage(ask, 1)})
        for at, block in enumerate(_content(reply)):
            hollow = dict(block)
            if "input" in block:
                hollow["input"] = {}
            else:
                hollow["text"] = ""
            yield event("content_block_start", index=at, content_block=hollow)
            for delta in _deltas(block, size):
                yield event("content_block_delta", index=at, delta=delta)
            yield event("content_block_stop", index=at)
        last = {"stop_reason": _stop(reply), "stop_sequence": None}
        yield event("message_delta", delta=last, usage={"output_tokens": reply.output_tokens})
        yield event("message_stop")

    def error(self, status: int, message: str) -> Json:
        kind = _ERRORS.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}}


def _head(ask: Ask) -> Json:
    return {
        "id": f"msg_{uuid.uuid4().hex[:24]}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _content(reply: Reply) -> list[Json]:
    if not reply.calls:
        return [{"type": "text", "text": reply.text}]
    return [
        {
            "type": "tool_use",
            "id": f"toolu_{uuid.uuid4().hex[:24]}",
            "name": call.name,
            "input": call.object(),
        }
        for call in reply.calls
    ]


def _deltas(block: Json, size: int) -> Iterator[Json]:
    if "input" in block:
        for piece in pieces(json.dumps(block["input"]), size):
            yield {"type": "input_json_delta", "partial_json": piece}
    else:
        for piece in pieces(block["text"], size):
            yield {"type": "text_delta", "text": piece}


def _stop(reply: Reply) -> str:
    return "tool_use" if reply.calls else "end_turn"


def _usage(ask: Ask, output_tokens: int) -> Json:
    return {
        "input_tokens": ask.input_tokens,
        "output_tokens": output_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }
