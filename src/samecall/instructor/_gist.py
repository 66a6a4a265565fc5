"""The gist of a completion: the text in it that instructor's parser gives to the response model.

It is listened to once, when a completion is stored, with a class that hears what the parser says to
the model. A hit then reads the text, as the parser would, and makes the completion for who looks at
it. Only for models that run no code of their author's, so that nobody can tell the difference; and
only between equal versions of all that reads, so that what is made later cannot fail then.
"""

from __future__ import annotations

import threading
import types
from functools import lru_cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

import msgspec
from instructor.v2.core.registry import ModeHandlers
from instructor.v2.dsl.iterable import IterableBase
from instructor.v2.dsl.partial import PartialBase
from instructor.v2.dsl.simple_type import AdapterBase
from pydantic import BaseModel

from samecall.instructor._completions import Stored, unpack
from samecall.instructor._later import RAW, USAGE, Later, let_keep_promises
from samecall.instructor._mould import is_inert

__all__ = ["Gist", "Reader", "reader_of"]

_LONGEST = 4096
"""Characters: the text is stored twice, and beside a longer one the completion costs little."""
_OTHERS = (AdapterBase, IterableBase, PartialBase)  # what is given back is made of these
_HOOKS = frozenset({"__init_subclass__", "__pydantic_init_subclass__"})
_SDKS = {
    "anthropic": "anthropic",
    "cerebras": "cerebras-cloud-sdk",
    "cohere": "cohere",
    "fireworks": "fireworks-ai",
    "google": "google-genai",
    "groq": "groq",
    "json": "instructor",  # what Bedrock gives: plain dicts
    "litellm": "litellm",
    "mistral": "mistralai",
    "openai": "openai",
    "writer": "writer-sdk",
}


class Gist(msgspec.Struct, array_like=True, frozen=True):
    """What the parser said to the model. asked: the strictness that it was asked for."""

    text: bytes
    asked: bool | None
    strict: bool | None
    by: bytes
    """Which versions of all that reads it."""


class Reader:
    """Reads the gists of completions into one prepared model."""

    __slots__ = ("_heard", "_listener", "_lock", "_model", "_validate")

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model
        self._validate = model.__pydantic_validator__.validate_json
        self._lock = threading.Lock()
        self._heard: list[tuple[Any, dict[str, Any]]] = []
        self._listener: type[BaseModel] | None = None
        let_keep_promises(model)

    def listen(
        self, handlers: ModeHandlers, stored: Stored, value: Any, *, strict: bool | None
    ) -> Gist | None:
        """The gist of a completion that came to `value`; None: it is to be parsed each time."""
        by = _versions(stored.tag)
        if by is None or type(value) is not self._model:
            return None
        raw = unpack(stored, self._model)
        with self._lock:
            self._heard.clear()
            self._listener = self._listener or self._listening()
            handlers.response_parser(
                response=raw, response_model=self._listener, validation_context=None,
                strict=strict, stream=False, is_async=True,
            )  # fmt: skip
            heard = tuple(self._heard)
        match heard:
            case ((str(text), {"strict": None | bool() as given, **rest}),) if len(
                text
            ) <= _LONGEST and rest.keys() <= {"context"}:
                gist = Gist(text.encode(), strict, given, by)
            case _:
                return None
        read = self._validate(gist.text, strict=given)
        if read != value or read.model_fields_set != value.model_fields_set:
            return None
        return gist if raw == unpack(stored, self._model) else None

    def read(
        self, gist: Gist, raw: Stored, usage: Stored | None, *, strict: bool | None
    ) -> tuple[Any, Later, Later | None] | None:
        """The value, and promises of what hangs on it; None: the completion is to be parsed."""
        if gist.asked is not strict or gist.by != _versions(raw.tag):
            return None
        try:
            value: Any = self._validate(gist.text, strict=gist.strict)
        except ValueError:
            return None
        held = value.__dict__
        held[RAW] = completion = Later(unpack, raw, self._model)
        if usage is None:
            return value, completion, None
        held[USAGE] = total = Later(unpack, usage)
        return value, completion, total

    def _listening(self) -> type[BaseModel]:
        model, heard = self._model, self._heard

        def model_validate_json(
            _: type[BaseModel], /, json_data: str | bytes | bytearray, **options: Any
        ) -> BaseModel:
            heard.append((json_data, options))
            return model.model_validate_json(json_data, **options)

        listens = {
            "__module__": __name__,
            "__qualname__": model.__qualname__,
            "__doc__": model.__doc__,
            "model_validate_json": classmethod(model_validate_json),
        }
        made = types.new_class(model.__name__, (model,), {}, lambda body: body.update(listens))
        return cast("type[BaseModel]", made)


def reader_of(asked: Any, model: Any) -> Reader | None:
    """What reads gists into the class that instructor made of `asked`; None: nothing may."""
    if model is asked or not is_inert(model) or issubclass(model, _OTHERS):
        return None
    for base in model.__mro__[: model.__mro__.index(BaseModel)]:
        own = not base.__module__.startswith("instructor.")
        if {RAW, USAGE, "__slots__", "__getattr__", "__eq__"}.intersection(base.__dict__):
            return None
        if own and _HOOKS.intersection(base.__dict__):
            return None
    return Reader(model)


@lru_cache(64)
def _versions(tag: str) -> bytes | None:
    """Of all that reads a completion of this kind, in four bytes; None where that is not known."""
    sdk = _SDKS.get(tag.partition(".")[0])
    if sdk is None:
        return None
    try:
        names = ("instructor", "pydantic", "pydantic-core", "openai", sdk)
        told = " ".join(map(version, names))
    except PackageNotFoundError:
        return None
    return blake2b(told.encode(), digest_size=4).digest()
