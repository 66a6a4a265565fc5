"""Gemini generateContent and streamGenerateContent."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import cast

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

__all__ = ["Gemini"]

_ERRORS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}


class Gemini:
    """`POST .../models/{model}:generateContent` and `:streamGenerateContent`."""

    name = "gemini"

    def read(self, path: str, body: Json) -> Ask:
        contents = records(body.get("contents"))
        users = [text_of(c.get("parts")) for c in contents if c.get("role", "user") == "user"]
        texts = [text_of(c.get("parts")) for c in contents]
        system = text_of(mapping(body.get("systemInstruction")).get("parts"))
        model, _, method = path.rsplit("/", 1)[-1].partition(":")
        settings = mapping(body.get("generationConfig"))
        everything = "\n".join([system, *texts])
        return Ask(
            shape=self.name,
            model=model,
            prompt=question(users),
            tools=_tools(body),
            parallel=True,
            schema=mapping(settings.get("responseJsonSchema"))
            or mapping(settings.get("responseSchema"))
            or json_only_schema(everything),
            stream=method == "streamGenerateContent",
            input_tokens=tokens(everything),
            body=body,
        )

    def whole(self, ask: Ask, reply: Reply) -> Json:
        return _head(ask) | {
            "candidates": [_candidate(_parts(reply), last=True)],
            "usageMetadata": _usage(ask, reply.output_tokens),
        }

    def events(self, ask: Ask, reply: Reply, size: int) -> Iterator[bytes]:
        head = _head(ask)
        parts = _parts(reply) if reply.calls else [{"text": p} for p in pieces(reply.text, size)]
        for at, part in enumerate(parts, 1):
            last = at == len(parts)
            usage = _usage(ask, reply.output_tokens if last else at)
            candidate = _candidate([part], last=last)
            yield sse(head | {"candidates": [candidate], "usageMetadata": usage})

    def error(self, status: int, message: str) -> Json:
        name = _ERRORS.get(status, "INTERNAL")
        return {"error": {"code": status, "message": message, "status": name}}


def _tools(body: Json) -> tuple[Tool, ...]:
    found = [f for tool in records(body.get("tools")) for f in records(_declared(tool))]
    tools = tuple(
        Tool(str(f["name"]), mapping(f.get("parametersJsonSchema")) or mapping(f.get("parameters")))
        for f in found
    )
    calling = mapping(mapping(body.get("toolConfig")).get("functionCallingConfig"))
    if calling.get("mode") == "NONE":
        return ()
    allowed = cast("list[str]", calling.get("allowedFunctionNames") or [])
    return tuple(tool for tool in tools if not allowed or tool.name in allowed)


def _declared(tool: Json) -> object:
    return tool.get("functionDeclarations") or tool.get("function_declarations")


def _head(ask: Ask) -> Json:
    return {"modelVersion": ask.model, "responseId": uuid.uuid4().hex}


def _parts(reply: Reply) -> list[Json]:
    if not reply.calls:
        return [{"text": reply.text}]
    return [{"functionCall": {"name": c.name, "args": c.object()}} for c in reply.calls]


def _candidate(parts: list[Json], *, last: bool) -> Json:
    candidate: Json = {"content": {"parts": parts, "role": "model"}, "index": 0}
    return candidate | {"finishReason": "STOP"} if last else candidate


def _usage(ask: Ask, output_tokens: int) -> Json:
    return {
        "promptTokenCount": ask.input_tokens,
        "candidatesTokenCount": output_tokens,
        "totalTokenCount": ask.input_tokens + output_tokens,
    }
