"""Whether what was read back is what was answered, and the little that equality does not tell."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import datetime, time
from typing import Any, cast

import msgspec
from pydantic import BaseModel

from samecall._errors import Unkeyable
from samecall._key import digest_of

__all__ = ["leave_unset", "same", "unset_in"]

_ATOMS = frozenset({str, int, float, bool, bytes, type(None)})
_BESIDE = ("default_factory", "maxlen", "fold")
"""What a defaultdict, a deque and a moment hold that their `==` does not look at."""


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same classes all the way down as far as that can be told."""
    if type(one) is not type(other) or one != other or not _alike(one, other):
        return False
    try:
        return digest_of(one) == digest_of(other)
    except Unkeyable:
        return True


def _alike(one: Any, other: Any) -> bool:
    """Of two that are equal: a named tuple is a tuple, too, and True is 1."""
    kind = cast("type[object]", type(one))
    if kind is not type(other):
        return False
    if kind in _ATOMS:
        return True
    if any(getattr(one, name, None) != getattr(other, name, None) for name in _BESIDE):
        return False
    if isinstance(one, (datetime, time)) and _zone(one) != _zone(other):
        return False
    if isinstance(one, (set, frozenset)):
        there = {each: each for each in _listed(other)}
        return all(each in there and _alike(each, there[each]) for each in _listed(one))
    # strict: a class may be equal to what is longer
    return all(_alike(mine, its) for mine, its in zip(_parts(one), _parts(other), strict=True))


def _zone(moment: Any) -> str | None:
    name: str | None = moment.tzname()
    return name


def _listed(value: Any) -> list[Any]:
    return list(value)


def _parts(value: Any) -> Iterator[Any]:
    """What stands in `value`, in the order in which it is read back."""
    if isinstance(value, BaseModel):
        held = vars(value)
        yield from (held[name] for name in type(value).model_fields if name in held)
        yield from (value.__pydantic_extra__ or {}).values()
    elif isinstance(value, dict):
        for name, item in cast("Any", value).items():
            yield name
            yield item
    elif isinstance(value, (list, tuple)):
        yield from cast("Any", value)
    elif isinstance(value, msgspec.Struct):
        yield from (getattr(value, name, None) for name in value.__struct_fields__)
    elif dataclasses.is_dataclass(value):
        yield from (getattr(value, each.name, None) for each in dataclasses.fields(value))


def _models(value: Any) -> Iterator[BaseModel]:
    if type(value) in _ATOMS:
        return
    if isinstance(value, BaseModel):
        yield value
    for each in _parts(value):
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
