"""OpenAI chat completions, and the many providers that speak it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

from samecall.testing.provider._ask import (
    Ask,
    Json,
    Reply,
    Tool,
    ToolCall,
    json_only_schema,
    mapping,
    pieces,
    question,
    records,
    sse,
    text_of,
    tokens,
)

__all__ = ["OpenAIChat", "chosen", "openai_error"]


class OpenAIChat:
    """`POST .../chat/completions`."""

    name = "openai-chat"

    def read(self, path: str, body: Json) -> Ask:
        messages = records(body.get("messages"))
        users = [text_of(m.get("content")) for m in messages if m.get("role") == "user"]
        everything = "\n".join(text_of(m.get("content")) for m in messages)
        return Ask(
            shape=self.name,
            model=str(body.get("model", "")),
            prompt=question(users),
            tools=_tools(body),
            parallel=mapping(body.get("tool_choice")) == {} and _parallel(body),
            schema=_schema(body, everything),
            fenced="```json codeblock" in everything,
            stream=body.get("stream") is True,
            stream_usage=mapping(body.get("stream_options")).get("include_usage") is True,
            input_tokens=tokens(everything),
            body=body,
        )

    def whole(self, ask: Ask, reply: Reply) -> Json:
        message: Json = {"role": "assistant", "content": reply.text or None, "refusal": None}
        if reply.calls:
            message["tool_calls"] = [_tool_call(call) for call in reply.calls]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": _finish(reply),
        }
        return _head("chat.completion", ask) | {"choices": [choice], "usage": _usage(ask, reply)}

    def events(self, ask: Ask, reply: Reply, size: int) -> Iterator[bytes]:
        head = _head("chat.completion.chunk", ask)

        def chunk(delta: Json, finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return sse(head | {"choices": [choice]})

        yield chunk({"role": "assistant", "content": "" if reply.text else None})
        for piece in pieces(reply.text, size):
            yield chunk({"content": piece})
        for at, call in enumerate(reply.calls):
            yield chunk({"tool_calls": [{"index": at, **_tool_call(ToolCall(call.name, ""))}]})
            for piece in pieces(call.arguments, size):
                yield chunk({"tool_calls": [{"index": at, "function": {"arguments": piece}}]})
        yield chunk({}, _finish(reply))
        if ask.stream_usage:
            yield sse(head | {"choices": [], "usage": _usage(ask, reply)})
        yield sse("[DONE]")

    def error(self, status: int, message: str) -> Json:
        return openai_error(status, message)


def openai_error(status: int, message: str) -> Json:
    """The error body of both OpenAI endpoints."""
    kind = "rate_limit_exceeded" if status == 429 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": kind}}


def chosen(tools: tuple[Tool, ...], choice: object, named: str | None) -> tuple[Tool, ...]:
    """The tools that may be called: the forced one, none, or all."""
    if choice == "none":
        return ()
    return tuple(tool for tool in tools if named in (None, tool.name)) or tools


def _tools(body: Json) -> tuple[Tool, ...]:
    functions = [mapping(tool.get("function")) for tool in records(body.get("tools"))]
    tools = tuple(Tool(str(f.get("name")), mapping(f.get("parameters"))) for f in functions)
    choice = body.get("tool_choice")
    named: Any = mapping(mapping(choice).get("function")).get("name")
    return chosen(tools, choice, named)


def _parallel(body: Json) -> bool:
    return body.get("parallel_tool_calls") is not False


def _schema(body: Json, everything: str) -> Json | None:
    wanted = mapping(body.get("response_format"))
    schema = mapping(mapping(wanted.get("json_schema")).get("schema")) or mapping(
        wanted.get("schema")
    )
    return schema or json_only_schema(everything)


def _head(kind: str, ask: Ask) -> Json:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": ask.model,
        "service_tier": "default",
        "system_fingerprint": "fp_samecall",
    }


def _tool_call(call: ToolCall) -> Json:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function}


def _finish(reply: Reply) -> str:
    return "tool_calls" if reply.calls else "stop"


def _usage(ask: Ask, reply: Reply) -> Json:
    return {
        "prompt_tokens": ask.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": ask.input_tokens + reply.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
