"""Whether what was read back is what was answered, and the little that equality does not tell."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator
from datetime import datetime, time
from decimal import Decimal
from typing import Any, cast

import msgspec
from pydantic import BaseModel

__all__ = ["leave_unset", "same", "unset_in"]

_ATOMS = frozenset({str, int, float, bool, bytes, type(None)})
_BESIDE = ("default_factory", "maxlen")
"""What a defaultdict and a deque hold that their `==` does not look at."""


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same classes all the way down: also where `==` looks at less.

    A named tuple is equal to a tuple, True to 1, a decimal to one with fewer digits, a moment to
    that of another zone, and a dataclass may have fields that it does not compare.
    """
    return type(one) is type(other) and one == other and _alike(one, other)


def _alike(one: Any, other: Any) -> bool:
    kind = cast("type[object]", type(one))
    if kind is not type(other):
        return False
    if kind in _ATOMS:
        return bool(one == other)
    if any(getattr(one, name, None) != getattr(other, name, None) for name in _BESIDE):
        return False
    if isinstance(one, (set, frozenset)):
        there = {each: each for each in _listed(other)}
        return all(each in there and _alike(each, there[each]) for each in _listed(one))
    mine = _parts(one)
    if mine is None:
        return bool(one == other) and _told(one) == _told(other)
    its = _parts(other) or []
    return len(mine) == len(its) and all(map(_alike, mine, its))


def _listed(value: Any) -> list[Any]:
    return list(value)


def _told(value: Any) -> object:
    """What a moment or a decimal says beside what it is equal by."""
    if isinstance(value, Decimal):
        return value.as_tuple()
    if isinstance(value, (datetime, time)):
        return value.isoformat(), value.tzname(), value.fold
    return None


def _parts(value: Any) -> list[Any] | None:
    """What stands in `value`, in the order in which it is read back; None: it is one thing."""
    if isinstance(value, BaseModel):
        held, extra = vars(value), value.__pydantic_extra__
        fields = [held[name] for name in type(value).model_fields if name in held]
        return [*fields, *extra.values()] if extra else fields
    if isinstance(value, dict):
        return [*cast("Any", value), *cast("Any", value).values()]
    if isinstance(value, (list, tuple, deque)):
        return _listed(value)
    if isinstance(value, msgspec.Struct):
        return [getattr(value, name, None) for name in value.__struct_fields__]
    if dataclasses.is_dataclass(value):
        return [getattr(value, each.name, None) for each in dataclasses.fields(value)]
    return None


def _models(value: Any) -> Iterator[BaseModel]:
    if type(value) in _ATOMS:
        return
    if isinstance(value, BaseModel):
        yield value
    for each in _parts(value) or ():
        yield from _models(each)


def unset_in(value: Any) -> list[list[str]]:
    """Of each pydantic model within `value` the fields that nobody has set; [] if there are none.

    `exclude_unset` goes by them, and one that is read back has set them all.
    """
    found = [
        [name for name in type(model).model_fields if name not in model.model_fields_set]
        for model in _models(value)
    ]
    return found if any(found) else []


def leave_unset(value: Any, unset: list[list[str]]) -> Any:
    """`value`, new, with these fields as if nobody had set them."""
    for model, names in zip(_models(value), unset, strict=True):
        model.model_fields_set.difference_update(names)
    return value
