"""A provider's completion, or an event of its stream, to bytes and back, in its own class.

Only the classes on the list below are ever made; an entry names one by its tag, never by a path.
Whether the copy equals the original is tried when it is stored, so a hit cannot differ.
"""

from __future__ import annotations

import importlib
import json
from functools import cache, lru_cache
from typing import Any, cast, get_args

import msgspec
from pydantic import BaseModel, ValidationError

from samecall._errors import Undecodable, Unstorable

__all__ = ["Stored", "make", "pack", "tag_of", "unpack"]

_CLASSES: dict[str, tuple[str, str]] = {
    "anthropic.message": ("anthropic.types.message", "Message"),
    "anthropic.usage": ("anthropic.types.usage", "Usage"),
    "cerebras.chat": (
        "cerebras.cloud.sdk.types.chat.chat_completion",
        "ChatCompletionResponse",
    ),
    "cerebras.chunk": ("cerebras.cloud.sdk.types.chat.chat_completion", "ChatChunkResponse"),
    "cohere.v1": ("cohere.types.non_streamed_chat_response", "NonStreamedChatResponse"),
    "cohere.v2": ("cohere.v2.types.v2chat_response", "V2ChatResponse"),
    "fireworks.chat": ("fireworks.client.api", "ChatCompletionResponse"),
    "fireworks.chat1": (
        "fireworks.types.chat.completion_create_response",
        "CompletionCreateResponse",
    ),
    "fireworks.chunk": ("fireworks.client.api", "ChatCompletionStreamResponse"),
    "google.genai": ("google.genai.types", "GenerateContentResponse"),
    "groq.chat": ("groq.types.chat.chat_completion", "ChatCompletion"),
    "groq.chunk": ("groq.types.chat.chat_completion_chunk", "ChatCompletionChunk"),
    "litellm.chat": ("litellm.types.utils", "ModelResponse"),
    "litellm.chunk": ("litellm.types.utils", "ModelResponseStream"),
    "mistral.chat": ("mistralai.models.chatcompletionresponse", "ChatCompletionResponse"),
    "mistral.chat2": (
        "mistralai.client.models.chatcompletionresponse",
        "ChatCompletionResponse",
    ),
    "mistral.chunk1": ("mistralai.models.completionevent", "CompletionEvent"),
    "mistral.chunk": ("mistralai.client.models.completionevent", "CompletionEvent"),
    "openai.chat": ("openai.types.chat.chat_completion", "ChatCompletion"),
    "openai.chunk": ("openai.types.chat.chat_completion_chunk", "ChatCompletionChunk"),
    "openai.response": ("openai.types.responses.response", "Response"),
    "openai.usage": ("openai.types.completion_usage", "CompletionUsage"),
    "openai.usage.completion": ("openai.types.completion_usage", "CompletionTokensDetails"),
    "openai.usage.prompt": ("openai.types.completion_usage", "PromptTokensDetails"),
    "writer.chat": ("writerai.types.chat_completion", "ChatCompletion"),
    "writer.chunk": ("writerai.types.chat_completion_chunk", "ChatCompletionChunk"),
}
_TAGS = {place: tag for tag, place in _CLASSES.items()}
# where an SDK's events are of many classes, the SDK itself has the list: a union
_UNIONS: dict[str, tuple[str, str]] = {
    "anthropic.event": ("anthropic.types.raw_message_stream_event", "RawMessageStreamEvent"),
    "anthropic.beta": (
        "anthropic.types.beta.beta_raw_message_stream_event",
        "BetaRawMessageStreamEvent",
    ),
    "cohere.event": ("cohere.v2.types.v2chat_stream_response", "V2ChatStreamResponse"),
    "openai.event": ("openai.types.responses.response_stream_event", "ResponseStreamEvent"),
}

_GOOGLE = "google.genai"
_LITELLM = "litellm."
_NOTED = "litellm.chunk"  # LiteLLM notes on a chunk how its call went, in objects without a form
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
    tag = tag_of(value)
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
        if _same(copy, value, tag) and _tells(copy, data):
            return stored
    raise Unstorable(f"this {type(value).__qualname__} does not come back equal from its JSON")


def _same(copy: Any, value: Any, tag: str) -> bool:
    if tag == _NOTED:
        value = value.model_copy()
        value.__pydantic_private__ = copy.__pydantic_private__
    return bool(copy == value)


