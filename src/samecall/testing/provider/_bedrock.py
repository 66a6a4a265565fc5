"""Amazon Bedrock's Converse, without its binary streams."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from urllib.parse import unquote

from samecall.testing.provider._ask import (
    Ask,
    Json,
    Reply,
    Tool,
    json_only_schema,
    mapping,
    question,
    records,
    text_of,
    tokens,
)
from samecall.testing.provider._openai_chat import chosen

__all__ = ["Bedrock"]

_SHOWN = re.compile(r"match the following json_schema:\s*")


class Bedrock:
    """`POST /model/{model}/converse`."""

    name = "bedrock"

    def read(self, path: str, body: Json) -> Ask:
        messages = records(body.get("messages"))
        users = [text_of(m.get("content")) for m in messages if m.get("role") == "user"]
        texts = [text_of(m.get("content")) for m in messages]
        everything = "\n".join([text_of(body.get("system")), *texts])
        return Ask(
            shape=self.name,
            model=unquote(path.split("/")[-2]),
            prompt=question(users),
            tools=_tools(mapping(body.get("toolConfig"))),
            schema=_schema(mapping(body.get("outputConfig")), everything),
            input_tokens=tokens(everything),
            body=body,
        )

    def whole(self, ask: Ask, reply: Reply) -> Json:
        output = reply.output_tokens
        return {
            "output": {"message": {"role": "assistant", "content": _content(reply)}},
            "stopReason": "tool_use" if reply.calls else "end_turn",
            "usage": {
                "inputTokens": ask.input_tokens,
                "outputTokens": output,
                "totalTokens": ask.input_tokens + output,
            },
            "metrics": {"latencyMs": 1},
        }

    def events(self, ask: Ask, reply: Reply, size: int) -> Iterator[bytes]:
        """None: a stream is asked for on another path, which is not served."""
        return iter(())

    def error(self, status: int, message: str) -> Json:
        return {"message": message}


def _tools(config: Json) -> tuple[Tool, ...]:
    specs = [mapping(tool.get("toolSpec")) for tool in records(config.get("tools"))]
    tools = tuple(
        Tool(str(spec.get("name")), mapping(mapping(spec.get("inputSchema")).get("json")))
        for spec in specs
    )
    choice = mapping(config.get("toolChoice"))
    return chosen(tools, None, mapping(choice.get("tool")).get("name"))


def _schema(config: Json, everything: str) -> Json | None:
    structure = mapping(mapping(config.get("textFormat")).get("structure"))
    written = mapping(structure.get("jsonSchema")).get("schema")
    if isinstance(written, str):
        return mapping(json.loads(written))
    return json_only_schema(_SHOWN.sub("json_schema: ", everything))


def _content(reply: Reply) -> list[Json]:
    if not reply.calls:
        return [{"text": reply.text}]
    return [
        {
            "toolUse": {
                "toolUseId": f"tooluse_{uuid.uuid4().hex[:22]}",
                "name": call.name,
                "input": call.object(),
            }
        }
        for call in reply.calls
    ]
