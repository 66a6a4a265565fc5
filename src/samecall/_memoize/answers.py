"""The stored form of a function's answers: one that comes back equal, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeAlias, get_args, get_origin

import msgspec
from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from samecall._codec import BaseCodec, PlainCodec
from samecall._entry import Payload
from samecall._errors import ConfigurationError, Unstorable
from samecall._memoize.hints import hint_of
from samecall._memoize.same import leave_unset, same, unset_in
from samecall._memoize.shapes import has_struct, shape_of
from samecall._ports import Codec
from samecall._stream import PlainStreamCodec

__all__ = [
    "AnswersCodec",
    "ItemsCodec",
    "WholeCodec",
    "codec_for",
    "codec_of",
    "item_of",
    "result_of",
]

_PLAIN = PlainCodec()
_EXT = 1
_STAYS = frozenset({str, int, float, bool, bytes, type(None)})
_form = msgspec.msgpack.Decoder(tuple[str, bytes])
_UNSET = "+unset"  # behind a tag: fields that nobody has set stand beside the data
_with_unset = msgspec.msgpack.Decoder(tuple[bytes, list[list[str]]])
_Form: TypeAlias = tuple[Callable[[Any], bytes], Callable[[bytes], Any]]


class AnswersCodec(BaseCodec[Any]):
    """Plain data as it is; pydantic models, dataclasses and msgspec Structs, and what is made up of
    them, by the type `result`.

    An answer that would not come back equal is not stored, so a hit equals a miss.
    """

    __slots__ = ("_forms", "_type", "schema")

    def __init__(self, result: Any) -> None:
        self._type = result
        self.schema = shape_of(result)
        """What separates answers of this type from those of the same name in another shape."""
        self._forms: dict[str, _Form]
        if get_origin(result) is Iterable:  # which instructor answers with a list
            result = list[get_args(result)]  # type: ignore[misc]
        if has_struct(result):
            self._forms = {"struct": (_packed, msgspec.msgpack.Decoder(result).decode)}
        else:
            self._forms = _by_pydantic(result)

    def encode(self, value: Any) -> Payload:
        """MessagePack; raises `Unstorable` for what would come back as something else."""
        try:
            return _PLAIN.encode(value)
        except Unstorable:
            pass
        why: list[Exception | None] = []
        for tag, (dump, read) in self._forms.items():
            try:
                data = dump(value)
                if same(value, read(data)):
                    return _payload(tag, data, value)
            except Exception as error:  # noqa: BLE001 - of somebody's own validator or serializer
                why.append(error)
            else:
                why.append(None)
        raise self._unstorable(value, why[0])

    def _unstorable(self, value: Any, fault: Exception | None) -> Unstorable:
        told = f"an answer of type {type(value).__name__}"
        if fault is None:
            return Unstorable(f"{told} would not come back equal")
        why = f"has no stored form as {self._type!r:.80} ({type(fault).__name__})"
        return Unstorable(f"{told} {why}")

    def decode(self, payload: Payload) -> Any:
        """A new object; raises `Undecodable`, or what a validator raises."""
        tag, data, unset = payload.tag.removesuffix(_UNSET), payload.data, None
        form = self._forms.get(tag)
        if form is None:
            return _PLAIN.decode(payload)
        if tag != payload.tag:
            data, unset = _with_unset.decode(data)
        value = form[1](data)
        return value if unset is None else leave_unset(value, unset)


def _payload(tag: str, data: bytes, value: Any) -> Payload:
    unset = unset_in(value)
    if not unset:
        return Payload(tag, data)
    return Payload(tag + _UNSET, msgspec.msgpack.encode((data, unset)))


class ItemsCodec(PlainStreamCodec):
    """A stream of what a codec of answers stores; whole, it is stored like one of plain items."""

    def __init__(self, codec: Codec[Any]) -> None:
        self._codec = codec

    def stays(self, item: Any) -> bool:
        """Whether an item is the same for ever: a generator may go on with what it has yielded."""
        return type(item) in _STAYS

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


class WholeCodec(BaseCodec[list[Any]]):
    """A stored stream at once: the list of its items."""

    def __init__(self, items: ItemsCodec) -> None:
        self._items = items

    def decode(self, payload: Payload) -> list[Any]:
        """New items; raises what the codec of items raises."""
        chunks, _ = self._items.unpack(payload)
        return [self._items.decode(chunk) for chunk in chunks]


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
    return hint_of(function, "return")


def item_of(result: object) -> object:
    """What a function that says it returns an async iterator yields; `Any` if it does not say."""
    arguments = get_args(result)
    if get_origin(result) is Annotated:
        return item_of(arguments[0])
    return arguments[0] if arguments else Any


def _by_pydantic(result: Any) -> dict[str, _Form]:
    adapter: TypeAdapter[Any] = TypeAdapter(result)

    def dump(value: Any) -> bytes:
        return _packed(
            adapter.dump_python(value, round_trip=True, by_alias=False, warnings="error")
        )

    def read(data: bytes) -> Any:
        held = msgspec.msgpack.decode(data)
        return adapter.validate_python(held, by_alias=False, by_name=True)

    def dump_json(value: Any) -> bytes:
        return adapter.dump_json(value, round_trip=True, by_alias=False, warnings="error")

    def read_json(data: bytes) -> Any:
        return adapter.validate_json(data, by_alias=False, by_name=True)

    # strict models take a moment as text from JSON alone; models in a set are no dicts there
    return {"typed": (dump, read), "json": (dump_json, read_json)}


def _packed(value: Any) -> bytes:
    return msgspec.msgpack.encode(value, enc_hook=to_jsonable_python)
