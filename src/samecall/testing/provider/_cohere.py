"""Cohere chat, version 2."""

from __future__ import annotations

import ast
import re
import uuid
from collections.abc import Iterator

from samecall.testing.provider._ask import (
    Ask,
    Json,
    Reply,
    json_only_schema,
    mapping,
    pieces,
    question,
    records,
    sse,
    text_of,
    tokens,
)

__all__ = ["Cohere"]

# Instructor asks Cohere in words only: the schema as a Python dict, or as JSON after "Schema:".
_AS_PYTHON = re.compile(r"json schema below\.\n(\{.*\})$", re.MULTILINE)
_AS_JSON = re.compile(r"^Schema: (?=\{)", re.MULTILINE)
_INSTRUCTION = ("Extract a valid", "Respond with JSON")


class Cohere:
    """`POST .../v2/chat`."""

    name = "cohere"

    def read(self, path: str, body: Json) -> Ask:
        messages = records(body.get("messages"))
        users = [text_of(m.get("content")) for m in messages if m.get("role") == "user"]
        everything = "\n".join(text_of(m.get("content")) for m in messages)
        wanted = mapping(body.get("response_format"))
        return Ask(
            shape=self.name,
            model=str(body.get("model", "")),
            prompt=question(text for text in users if not text.startswith(_INSTRUCTION)),
            schema=mapping(wanted.get("schema"))
            or mapping(wanted.get("json_schema"))
            or _schema(everything),
            stream=body.get("stream") is True,
            input_tokens=tokens(everything),
            body=body,
        )

    def whole(self, ask: Ask, reply: Reply) -> Json:
        return {
            "id": str(uuid.uuid4()),
            "finish_reason": "COMPLETE",
            "message": {"role": "assistant", "content": [{"type": "text", "text": reply.text}]},
            "usage": _usage(ask, reply),
        }

    def events(self, ask: Ask, reply: Reply, size: int) -> Iterator[bytes]:
        def event(kind: str, **data: object) -> bytes:
            return sse({"type": kind, **data}, kind)

        def delta(**message: object) -> Json:
            return {"message": message}

        yield event("message-start", id=str(uuid.uuid4()), delta=delta(role="assistant"))
        first = delta(content={"type": "text", "text": ""})
        yield event("content-start", index=0, delta=first)
        for piece in pieces(reply.text, size):
            yield event("content-delta", index=0, delta=delta(content={"text": piece}))
        yield event("content-end", index=0)
        last = {"finish_reason": "COMPLETE", "usage": _usage(ask, reply)}
        yield event("message-end", delta=last)

    def error(self, status: int, message: str) -> Json:
        return {"id": str(uuid.uuid4()), "message": message}


def _schema(text: str) -> Json | None:
    shown = _AS_PYTHON.search(text)
    if shown is None:
        return json_only_schema(_AS_JSON.sub("json_schema: ", text))
    try:
        schema: object = ast.literal_eval(shown[1])
    except (SyntaxError, ValueError):
        return None
    return mapping(schema) or None


def _usage(ask: Ask, reply: Reply) -> Json:
    counts = {"input_tokens": ask.input_tokens, "output_tokens": reply.output_tokens}
    return {"billed_units": counts, "tokens": counts}
