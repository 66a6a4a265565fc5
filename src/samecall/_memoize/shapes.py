"""What distinguishes a type of data from another of the same name: the digest of its schema."""

from __future__ import annotations

import inspect
import weakref
from collections import abc
from dataclasses import is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from samecall._errors import Unkeyable
from samecall._key import digest_of, schema_digest

__all__ = ["has_struct", "shape_of"]

_NONE = b""
_known: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()


def shape_of(form: Any) -> bytes:
    """The digest of the JSON schema of a type that pydantic or msgspec knows; b"" of others."""
    if not isinstance(form, type):
        return _compute(form)
    if hasattr(form, "__pydantic_validator__"):
        return _compute(form)  # remembered there, until the class is rebuilt
    shape = _known.get(form)
    if shape is None:
        shape = _known[form] = _compute(form)
    return shape


def has_struct(form: Any) -> bool:
    """Whether a msgspec Struct stands in `form`: a type, a dataclass of some, a `list[Row]`."""
    return _has_struct(form, set())


def _has_struct(form: Any, seen: set[Any]) -> bool:
    kind: Any = get_origin(form) or form
    if inspect.isclass(kind) and kind not in seen:
        seen.add(kind)
        if issubclass(kind, msgspec.Struct):
            return True
        # one of pydantic's own is read by pydantic
        if is_dataclass(kind) and not hasattr(kind, "__pydantic_validator__"):
            return any(_has_struct(each, seen) for each in _hints(kind))
    return any(_has_struct(argument, seen) for argument in get_args(form))


def _hints(kind: type) -> abc.Collection[Any]:
    try:
        return get_type_hints(kind).values()
    except (NameError, TypeError, AttributeError):  # a name that only the type checker knows
        return ()


def _compute(form: Any) -> bytes:
    try:
        shape = digest_of(msgspec.json.schema(form)) if has_struct(form) else schema_digest(form)
    except (TypeError, Unkeyable):
        return _NONE
    found: list[str] = []
    outline = _outline(form, found)
    return digest_of((shape, outline)) if found else shape


def _outline(form: Any, found: list[str]) -> str:
    """Which of the containers stand where for which JSON has one word; their names in `found`.

    A list and a dict are what JSON says.
    """
    origin, arguments = get_origin(form), get_args(form)
    if origin is Annotated:
        return _outline(arguments[0], found)
    kind: Any = origin or form
    name = kind.__qualname__ if _is_untold(kind) else ""
    if name:
        found.append(name)
    return f"{name}[{','.join(_outline(each, found) for each in arguments)}]"


def _is_untold(kind: Any) -> bool:
    if not isinstance(kind, type) or issubclass(kind, (str, bytes)) or kind in (list, dict):
        return False
    return issubclass(kind, abc.Collection) or kind.__module__ == "collections.abc"
