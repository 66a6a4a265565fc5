"""The canonical form of a call's arguments: equal questions give equal bytes, others never do.

Every value is written as a tag, a length and a content, so no two values share a form; bytes and
long text are written as their BLAKE2b-256, so that they are never copied. What is one value and
what is two:

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
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from pydantic import AnyUrl, BaseModel, SecretBytes, SecretStr

from samecall._errors import Unkeyable
from samecall._key.form import (
    LONG_TEXT,
    Out,
    Unfit,
    digest_form,
    long_form,
    name_form,
    shape_of,
)

__all__ = ["MAX_DEPTH", "canonical"]

MAX_DEPTH = 100
"""Containers within containers; more is refused, and so is every cycle."""
_SORTED_COSTS = 10
"""What a part that is sorted counts besides its values: it takes about so much longer."""
_SHAPE = 32
"""Keys up to which the order of a dict's names is remembered."""
_ONLY_TEXT = frozenset({str})
_MOST = 2**21
"""Values in one call: a few lists shared within lists can stand for more than any memory."""


def canonical(value: object) -> bytes:
    """The canonical form of `value`; raises `Unkeyable` with the path of what has none."""
    out = Out([0])
    try:
        _put(value, out, 0)
    except Unfit as unfit:
        raise Unkeyable(unfit.path(), unfit.why) from unfit.__cause__
    except RecursionError:
        raise Unkeyable("the value", "nested too deeply for the stack that is left") from None
    except RuntimeError as error:
        raise Unkeyable("the value", f"it changed while it was read ({error})") from error
    return "".join(out).encode("utf-8", "surrogatepass")


def _put(value: Any, out: Out, depth: int) -> None:
    """Append the form of `value`; exact types first, which is nearly every call."""
    kind = cast("type[object]", type(value))
    if kind is str:
        out.append(f"s{len(value)}:{value}" if len(value) < LONG_TEXT else long_form(value))
    elif kind is dict:
        _put_dict(value, out, depth)
    elif kind is list or kind is tuple:
        _put_list(value, out, depth)
    elif value is None:
        out.append("n")
    elif value is True:
        out.append("t")
    elif value is False:
        out.append("u")
    elif kind is int:
        out.append(f"i{value:x};")  # hexadecimal has no limit of digits
    elif kind is float:
        out.append(f"f{(value + 0.0).hex()};")
    elif kind is bytes:
        _put_bytes(value, out, depth)
    else:
        _put_other(value, kind, out, depth)


