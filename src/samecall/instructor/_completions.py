"""A provider's completion to bytes and back, as an object of the provider's own class.

Only the classes on the list below are ever made; an entry names one by its tag, never by a path.
Whether the copy equals the original is tried when it is stored, so a hit cannot differ.
"""

from __future__ import annotations

import importlib
import json
from functools import cache
from typing import Any, cast

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
    "fireworks.chat": ("fireworks.client.api", "ChatCompletionResponse"),
    "fireworks.chat1": (
        "fireworks.types.chat.completion_create_response",
        "CompletionCreateResponse",
    ),
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
    "openai.usage.completion": ("openai.types.completion_usage", "CompletionTokensDetails"),
    "openai.usage.prompt": ("openai.types.completion_usage", "PromptTokensDetails"),
    "writer.chat": ("writerai.types.chat_completion", "ChatCompletion"),
}
_TAGS = {place: tag for tag, place in _CLASSES.items()}

_GOOGLE = "google.genai"
_MADE = {"parsed"}  # by the SDK, out of the text
_PLAIN = "json"
_VALIDATED, _CONSTRUCTED, _SUMMED = "v", "c", "s"
_DETAILS = (
    ("completion_tokens_details", "openai.usage.completion"),
    ("prompt_tokens_details", "openai.usage.prompt"),
)


class Stored(msgspec.Struct, array_like=True, frozen=True):
    """An SDK object as bytes.

    way: how it is made again. marks, private: what it bears beside its fields. parsed: whether
    the SDK had put a parsed model on it (Google's `response.parsed`).
    """

    tag: str
    way: str
    data: bytes
    marks: dict[str, Any] = {}
    private: dict[str, Any] = {}
    parsed: bool = False


def pack(value: Any, model: Any = None) -> Stored:
    """The stored form of a completion or usage; raises `Unstorable` if a copy would differ.

    `model`: the response model, for a provider whose SDK parses too.
    """
    if type(value) is dict:
        return _pack_plain(cast("dict[str, Any]", value))
    tag = _tag(value)
    if tag is None or _class(tag) is not type(value):
        raise Unstorable(f"completions of {type(value).__qualname__} are not on the list")
    data = _dump(value)
    marks = {name: item for name, item in value.__dict__.items() if _is_mark(value, name, item)}
    held: dict[str, Any] = value.__pydantic_private__ or {}
    private = {name: item for name, item in held.items() if _is_plain(item)}
    parsed = tag == _GOOGLE and getattr(value, "parsed", None) is not None
    for way in (_VALIDATED, _CONSTRUCTED, _SUMMED):
        stored = Stored(tag, way, data, marks, private, parsed)
        try:
            copy = unpack(stored, model)
        except Undecodable:
            continue
        if copy == value and _dump(copy) == data:
            return stored
    raise Unstorable(f"this {type(value).__qualname__} does not come back equal from its JSON")


def unpack(stored: Stored, model: Any = None) -> Any:
    """A new object equal to the packed one; raises `Undecodable`."""
    if stored.tag == _PLAIN:
        return _loads(stored.data)
    if stored.tag not in _CLASSES:
        raise Undecodable(f"tag {stored.tag!r} is not on the list")
    cls = _class(stored.tag)
    if cls is None:
        raise Undecodable(f"the SDK of {stored.tag!r} is not installed")
    try:
        value = _made(cls, stored)
        value.__dict__.update(stored.marks)
        if stored.private:
            value.__pydantic_private__ = {**(value.__pydantic_private__ or {}), **stored.private}
        if stored.parsed:
            _parse(value, model)
    except (AttributeError, TypeError, ValueError) as error:
        why = f"no {cls.__qualname__} of this SDK version ({type(error).__name__})"
        raise Undecodable(why) from None
    return value


def _made(cls: type[BaseModel], stored: Stored) -> Any:
    if stored.way in (_VALIDATED, _SUMMED):
        value: Any = cls.model_validate_json(stored.data)
        if stored.way == _SUMMED:
            _sum_up(value.usage)
        return value
    if stored.way == _CONSTRUCTED:
        # what the SDK itself does with a reply that its types do not foresee
        return cls.model_construct(**_loads(stored.data))
    raise Undecodable(f"{stored.way!r} is no way to make a {cls.__qualname__}")


def _parse(value: Any, model: Any) -> None:
    # as the SDK does it: where the text does not fit, there is no parsed model
    try:
        value.parsed = model.model_validate_json(value.text)
    except ValidationError:
        value.parsed = None


def _sum_up(usage: Any) -> None:
    # adding up the usage of all attempts, instructor puts OpenAI's own classes into the usage of
    # an SDK (LiteLLM's) that has others
    for name, tag in _DETAILS:
        detail, cls = getattr(usage, name, None), _class(tag)
        if isinstance(detail, BaseModel) and cls is not None:
            setattr(usage, name, cls(**detail.model_dump(exclude_unset=True)))


@cache
def _class(tag: str) -> type[BaseModel] | None:
    module, name = _CLASSES[tag]
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return None
    return cls if isinstance(cls, type) and issubclass(cls, BaseModel) else None


def _tag(value: Any) -> str | None:
    return _TAGS.get((type(value).__module__, type(value).__qualname__))


def _dump(value: BaseModel) -> bytes:
    try:
        return value.__pydantic_serializer__.to_json(
            value,
            exclude_unset=True,
            by_alias=True,
            warnings=False,
            exclude=_MADE if _tag(value) == _GOOGLE else None,
        )
    except (TypeError, ValueError) as error:
        raise Unstorable(f"{type(value).__qualname__} has no JSON form: {error}") from None


def _is_mark(value: BaseModel, name: str, item: Any) -> bool:
    return name.startswith("_") and name not in type(value).model_fields and _is_plain(item)


def _is_plain(item: Any) -> bool:
    try:
        return bool(msgspec.json.decode(msgspec.json.encode(item)) == item)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return False


def _loads(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
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
