"""What distinguishes a type of data from another of the same name: the digest of its schema."""

from __future__ import annotations

import weakref
from typing import Any, get_args

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
    """Whether a msgspec Struct stands in `form`: a type, or an alias such as `list[Row]`."""
    if isinstance(form, type) and issubclass(form, msgspec.Struct):
        return True
    return any(has_struct(argument) for argument in get_args(form))


def _compute(form: Any) -> bytes:
    try:
        return digest_of(msgspec.json.schema(form)) if has_struct(form) else schema_digest(form)
    except (TypeError, Unkeyable):
        return _NONE
