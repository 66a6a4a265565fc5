"""A provider's completion to bytes and back, as an object of the provider's own class.

Only the classes on the list below are ever made; an entry names one by its tag, never by a path.
Whether the copy equals the original is tried when it is stored, so a hit cannot differ.
"""

from __future__ import annotations

import importlib
import json
from functools import cache
from typing import Any

import msgspec
from pydantic import BaseModel, ValidationError

from samecall._errors import Undecodable, Unstorable

__all__ = ["Stored", "pack", "unpack"]

_CLASSES: dict[str, tuple[str, str]] = {
    "anthropic.message": ("anthropic.types.message", "Message"),
    "anthropic.usage": ("anthropic.types.usage", "Usage"),
    "cerebras.chat": (
        "cerebras.cloud.sdk.types.chat.chat_completion",
        "ChatCompletionResponse",
    ),
    "cohere.v1": ("cohere.types.non_streamed_chat_response", "NonStreamedChatResponse"),
    "cohere.v2": ("cohere.v2.types.v2chat_response", "V2ChatResponse"),
    "google.genai": ("google.genai.types", "GenerateContentResponse"),
    "groq.chat": ("groq.types.chat.chat_completion", "ChatCompletion"),
    "litellm.chat": ("litellm.types.utils", "ModelResponse"),
    "mistral.chat": ("mistralai.models.chatcompletionresponse", "ChatCompletionResponse"),
    "mistral.chat2": (
        "mistralai.client.models.chatcompletionresponse",
        "ChatCompletionResponse",
    ),
    "openai.chat": ("openai.types.chat.chat_completion", "ChatCompletion"),
    "openai.response": ("openai.types.responses.response", "Response"),
    "openai.usage": ("openai.types.completion_usage", "CompletionUsage"),
    "writer.chat": ("writerai.types.chat_completion", "ChatCompletion"),
}
_TAGS = {place: tag for tag, place in _CLASSES.items()}

_PLAIN = "json"
_VALIDATED, _CONSTRUCTED = "v", "c"


class Stored(msgspec.Struct, array_like=True, frozen=True):
    """An SDK object as bytes. `way`: how it is made again; `marks`: what it bears beside fields."""

    tag: str
    way: str
    data: bytes
    marks: dict[str, str] = {}


def pack(value: Any) -> Stored:
    """The stored form of a completion or usage; raises `Unstorable` if a copy would differ."""
    if type(value) is dict:
        return _pack_plain(value)
    tag = _TAGS.get((type(value).__module__, type(value).__qualname__))
    if tag is None or _class(tag) is not type(value):
        raise Unstorable(f"completions of {type(value).__qualname__} are not on the list")
    data = _dump(value)
    marks = _marks(value)
    for way in (_VALIDATED, _CONSTRUCTED):
        stored = Stored(tag, way, data, marks)
        try:
            copy = unpack(stored)
        except (Undecodable, TypeError, ValueError):
            continue
        if copy == value and _dump(copy) == data:
            return stored
    raise Unstorable(f"this {type(value).__qualname__} does not come back equal from its JSON")


def unpack(stored: Stored) -> Any:
    """A new object equal to the packed one; raises `Undecodable`."""
    if stored.tag == _PLAIN:
        return _loads(stored.data)
    if stored.tag not in _CLASSES:
        raise Undecodable(f"tag {stored.tag!r} is not on the list")
    cls = _class(stored.tag)
    if cls is None:
        raise Undecodable(f"the SDK of {stored.tag!r} is not installed")
    if stored.way == _VALIDATED:
        try:
            value: Any = cls.model_validate_json(stored.data)
        except ValidationError:
            raise Undecodable(f"no {cls.__qualname__} of this SDK version") from None
    elif stored.way == _CONSTRUCTED:
        # what the SDK itself does with a reply that its types do not foresee
        value = cls.model_construct(**_loads(stored.data))
    else:
        raise Undecodable(f"{stored.way!r} is no way to make a {cls.__qualname__}")
    value.__dict__.update(stored.marks)
    return value


@cache
def _class(tag: str) -> type[BaseModel] | None:
    module, name = _CLASSES[tag]
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return None
    return cls if isinstance(cls, type) and issubclass(cls, BaseModel) else None


def _dump(value: BaseModel) -> bytes:
    try:
        text = value.__pydantic_serializer__.to_json(
            value, exclude_unset=True, by_alias=True, warnings=False
        )
    except (TypeError, ValueError) as error:
        raise Unstorable(f"{type(value).__qualname__} has no JSON form: {error}") from None
    return text


def _marks(value: BaseModel) -> dict[str, str]:
    mark = value.__dict__.get("_request_id")
    return {"_request_id": mark} if isinstance(mark, str) else {}


def _loads(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise Undecodable(f"no JSON: {error}") from None


def _pack_plain(value: dict[str, Any]) -> Stored:
    try:
        data = json.dumps(value, allow_nan=False).encode()
        same = json.loads(data) == value
    except (TypeError, ValueError, RecursionError) as error:
        raise Unstorable(f"a completion that is a dict has no JSON form: {error}") from None
    if not same:
        raise Unstorable("a completion that is a dict does not come back equal from its JSON")
    return Stored(_PLAIN, "", data)
