"""What MessagePack has no type for, in the canonical form: everything else as extensions of it."""

from __future__ import annotations

import dataclasses
import enum
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from msgspec.msgpack import Ext

if TYPE_CHECKING:
    from pydantic import BaseModel, SecretBytes, SecretStr

__all__ = ["MAX_DEPTH", "MOST", "Unfit", "encode", "lowered", "path_of"]

MAX_DEPTH = 100
"""Containers within containers; more is refused, and so is every cycle."""
MOST = 2**21
"""Values in one call: a few lists shared within lists can stand for more than any memory."""
_SORTED_COSTS = 10
"""What a part that is sorted counts besides its values: it takes about so much longer."""
_SMALLEST, _LARGEST = -(2**63), 2**64

encode = msgspec.msgpack.Encoder(order="deterministic").encode


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")


def path_of(steps: Iterable[object]) -> str:
    """A path such as `messages[3].content`; keys that are no names may be somebody's words, and
    are told by their type alone.
    """
    text = ""
    for step in steps:
        if isinstance(step, str) and _NAME.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{step}]" if isinstance(step, int) else f"[<{type(step).__name__}>]"
    return text


class Unfit(Exception):
    """A value without a form; the containers around it add their steps, innermost first."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.steps: list[object] = []

    def path(self) -> str:
        """The argument's path, such as `messages[3].content`."""
        return path_of(reversed(self.steps)) or "the value"


class _Depth:
    """How deep a value lies, and how many the whole call has had so far."""

    __slots__ = ("depth", "spent")

    def __init__(self, depth: int, spent: list[int]) -> None:
        self.depth = depth
        self.spent = spent

    def into(self, size: int) -> _Depth:
        """One container deeper; `size` values are in it."""
        if self.depth >= MAX_DEPTH:
            raise Unfit(f"more than {MAX_DEPTH} containers within each other, or a cycle")
        self.spent[0] += size
        if self.spent[0] > MOST:
            raise Unfit(f"more than {MOST} values")
        return _Depth(self.depth + 1, self.spent)


def lowered(value: Any) -> Any:
    """`value` as data that msgspec writes in the canonical form; raises `Unfit`."""
    return _low(value, _Depth(0, [0]))


def _ext(letter: str, content: Any) -> Ext:
    return Ext(ord(letter), encode(content))


def _low(value: Any, at: _Depth) -> Any:
    kind = cast("type[object]", type(value))
    if kind is str:
        return _low_text(value)
    if value is None or kind is bool or kind is bytes:
        return value
    if kind is int:
        # hexadecimal has no limit of digits
        return value if _SMALLEST <= value < _LARGEST else _ext("i", f"{value:x}")
    if kind is float:
        return float("nan") if value != value else value + 0.0  # noqa: PLR0124 - zero has one form
    if kind is dict:
        return _low_dict(value, at)
    if kind is list or kind is tuple:
        return _low_list(value, at)
    return _low_other(value, kind, at)


def _low_text(value: str) -> str | Ext:
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return Ext(ord("s"), value.encode("utf-8", "surrogatepass"))
    return value


def _low_list(value: list[Any] | tuple[Any, ...], at: _Depth) -> list[Any]:
    within = at.into(len(value))
    made: list[Any] = []
    try:
        for item in value:
            made.append(_low(item, within))  # noqa: PERF401 - its length tells the step
    except Unfit as unfit:
        unfit.steps.append(len(made))
        raise
    return made


def _low_dict(value: Mapping[Any, Any], at: _Depth) -> Any:
    """A dict of text is a map; any other is sorted by the form of its keys."""
    if all(isinstance(key, str) and not isinstance(key, enum.Enum) for key in value):
        plain = {str.__str__(key): item for key, item in value.items()}
        if len(plain) != len(value):
            raise Unfit("two keys are the same text")
        if not any(isinstance(_low_text(key), Ext) for key in plain):
            return _low_values(plain, at)
    within = at.into(len(value))
    pairs: list[bytes] = []
    key: object = None
    try:
        for key, item in value.items():
            within.spent[0] += _SORTED_COSTS
            pairs.append(encode([_low(key, within), _low(item, within)]))
    except Unfit as unfit:
        unfit.steps.append(key)
        raise
    return _ext("d", sorted(pairs))


