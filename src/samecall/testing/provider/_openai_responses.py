"""OpenAI Responses."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Iterator
from typing import Any

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
from samecall.testing.provider._openai_chat import chosen, openai_error

__all__ = ["OpenAIResponses"]


class OpenAIResponses:
    """`POST .../responses`."""

    name = "openai-responses"

    def read(self, path: str, body: Json) -> Ask:
        given = body.get("input")
        items = [{"role": "user", "content": given}] if isinstance(given, str) else records(given)
        users = [text_of(item.get("content")) for item in items if item.get("role") == "user"]
        texts = [text_of(item.get("content")) for item in items]
        everything = "\n".join([str(body.get("instructions") or ""), *texts])
        functions = [tool for tool in records(body.get("tools")) if tool.get("type") == "function"]
        tools = tuple(Tool(str(f.get("name")), mapping(f.get("parameters"))) for f in functions)
        choice = body.get("tool_choice")
        named: Any = mapping(choice).get("name")
        wanted = mapping(mapping(body.get("text")).get("format"))
        return Ask(
            shape=self.name,
            model=str(body.get("model", "")),
            prompt=question(users),
            tools=chosen(tools, choice, named),
            parallel=named is None and body.get("parallel_tool_calls") is not False,
            schema=mapping(wanted.get("schema")) or json_only_schema(everything),
            stream=body.get("stream") is True,
            input_tokens=tokens(everything),
            body=body,
        )

    def whole(self, ask: Ask, reply: Reply) -> Json:
        return _response(ask, _output(reply), reply)

    def events(self, ask: Ask, reply: Reply, size: int) -> Iterator[bytes]:
        count = itertools.count()

        def event(kind: str, **data: Any) -> bytes:
            return sse({"type": kind, "sequence_number": next(count), **data}, kind)

        output = _output(reply)
        full = _response(ask, output, reply)
        bare: Json = full | {"status": "in_progress", "output": [], "usage": None}
        yield event("response.created", response=bare)
        yield event("response.in_progress", response=bare)
        for at, item in enumerate(output):
            hollow = item | {"status": "in_progress"}
            if "arguments" in item:
                hollow["arguments"] = ""
            else:
                hollow["content"] = []
            yield event("response.output_item.added", output_index=at, item=hollow)
            for kind, data in _insides(item, size):
                yield event(kind, item_id=item["id"], output_index=at, **data)
            yield event("response.output_item.done", output_index=at, item=item)
        yield event("response.completed", response=full)

    def error(self, status: int, message: str) -> Json:
        return openai_error(status, message)


def _insides(item: Json, size: int) -> Iterator[tuple[str, Json]]:
    if "arguments" in item:
        for piece in pieces(item["arguments"], size):
            yield "response.function_call_arguments.delta", {"delta": piece}
        done = {"arguments": item["arguments"], "name": item["name"]}
        yield "response.function_call_arguments.done", done
        return
    part: Json = item["content"][0]
    where = {"content_index": 0}
    yield "response.content_part.added", where | {"part": part | {"text": ""}}
    for piece in pieces(part["text"], size):
        yield "response.output_text.delta", where | {"delta": piece, "logprobs": []}
    yield "response.output_text.done", where | {"text": part["text"], "logprobs": []}
    yield "response.content_part.done", where | {"part": part}


def _output(reply: Reply) -> list[Json]:
    if not reply.calls:
        part: Json = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
        message = {"type": "message", "id": _id("msg"), "status": "completed", "role": "assistant"}
        return [message | {"content": [part]}]
    return [
        {
            "type": "function_call",
            "id": _id("fc"),
            "call_id": _id("call"),
            "name": call.name,
            "arguments": call.arguments,
            "status": "completed",
        }
        for call in reply.calls
    ]


def _id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"


def _response(ask: Ask, output: list[Json], reply: Reply) -> Json:
    body = ask.body
    return {
        "id": _id("resp"),
        "object": "response",
        "created_at": int(time.time()),
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": {},
        "model": ask.model,
        "output": output,
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "temperature": body.get("temperature", 1.0),
        "text": {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": ask.input_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": reply.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": ask.input_tokens + reply.output_tokens,
        },
    }
