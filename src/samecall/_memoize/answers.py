"""The stored form of a function's answers: one that comes back equal, or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import msgspec
from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from samecall._codec import BaseCodec, PlainCodec
from samecall._entry import Payload
from samecall._errors import ConfigurationError, Unkeyable, Unstorable
from samecall._key import digest_of
from samecall._memoize.shapes import has_struct, shape_of
from samecall._ports import Codec
from samecall._stream import PlainStreamCodec

__all__ = ["AnswersCodec", "ItemsCodec", "codec_for", "codec_of", "item_of", "result_of"]

_PLAIN = PlainCodec()
_EXT = 1
_form = msgspec.msgpack.Decoder(tuple[str, bytes])


class AnswersCodec(BaseCodec[Any]):
    """Plain data as it is; pydantic models, dataclasses and msgspec Structs, and what is made up of
    them, by the type `result`.

    An answer that would not come back equal is not stored, so a hit equals a miss.
    """

    __slots__ = ("_dump", "_read", "_tag", "_type", "schema")

    def __init__(self, result: Any) -> None:
        self._type = result
        self._dump: Callable[[Any], Any]
        self._read: Callable[[bytes], Any]
        self._tag = "struct" if has_struct(result) else "typed"
        if self._tag == "struct":
            self._dump, self._read = _itself, msgspec.msgpack.Decoder(result).decode
        else:
            self._dump, self._read = _by_pydantic(result)
        self.schema = shape_of(result)
        """What separates answers of this type from those of the same name in another shape."""

    def encode(self, value: Any) -> Payload:
        """MessagePack; raises `Unstorable` for what would come back as something else."""
        try:
            return _PLAIN.encode(value)
        except Unstorable:
            pass
        try:
            data = msgspec.msgpack.encode(self._dump(value), enc_hook=to_jsonable_python)
            equal = _same(value, self._read(data))
        except Exception as error:  # of somebody's own validator or serializer
            why = f"has no stored form as {self._type!r:.80} ({type(error).__name__})"
            raise Unstorable(f"an answer of type {type(value).__name__} {why}") from error
        if not equal:
            raise Unstorable(f"an answer of type {type(value).__name__} would not come back equal")
        return Payload(self._tag, data)

    def decode(self, payload: Payload) -> Any:
        """A new object; raises `Undecodable`, or what a validator raises."""
        if payload.tag == self._tag:
            return self._read(payload.data)
        return _PLAIN.decode(payload)


class ItemsCodec(PlainStreamCodec):
    """A stream of what a codec of answers stores; whole, it is stored like one of plain items."""

    def __init__(self, codec: Codec[Any]) -> None:
        self._codec = codec

    def encode(self, item: Any) -> bytes:
        """MessagePack; what is no plain data stands in an extension of its own."""
        payload = self._codec.encode(item)
        if payload.tag == "plain":
            return payload.data
        form = msgspec.msgpack.encode((payload.tag, payload.data))
        return msgspec.msgpack.encode(msgspec.msgpack.Ext(_EXT, form))

    def decode(self, chunk: bytes) -> Any:
        """A new item; raises what the codec of answers raises."""
        held = msgspec.msgpack.decode(chunk)
        if not isinstance(held, msgspec.msgpack.Ext):
            return held
        return self._codec.decode(Payload(*_form.decode(held.data)))


def codec_of(result: object) -> AnswersCodec | PlainCodec:
    """What stores answers of type `result`; plain data alone for what is no type of data."""
    try:
        return codec_for(result)
    except ConfigurationError:
        return _PLAIN


def codec_for(result: object) -> AnswersCodec | PlainCodec:
    """What stores answers of type `result`; `ConfigurationError` for what is no type of data."""
    if result is Any or result is object:
        return _PLAIN
    try:
        return AnswersCodec(result)
    except Exception as error:
        raise ConfigurationError(
            "codec takes a Codec, or a type of pydantic models, msgspec Structs, dataclasses or "
            f"plain data; {result!r:.80} is none ({type(error).__name__})"
        ) from error


def result_of(function: Callable[..., Any]) -> object:
    """The type that a function says it returns; `Any` if it says nothing that can be resolved."""
    try:
        return get_type_hints(function, include_extras=True).get("return", Any)
    except (NameError, TypeError, AttributeError):  # a name that only the type checker knows
        return Any


def item_of(result: object) -> object:
    """What a function that says it returns an async iterator yields; `Any` if it does not say."""
    arguments = get_args(result)
    return arguments[0] if arguments else Any


def _by_pydantic(result: Any) -> tuple[Callable[[Any], Any], Callable[[bytes], Any]]:
    adapter: TypeAdapter[Any] = TypeAdapter(result)

    def dump(value: Any) -> Any:
        return adapter.dump_python(value, round_trip=True, by_alias=False, warnings="error")

    def read(data: bytes) -> Any:
        held = msgspec.msgpack.decode(data)
        return adapter.validate_python(held, by_alias=False, by_name=True)

    return dump, read


def _itself(value: Any) -> Any:
    return value


def _same(one: Any, other: Any) -> bool:
    """Equal, and of the same classes all the way down as far as that can be told."""
    if type(one) is not type(other) or one != other:
        return False
    try:
        return digest_of(one) == digest_of(other)
    except Unkeyable:
        return True
