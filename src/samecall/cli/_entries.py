"""Entries as people read them."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec

from samecall._entry import Entry, Key
from samecall._envelopes import PLAIN, Envelopes
from samecall._errors import Undecodable
from samecall.cli._trouble import ExitCode, Trouble

__all__ = ["Line", "find", "key_in", "keys", "line_of", "readable"]

_LEAST_PREFIX = 4
_DIGEST = 64
_DEPTH = 50


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry without its content; seconds, bytes and tokens."""

    key: str
    namespace: str
    age: float = 0.0
    left: float = 0.0
    bytes: int = 0
    form: str = ""
    model: str = ""
    provider: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    call_seconds: float = 0.0
    unreadable: str = ""
    forgotten: bool = False


def line_of(
    key: Key, data: bytes, left: float, envelopes: Envelopes = PLAIN
) -> tuple[Line, Entry | None]:
    """What is told of an entry, and the entry itself if it can be read."""
    try:
        entry = envelopes.read(key, data, left=left, now=0.0)
    except Undecodable as error:
        told = Line(
            key=key.hex, namespace=key.namespace, left=left, bytes=len(data), unreadable=str(error)
        )
        return told, None
    spent = entry.payload.spent
    told = Line(
        key=key.hex,
        namespace=key.namespace,
        age=round(max(0.0, -entry.born), 3),
        left=round(left, 3),
        bytes=len(data),
        form=entry.payload.tag,
        model=spent.model if spent is not None else "",
        provider=spent.provider if spent is not None else "",
        input_tokens=spent.input if spent is not None else 0,
        output_tokens=spent.output if spent is not None else 0,
        call_seconds=round(entry.cost, 3),
    )
    return told, entry


def key_in(text: str, namespace: str) -> Key | None:
    """The key whose 64 digits are all given; None for the beginning of one. Raises `Trouble`."""
    digits = text.lower()
    if not _LEAST_PREFIX <= len(digits) <= _DIGEST or set(digits) - set("0123456789abcdef"):
        raise Trouble(
            f"KEY takes {_LEAST_PREFIX} to {_DIGEST} hexadecimal digits, as ls prints them; "
            f"got {text!r:.80}",
            ExitCode.USAGE,
        )
    return Key(bytes.fromhex(digits), namespace) if len(digits) == _DIGEST else None


async def find(store: Any, text: str, namespace: str) -> Key:
    """The one key that begins with these digits; raises `Trouble` for none and for several."""
    whole = key_in(text, namespace)
    if whole is not None:
        return whole
    found: set[Key] = set()
    async for key in keys(store, namespace, text.lower()):
        found.add(key)
        if len(found) > 1:
            raise Trouble(
                f"several keys in {namespace!r} begin with {text}: give more digits",
                ExitCode.FAILED,
            )
    if not found:
        raise Trouble(f"no key in {namespace!r} begins with {text}", ExitCode.FAILED)
    return found.pop()


def keys(store: Any, namespace: str, digits: str = "") -> AsyncIterator[Key]:
    """The keys of a namespace that begin so, without their values where the store can do that."""
    of: Any = getattr(store, "keys", None)
    return _walked(store, namespace, digits) if of is None else of(namespace, digits)


async def _walked(store: Any, namespace: str, digits: str) -> AsyncIterator[Key]:
    walk = cast("AsyncIterator[tuple[Key, Any]]", store.walk(namespace))
    async for key, _ in walk:
        if key.hex.startswith(digits):
            yield key


def readable(data: bytes) -> Any:
    """Whatever the bytes are, as JSON data: MessagePack, JSON inside, text, or base64."""
    try:
        return _plain(msgspec.msgpack.decode(data), _DEPTH)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _from_bytes(data)


def _plain(value: Any, depth: int) -> Any:
    if depth == 0:
        return "..."
    whole = value  # what a type checker makes of a case holds for one name only
    match value:
        case bytes():
            return _from_bytes(value)
        case list() | tuple():
            return [_plain(each, depth - 1) for each in cast("list[Any]", value)]
        case dict():
            return {str(name): _plain(each, depth - 1) for name, each in whole.items()}
        case str() | int() | float() | bool() | None:
            return value
        case _:
            return str(value)


def _from_bytes(data: bytes) -> Any:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
