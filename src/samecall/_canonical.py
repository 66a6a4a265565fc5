"""The canonical form of a call's arguments: equal questions give equal bytes, others never do.

Every value is written as a tag, a length and a content, so no two values share a form. What is
one value and what is two:

- `1`, `True`, `1.0` and `"1"` are four; `"a"` and `b"a"` two; bytes and bytearray one.
- A list and a tuple of the same items are one, in their order; a set and a frozenset are one,
  in any order, and not a list. Dicts are one in any order.
- `-0.0` is `0.0`; all NaN are one; `Decimal("1.0")` and `Decimal("1")` are two, as they print.
- Subclasses of the builtin types are what they are sent as: their base.
- An enum member, model, Struct or dataclass counts with the qualified name of its class (not its
  module, which is `__main__` in one process and imported in the next) and its content: the value,
  or all fields and extras. Which fields were set explicitly does not count.
- A moment counts as its ISO text and the key of its `ZoneInfo`; a path as its text with "/".
"""

from __future__ import annotations

import dataclasses
import enum
import struct
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from operator import itemgetter
from pathlib import PurePath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from pydantic import AnyUrl, BaseModel, SecretBytes, SecretStr
from pydantic_core import MultiHostUrl, Url

from samecall._errors import Unkeyable

__all__ = ["MAX_DEPTH", "Out", "canonical"]

MAX_DEPTH = 100
"""Containers within containers; more is refused, and so is every cycle."""
_MOST = 2**21
"""Values in one call; a few shared lists within lists can stand for more than any memory."""

_Step = str | int

_first = itemgetter(0)
_float = struct.Struct(">d").pack
_NAN = b"f\x7f\xf8" + bytes(6)
_names: dict[str, bytes] = {}
_NAMES_KEPT = 4_096
_NAME_LENGTH = 64


class Out(list[bytes]):
    """The pieces of a form; `spent[0]` counts the values of the whole call so far."""

    __slots__ = ("spent",)

    def __init__(self, spent: list[int]) -> None:
        self.spent = spent

    def inner(self) -> Out:
        """Pieces of a part that is sorted before it is written."""
        return Out(self.spent)


class _Unfit(Exception):
    """A value without a form; the containers around it add their steps, innermost first."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.steps: list[_Step] = []

    def path(self) -> str:
        text = ""
        for step in reversed(self.steps):
            if isinstance(step, str):
                text += f".{step}" if text else step
            else:
                text += f"[{step}]"
        return text or "the value"


def canonical(value: object) -> bytes:
    """The canonical form of `value`; raises `Unkeyable` with the path of what has none."""
    out = Out([0])
    try:
        _put(value, out, 0)
    except _Unfit as unfit:
        raise Unkeyable(unfit.path(), unfit.why) from unfit.__cause__
    except RecursionError:
        raise Unkeyable("the value", "nested too deeply for the stack that is left") from None
    except RuntimeError as error:
        raise Unkeyable("the value", f"it changed while it was read ({error})") from error
    return b"".join(out)


def _put(value: Any, out: Out, depth: int) -> None:
    """Append the form of `value`; exact types first, which is nearly every call."""
    kind = type(value)
    if kind is str:
        raw = value.encode("utf-8", "surrogatepass")
        out.append(b"s%d:" % len(raw))
        out.append(raw)
    elif kind is dict:
        _put_dict(value, out, depth)
    elif kind is list or kind is tuple:
        _put_list(value, out, depth)
    elif value is None:
        out.append(b"n")
    elif value is True:
        out.append(b"t")
    elif value is False:
        out.append(b"u")
    elif kind is int:
        out.append(b"i%x;" % value)  # hexadecimal has no limit of digits
    elif kind is float:
        out.append(_NAN if value != value else b"f" + _float(value + 0.0))  # noqa: PLR0124
    else:
        _put_other(value, out, depth)


def _name(name: str) -> bytes:
    """The form of a dict's key or a field's name; the common ones are kept."""
    form = _names.get(name)
    if form is None:
        raw = name.encode("utf-8", "surrogatepass")
        form = b"s%d:%s" % (len(raw), raw)
        if len(name) <= _NAME_LENGTH and len(_names) < _NAMES_KEPT:
            _names[name] = form
    return form


def _descend(size: int, out: Out, depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise _Unfit(f"more than {MAX_DEPTH} containers within each other, or a cycle")
    spent = out.spent
    spent[0] += size
    if spent[0] > _MOST:
        raise _Unfit(f"more than {_MOST} values")
    return depth + 1


def _put_list(value: Any, out: Out, depth: int) -> None:
    depth = _descend(len(value), out, depth)
    out.append(b"l%d:" % len(value))
    index = 0
    try:
        for index, item in enumerate(value):  # noqa: B007 - told to the error
            _put(item, out, depth)
    except _Unfit as unfit:
        unfit.steps.append(index)
        raise


def _put_dict(value: Any, out: Out, depth: int) -> None:
    depth = _descend(len(value), out, depth)
    pairs: list[tuple[bytes, Any, Any]] = []
    for key, item in value.items():
        if type(key) is not str:
            _put_odd_dict(value, out, depth)
            return
        pairs.append((_names.get(key) or _name(key), key, item))
    pairs.sort(key=_first)  # by their forms, which are unique: never by the items
    out.append(b"d%d:" % len(pairs))
    key = None
    try:
        for form, key, item in pairs:  # noqa: B007 - told to the error
            out.append(form)
            _put(item, out, depth)
    except _Unfit as unfit:
        unfit.steps.append(key)
        raise


def _put_odd_dict(value: Any, out: Out, depth: int) -> None:
    """A dict with keys that are not all str: in the order of their pairs' forms."""
    pairs: list[bytes] = []
    key: Any = None
    try:
        for key, item in value.items():
            pair = out.inner()
            _put(key, pair, depth)
            _put(item, pair, depth)
            pairs.append(b"".join(pair))
    except _Unfit as unfit:
        unfit.steps.append(_step(key))
        raise
    out.append(b"d%d:" % len(pairs))
    out.extend(sorted(pairs))