def _descend(size: int, out: Out, depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise Unfit(f"more than {MAX_DEPTH} containers within each other, or a cycle")
    spent = out.spent
    spent[0] += size
    if spent[0] > _MOST:
        raise Unfit(f"more than {_MOST} values")
    return depth + 1


def _part(values: tuple[object, ...], whole: Out, depth: int) -> str:
    """The form of something that is sorted before it is written into `whole`."""
    whole.spent[0] += _SORTED_COSTS
    out = Out(whole.spent)
    for value in values:
        _put(value, out, depth)
    return "".join(out)


def _put_list(value: list[Any] | tuple[Any, ...], out: Out, depth: int) -> None:
    depth = _descend(len(value), out, depth)
    out.append(f"l{len(value)}:")
    index = -1
    try:
        for item in value:
            index += 1
            if cast("object", type(item)) is dict:
                _put_dict(item, out, depth)
            else:
                _put(item, out, depth)
    except Unfit as unfit:
        unfit.steps.append(index)
        raise


def _put_dict(value: Mapping[Any, Any], out: Out, depth: int) -> None:
    if not _ONLY_TEXT.issuperset(map(type, value)):
        _put_odd_dict(value, out, depth)
        return
    depth = _descend(len(value), out, depth)
    keys = tuple(value)
    head, names = shape_of(keys) if len(keys) <= _SHAPE else shape_of.__wrapped__(keys)
    out.append(head)
    key = ""
    try:
        for key, name in names:
            item = value[key]
            if type(item) is str and len(item) < LONG_TEXT:
                out.append(f"{name}s{len(item)}:{item}")
            else:
                out.append(name)
                _put(item, out, depth)
    except Unfit as unfit:
        unfit.steps.append(key)
        raise


def _put_odd_dict(value: Mapping[Any, Any], out: Out, depth: int) -> None:
    """A dict with keys that are not all exactly str."""
    if all(isinstance(key, str) and not isinstance(key, enum.Enum) for key in value):
        plain = {str.__str__(key): item for key, item in value.items()}
        if len(plain) != len(value):
            raise Unfit("two keys are the same text")
        _put_dict(plain, out, depth)
        return
    depth = _descend(len(value), out, depth)
    pairs: list[str] = []
    key: object = None
    try:
        for key, item in value.items():
            pairs.append(_part((key, item), out, depth))
    except Unfit as unfit:
        unfit.steps.append(key)
        raise
    out.append(f"d{len(pairs)}:")
    out.extend(sorted(pairs))


def _put_set(value: set[Any] | frozenset[Any], out: Out, depth: int) -> None:
    depth = _descend(len(value), out, depth)
    out.append(f"S{len(value)}:")
    out.extend(sorted(_part((item,), out, depth) for item in value))


def _put_fields(tag: str, value: object, fields: dict[str, Any], out: Out, depth: int) -> None:
    out.append(tag)
    out.append(name_form(type(value).__qualname__))
    _put_dict(fields, out, depth)


def _put_text(tag: str, text: str, out: Out) -> None:
    """`text` under a tag of its own."""
    out.append(tag)
    _put(str.__str__(text), out, 0)


def _put_bytes(value: bytes | bytearray | memoryview, out: Out, _depth: int) -> None:
    raw = bytes(value)
    short = len(raw) < LONG_TEXT
    out.append(f"b{len(raw)}:{raw.hex()}" if short else f"B{len(raw)}:{digest_form(raw)}")


# --- the rarer types --------------------------------------------------------------------------


def _put_enum(value: enum.Enum, out: Out, depth: int) -> None:
    out.append("E")
    out.append(name_form(type(value).__qualname__))
    _put(value.value, out, _descend(1, out, depth))


def _put_model(value: BaseModel, out: Out, depth: int) -> None:
    held = value.__dict__  # a cached property stands here too, and is no field
    fields = {name: held[name] for name in type(value).model_fields if name in held}
    _put_fields("O", value, fields | (value.__pydantic_extra__ or {}), out, depth)


def _put_struct(value: msgspec.Struct, out: Out, depth: int) -> None:
    names = value.__struct_fields__
    fields = {name: getattr(value, name) for name in names if hasattr(value, name)}
    _put_fields("M", value, fields, out, depth)


def _put_dataclass(value: Any, out: Out, depth: int) -> None:
    names = [field.name for field in dataclasses.fields(value)]
    fields = {name: getattr(value, name) for name in names if hasattr(value, name)}
    _put_fields("C", value, fields, out, depth)


def _put_decimal(value: Decimal, out: Out, _depth: int) -> None:
    sign, digits, exponent = value.as_tuple()  # unlike its text, the same in every context
    _put_text("D", f"{sign}:{''.join(map(str, digits))}:{exponent}", out)


def _put_moment(value: datetime | time, out: Out, _depth: int) -> None:
    zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else ""
    _put_text("T" if isinstance(value, datetime) else "h", f"{value.isoformat()} {zone}", out)


def _put_timedelta(value: timedelta, out: Out, _depth: int) -> None:
    out.append(f"e{value.days},{value.seconds},{value.microseconds};")


def _put_secret(value: SecretStr | SecretBytes, out: Out, depth: int) -> None:
    out.append("k")
    _put(value.get_secret_value(), out, depth)


_WRITERS: tuple[tuple[type | tuple[type, ...], Callable[[Any, Out, int], None]], ...] = (
    # the first that fits
    (enum.Enum, _put_enum),
    (BaseModel, _put_model),
    (msgspec.Struct, _put_struct),
    ((bytes, bytearray, memoryview), _put_bytes),
    ((set, frozenset), _put_set),
    (datetime, _put_moment),
    (date, lambda value, out, _: _put_text("a", value.isoformat(), out)),
    (time, _put_moment),
    (timedelta, _put_timedelta),
    (Decimal, _put_decimal),
    (UUID, lambda value, out, _: _put_text("U", value.hex, out)),
    (PurePath, lambda value, out, _: _put_text("P", value.as_posix(), out)),
    (AnyUrl, lambda value, out, _: _put_text("w", str(value), out)),
    ((SecretStr, SecretBytes), _put_secret),
    (str, lambda value, out, depth: _put(str.__str__(value), out, depth)),
    (int, lambda value, out, depth: _put(int.__int__(value), out, depth)),
    (float, lambda value, out, depth: _put(float.__float__(value), out, depth)),
    (dict, _put_dict),
    ((list, tuple), _put_list),
)


def _put_other(value: Any, kind: type[object], out: Out, depth: int) -> None:
    write = next((write for fits, write in _WRITERS if issubclass(kind, fits)), None)
    if write is None:
        if isinstance(value, type) or not dataclasses.is_dataclass(kind):
            raise Unfit(f"a {kind.__qualname__} has no canonical form")
        write = _put_dataclass
    try:
        write(value, out, depth)
    except (Unfit, RecursionError):
        raise
    except Exception as error:  # a property or a mapping of somebody else's class
        raise Unfit(f"{kind.__qualname__} raised {type(error).__name__}") from error
