"""Answers as somebody can read them: bytes shown as JSON, wherever the same bytes come back of it.

{"json": ...}       JSON, compact       {"text": "..."}     any other text
{"msgpack": ...}    MessagePack; bytes in it are shown as {"$json": ...}, {"$text": ...} or
{"$base64": "..."}
{"base64": "..."}   what is none of these
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

import msgspec

__all__ = ["UNREADABLE", "hidden", "shown"]

UNREADABLE = (
    ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError,
    msgspec.MsgspecError,
)  # fmt: skip
"""What reading somebody's text may raise."""


def shown(data: bytes) -> dict[str, Any]:
    """The best form of `data` to read; `hidden` gives the same bytes again."""
    forms = (_as_json, _as_msgpack, _as_text)
    for form in forms:
        with suppress(*UNREADABLE):
            told = form(data)
            if hidden(json.loads(json.dumps(told))) == data:
                return told
    return {"base64": base64.b64encode(data).decode()}


def hidden(form: Mapping[str, Any]) -> bytes:
    """The bytes that `form` shows; raises one of `UNREADABLE`."""
    if "json" in form:
        return _compact(form["json"])
    if "msgpack" in form:
        return msgspec.msgpack.encode(_packed(form["msgpack"]))
    if "text" in form:
        return cast("str", form["text"]).encode()
    return base64.b64decode(form["base64"], validate=True)


def _as_json(data: bytes) -> dict[str, Any]:
    return {"json": json.loads(data.decode())}


def _as_text(data: bytes) -> dict[str, Any]:
    return {"text": data.decode()}


def _as_msgpack(data: bytes) -> dict[str, Any]:
    value = msgspec.msgpack.decode(data)
    if not isinstance(value, (dict, list)):  # a small number is one byte of anything
        raise TypeError
    return {"msgpack": _unpacked(value)}


def _unpacked(value: Any) -> Any:
    if isinstance(value, bytes):
        for form in (_as_json, _as_text):
            with suppress(*UNREADABLE):
                told = form(value)
                if hidden(told) == value:
                    return {f"${name}": item for name, item in told.items()}
        return {"$base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {name: _unpacked(item) for name, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_unpacked(item) for item in cast("list[object]", value)]
    return value


def _packed(value: Any) -> Any:
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value)
        if len(pairs) == 1 and next(iter(pairs)).startswith("$"):
            return hidden({name[1:]: item for name, item in pairs.items()})
        return {name: _packed(item) for name, item in pairs.items()}
    if isinstance(value, list):
        return [_packed(item) for item in cast("list[object]", value)]
    return value


def _compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