def _step(key: object) -> _Step:
    if isinstance(key, (str, int)):
        return key
    return f"<{type(key).__name__}>"


def _put_set(value: Any, out: Out, depth: int) -> None:
    depth = _descend(len(value), out, depth)
    forms: list[bytes] = []
    try:
        for item in value:
            form = out.inner()
            _put(item, form, depth)
            forms.append(b"".join(form))
    except _Unfit as unfit:
        unfit.steps.append("<item>")
        raise
    out.append(b"S%d:" % len(forms))
    out.extend(sorted(forms))


def _put_fields(tag: bytes, value: Any, fields: dict[str, Any], out: Out, depth: int) -> None:
    out.append(tag)
    out.append(_name(type(value).__qualname__))
    _put_dict(fields, out, depth)


def _put_raw(tag: bytes, raw: bytes, out: Out) -> None:
    out.append(b"%s%d:" % (tag, len(raw)))
    out.append(raw)


def _put_text(tag: bytes, text: str, out: Out) -> None:
    _put_raw(tag, text.encode("utf-8", "surrogatepass"), out)


# --- the rarer types --------------------------------------------------------------------------


def _put_enum(value: Any, out: Out, depth: int) -> None:
    out.append(b"E")
    out.append(_name(type(value).__qualname__))
    _put(value.value, out, _descend(1, out, depth))


def _put_model(value: Any, out: Out, depth: int) -> None:
    held = value.__dict__  # a cached property stands here too, and is no field
    fields = {name: held[name] for name in type(value).model_fields if name in held}
    extra = value.__pydantic_extra__
    _put_fields(b"B", value, {**fields, **extra} if extra else fields, out, depth)


def _put_struct(value: Any, out: Out, depth: int) -> None:
    missing = object()
    pairs = ((name, getattr(value, name, missing)) for name in value.__struct_fields__)
    fields = {name: item for name, item in pairs if item is not missing}
    _put_fields(b"M", value, fields, out, depth)


def _put_dataclass(value: Any, out: Out, depth: int) -> None:
    names = [field.name for field in dataclasses.fields(value)]
    fields = {name: getattr(value, name) for name in names if hasattr(value, name)}
    _put_fields(b"C", value, fields, out, depth)


def _put_decimal(value: Decimal, out: Out, depth: int) -> None:
    sign, digits, exponent = value.as_tuple()  # unlike its text, the same in every context
    _put_text(b"D", f"{sign}:{''.join(map(str, digits))}:{exponent}", out)


def _put_moment(value: datetime | time, out: Out, depth: int) -> None:
    zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else ""
    _put_text(b"T" if isinstance(value, datetime) else b"h", f"{value.isoformat()} {zone}", out)


def _put_timedelta(value: timedelta, out: Out, depth: int) -> None:
    out.append(b"e%d,%d,%d;" % (value.days, value.seconds, value.microseconds))


def _put_complex(value: complex, out: Out, depth: int) -> None:
    out.append(b"c")
    _put(float(value.real), out, depth)
    _put(float(value.imag), out, depth)


_Writer = Callable[[Any, Out, int], None]

_WRITERS: tuple[tuple[type | tuple[type, ...], _Writer], ...] = (  # the first that fits
    (enum.Enum, _put_enum),
    (BaseModel, _put_model),
    (msgspec.Struct, _put_struct),
    ((bytes, bytearray, memoryview), lambda v, out, _: _put_raw(b"b", bytes(v), out)),
    ((set, frozenset), _put_set),
    (datetime, _put_moment),
    (date, lambda v, out, _: _put_text(b"a", date.isoformat(v), out)),
    (time, _put_moment),
    (timedelta, _put_timedelta),
    (Decimal, _put_decimal),
    (UUID, lambda v, out, _: _put_raw(b"U", v.bytes, out)),
    (PurePath, lambda v, out, _: _put_text(b"P", v.as_posix(), out)),
    ((AnyUrl, Url, MultiHostUrl), lambda v, out, _: _put_text(b"w", str(v), out)),
    (SecretStr, lambda v, out, _: _put_text(b"k", v.get_secret_value(), out)),
    (SecretBytes, lambda v, out, _: _put_raw(b"K", v.get_secret_value(), out)),
    (str, lambda v, out, depth: _put(str.__str__(v), out, depth)),
    (int, lambda v, out, depth: _put(int.__int__(v), out, depth)),
    (float, lambda v, out, depth: _put(float.__float__(v), out, depth)),
    (complex, _put_complex),
    (dict, _put_dict),
    ((list, tuple), _put_list),
)


def _put_other(value: Any, out: Out, depth: int) -> None:
    kind = type(value)
    for fits, write in _WRITERS:
        if issubclass(kind, fits):
            try:
                write(value, out, depth)
            except (_Unfit, RecursionError):
                raise
            except Exception as error:  # a property or mapping of somebody else's class
                raise _Unfit(f"{kind.__qualname__} raised {type(error).__name__}") from error
            return
    if dataclasses.is_dataclass(kind) and not isinstance(value, type):
        _put_dataclass(value, out, depth)
        return
    raise _Unfit(f"a {kind.__qualname__} has no canonical form")
