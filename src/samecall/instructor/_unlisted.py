"""Completions that are not on the list: what instructor documents for its own cache."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from instructor.v2.dsl.iterable import IterableBase
from instructor.v2.dsl.simple_type import AdapterBase
from pydantic import BaseModel

from samecall._errors import Unstorable

__all__ = ["held_as", "raw_of", "raw_text"]


def held_as(model: type[BaseModel], value: Any) -> BaseModel:
    """The instance of `model` that instructor gives back as `value`; raises `Unstorable`."""
    if issubclass(model, AdapterBase):
        return model.model_construct(content=value)
    if issubclass(model, IterableBase):
        return model.model_construct(tasks=list(value))
    if not isinstance(value, BaseModel):
        raise Unstorable(f"an answer of {type(value).__name__} has no stored form")
    return value


def raw_text(raw: Any) -> tuple[str, str]:
    """What is kept of a completion, and in which form, for `raw_of`."""
    if isinstance(raw, BaseModel):
        return "namespace", raw.__pydantic_serializer__.to_json(raw, warnings=False).decode()
    try:
        return "json", json.dumps(raw)
    except (TypeError, ValueError, RecursionError):
        return "text", str(raw)


def raw_of(form: str, text: str) -> Any:
    """What stands for the completion."""
    if form == "namespace":
        return json.loads(text, object_hook=lambda fields: SimpleNamespace(**fields))
    return json.loads(text) if form == "json" else text