def _tells(copy: BaseModel, data: bytes) -> bool:
    now = _dump(copy)
    return now == data or bool(_loads(now) == _loads(data))  # the order of names is no difference


def unpack(stored: Stored, model: Any = None) -> Any:
    """A new object equal to the packed one; raises `Undecodable`."""
    if stored.tag == _PLAIN:
        return _loads(stored.data)
    cls = _class(stored.tag)
    if cls is None:
        raise Undecodable(f"{stored.tag!r:.60} is not on the list, or its SDK is not installed")
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


def make(tag: str, told: dict[str, Any]) -> Any:
    """An object of the class with this tag, as its SDK makes it from JSON; `Undecodable`."""
    data = json.dumps(told).encode()
    try:
        return unpack(Stored(tag, _VALIDATED, data))
    except Undecodable:  # what the SDK's types do not foresee it makes in a way of its own, if any
        construct: Any = getattr(_class(tag), "model_construct", None)
        if getattr(construct, "__func__", None) is BaseModel.model_construct.__func__:  # type: ignore[attr-defined]
            raise
        return unpack(Stored(tag, _CONSTRUCTED, data))


def _made(cls: type[BaseModel], stored: Stored) -> Any:
    if stored.way in (_VALIDATED, _SUMMED):
        value: Any = cls.model_validate_json(stored.data)
        if stored.tag.startswith(_LITELLM):
            _put_back(value, _loads(stored.data))
        if stored.way == _SUMMED:
            _sum_up(value.usage)
        return value
    if stored.way == _CONSTRUCTED:
        # what the SDK itself does with a reply that its types do not foresee
        return cls.model_construct(**_loads(stored.data))
    raise Undecodable(f"{stored.way!r} is no way to make a {cls.__qualname__}")


def _put_back(value: BaseModel, told: dict[str, Any]) -> None:
    # what is None LiteLLM's objects drop as they are made, and may be given again afterwards
    held = value.__dict__
    for name, item in told.items():
        if name in held:
            mine: Any = held[name]
            several = isinstance(cast("object", mine), list)
            pairs: Any = zip(mine, item, strict=False) if several else ((mine, item),)
            for each, of in pairs:
                if isinstance(each, BaseModel) and isinstance(cast("object", of), dict):
                    _put_back(each, of)
        elif item is None and name in type(value).model_fields:
            setattr(value, name, None)


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


@lru_cache(512)
def _class(tag: str) -> type[BaseModel] | None:
    union, _, name = tag.partition("/")
    if name:
        return _members(union).get(name) if union in _UNIONS else None
    cls = _imported(*_CLASSES[tag]) if tag in _CLASSES else None
    return cls if isinstance(cls, type) and issubclass(cls, BaseModel) else None


@lru_cache(512)
def _tag_of(cls: type) -> str | None:
    tag = _TAGS.get((cls.__module__, cls.__qualname__))
    if tag is None:
        sdk = cls.__module__.partition(".")[0]
        unions = (union for union in _UNIONS if union.partition(".")[0] == sdk)
        tags = (f"{u}/{cls.__name__}" for u in unions if _members(u).get(cls.__name__) is cls)
        tag = next(tags, None)
    return tag


@cache
def _members(union: str) -> dict[str, type[BaseModel]]:
    form = get_args(_imported(*_UNIONS[union]))  # Annotated[Union[...], ...]
    members: tuple[Any, ...] = get_args(form[0]) if form else ()
    return {member.__name__: member for member in members if issubclass(member, BaseModel)}


def _imported(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return None


def tag_of(value: Any) -> str | None:
    """How the list names the class of `value`; None: it is not on it."""
    return _tag_of(cast("Any", type(value)))


def _dump(value: BaseModel) -> bytes:
    try:
        return value.__pydantic_serializer__.to_json(
            value,
            exclude_unset=True,
            by_alias=True,
            warnings=False,
            exclude=_MADE if tag_of(value) == _GOOGLE else None,
        )
    except (TypeError, ValueError) as error:
        raise Unstorable(
            f"{type(value).__qualname__} has no JSON form ({type(error).__name__})"
        ) from None


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
        raise Unstorable(
            f"a completion that is a dict has no JSON form ({type(error).__name__})"
        ) from None
    if not same:
        raise Unstorable("a completion that is a dict does not come back equal from its JSON")
    return Stored(_PLAIN, "", data)
