"""An ask and a behaviour become what the model says."""

from __future__ import annotations

import json
from typing import Any

from samecall.testing.provider._ask import Ask, Json, Reply, Tool, ToolCall, mapping
from samecall.testing.provider._behaviour import Answer
from samecall.testing.provider._instance import instance

__all__ = ["compose", "garble"]


def compose(ask: Ask, answer: Answer | None) -> Reply:
    """The explicit answer, else an instance of the wanted schema, seeded by the prompt."""
    if answer is not None and answer.calls:
        return Reply(calls=tuple(ToolCall(name, _text(value)) for name, value in answer.calls))
    if ask.tools:
        return Reply(calls=tuple(ToolCall(*pair) for pair in _called(ask, answer)))
    if answer is not None:
        return Reply(text=_fenced(ask, _text(answer.value)))
    if ask.schema is not None:
        return Reply(text=_fenced(ask, _text(instance(ask.schema, ask.prompt))))
    return Reply(text=f"You asked: {ask.prompt}")


def garble(ask: Ask) -> Reply:
    """What does not fit the schema: every field an object of the wrong form, or broken JSON."""
    if ask.tools:
        tool = ask.tools[0]
        return Reply(calls=(ToolCall(tool.name, _text(_wrong(tool.schema))),))
    wrong = _wrong(ask.schema or {})
    return Reply(text=_fenced(ask, _text(wrong)) if wrong else '{"malformed": ')


def _wrong(schema: Json) -> Json:
    return {name: {"malformed": None} for name in mapping(schema.get("properties"))}


def _called(ask: Ask, answer: Answer | None) -> list[tuple[str, str]]:
    tools = ask.tools if ask.parallel and answer is None else ask.tools[:1]
    return [(tool.name, _arguments(ask, tool, answer)) for tool in tools]


def _arguments(ask: Ask, tool: Tool, answer: Answer | None) -> str:
    return _text(instance(tool.schema, ask.prompt) if answer is None else answer.value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _fenced(ask: Ask, text: str) -> str:
    return f"```json\n{text}\n```" if ask.fenced else text