def _low_values(value: dict[str, Any], at: _Depth) -> dict[str, Any]:
    within = at.into(len(value))
    key = ""
    made: dict[str, Any] = {}
    try:
        for key, item in value.items():
            made[key] = _low(item, within)
    except Unfit as unfit:
        unfit.steps.append(key)
        raise
    return made


def _low_set(value: set[Any] | frozenset[Any], at: _Depth) -> Ext:
    within = at.into(len(value))
    within.spent[0] += _SORTED_COSTS * len(value)
    return _ext("S", sorted(encode(_low(item, within)) for item in value))


def _fields(letter: str, value: object, fields: dict[str, Any], at: _Depth) -> Ext:
    return _ext(letter, [type(value).__qualname__, _low_dict(fields, at)])


def _low_enum(value: enum.Enum, at: _Depth) -> Ext:
    return _ext("E", [type(value).__qualname__, _low(value.value, at.into(1))])


def _low_model(value: BaseModel, at: _Depth) -> Ext:
    held = value.__dict__  # a cached property stands here too, and is no field
    fields = {name: held[name] for name in type(value).model_fields if name in held}
    return _fields("O", value, fields | (value.__pydantic_extra__ or {}), at)


def _low_struct(value: msgspec.Struct, at: _Depth) -> Ext:
    names = value.__struct_fields__
    fields = {name: getattr(value, name) for name in names if hasattr(value, name)}
    return _fields("M", value, fields, at)


def _low_dataclass(value: Any, at: _Depth) -> Ext:
    names = [field.name for field in dataclasses.fields(value)]
    fields = {name: getattr(value, name) for name in names if hasattr(value, name)}
    return _fields("C", value, fields, at)


def _low_decimal(value: Decimal, _at: _Depth) -> Ext:
    sign, digits, exponent = value.as_tuple()  # unlike its text, the same in every context
    return _ext("D", [sign, "".join(map(str, digits)), exponent])


def _low_moment(value: datetime | time, _at: _Depth) -> Ext:
    zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else ""
    return _ext("T" if isinstance(value, datetime) else "h", [value.isoformat(), zone])


def _low_timedelta(value: timedelta, _at: _Depth) -> Ext:
    return _ext("e", [value.days, value.seconds, value.microseconds])


def _low_secret(value: SecretStr | SecretBytes, at: _Depth) -> Ext:
    return _ext("k", _low(value.get_secret_value(), at))


_Writers = tuple[tuple[type | tuple[type, ...], Callable[[Any, _Depth], Any]], ...]
_WRITERS: _Writers = (
    # the first that fits
    (enum.Enum, _low_enum),
    (msgspec.Struct, _low_struct),
    ((bytes, bytearray, memoryview), lambda value, _: bytes(value)),
    ((set, frozenset), _low_set),
    (datetime, _low_moment),
    (date, lambda value, _: _ext("a", value.isoformat())),
    (time, _low_moment),
    (timedelta, _low_timedelta),
    (Decimal, _low_decimal),
    (UUID, lambda value, _: _ext("U", value.bytes)),
    (PurePath, lambda value, _: _ext("P", _low_text(value.as_posix()))),
    (str, lambda value, _: _low_text(str.__str__(value))),
    (int, lambda value, at: _low(int.__int__(value), at)),
    (float, lambda value, at: _low(float.__float__(value), at)),
    (dict, _low_dict),
    ((list, tuple), _low_list),
)


def _pydantic_writers() -> _Writers:
    # nobody has a value of a class that was never imported, and pydantic is slow to import
    if "pydantic" not in sys.modules:
        return ()
    from pydantic import AnyUrl, BaseModel, SecretBytes, SecretStr

    return (
        (BaseModel, _low_model),
        (AnyUrl, lambda value, _: _ext("w", _low_text(str(value)))),
        ((SecretStr, SecretBytes), _low_secret),
    )


def _low_other(value: Any, kind: type[object], at: _Depth) -> Any:
    writers = _WRITERS if issubclass(kind, enum.Enum) else (*_pydantic_writers(), *_WRITERS)
    write = next((write for fits, write in writers if issubclass(kind, fits)), None)
    if write is None:
        if isinstance(value, type) or not dataclasses.is_dataclass(kind):
            raise Unfit(f"a value of type {kind.__qualname__} has no canonical form")
        write = _low_dataclass
    try:
        return write(value, at)
    except (Unfit, RecursionError):
        raise
    except Exception as error:  # a property or a mapping of somebody else's class
        raise Unfit(f"{kind.__qualname__} raised {type(error).__name__}") from error
