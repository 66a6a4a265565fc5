"""An answer in the classes that its function names, not in those that instructor makes of them.

What `create(response_model=User)` returns is of a class made for the call: a subclass of `User` of
that name, whose objects hold the provider's raw response besides. No stored form could give that
back equal. A function that says `-> User` gives a `User`, to the caller whose call it was as well,
so that a hit equals a miss.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, cast

from pydantic import BaseModel

__all__ = ["own", "own_items"]

_THEIRS = "instructor"
_STATE = ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})


def own(value: Any) -> Any:
    """`value`, or what it is without instructor's classes: also within lists, tuples, sets, dicts,
    dataclasses and models.
    """
    if type(value) in _PLAIN:
        return value
    try:
        return _Owner().own(value)
    except Exception:  # noqa: BLE001 - of a class that cannot be copied: the answer is paid for
        return value


async def own_items(items: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
    """`items`, each as `own` gives it."""
    async with aclosing(items):
        async for item in items:
            yield own(item)


class _Owner:
    """Goes through one answer; what stands in it twice, or within itself, it meets once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Any]] = {}  # with what was met: its number stays its own

    def own(self, value: Any) -> Any:
        if type(value) in _PLAIN:
            return value
        at = id(value)
        if at not in self._known:
            self._known[at] = value, value
            self._known[at] = value, self._made(value)
        return self._known[at][1]

    def _made(self, value: Any) -> Any:
        kind = cast("type[object]", type(value))
        if kind in (list, set, frozenset) or isinstance(value, tuple):
            return self._items(value, getattr(kind, "_make", kind))  # of a named tuple
        if kind is dict:
            made = self._items(list(value.values()), list)
            return dict(zip(value, made, strict=True)) if _differ(value.values(), made) else value
        if issubclass(kind, list):
            return (
                self._items(list(value), list) if _is_theirs(cast("type[object]", kind)) else value
            )
        if isinstance(value, BaseModel):
            base = kind.__mro__[1]
            if _stands_for(kind, base):
                value = _as(value, base)
            return self._with_parts(value, [*cast("Any", value).__class__.model_fields])
        if dataclasses.is_dataclass(value):
            return self._with_parts(value, [each.name for each in dataclasses.fields(value)])
        return value

    def _items(self, value: Any, make: Callable[[list[Any]], Any]) -> Any:
        if _PLAIN.issuperset(map(type, value)):
            return value
        held = list(value)
        made = [self.own(item) for item in held]
        return make(made) if _differ(held, made) else value

    def _with_parts(self, value: Any, names: list[str]) -> Any:
        changed: dict[str, Any] = {}
        for name in names:
            part = getattr(value, name, None)
            made = self.own(part)
            if made is not part:
                changed[name] = made
        if not changed:
            return value
        clone = copy.copy(value)
        for name, part in changed.items():
            object.__setattr__(clone, name, part)  # also of a frozen one; no validator hears of it
        return clone


def _differ(value: Any, made: list[Any]) -> bool:
    return any(one is not other for one, other in zip(value, made, strict=True))


def _is_theirs(kind: type[object]) -> bool:
    return kind.__module__.partition(".")[0] == _THEIRS


def _stands_for(kind: type[object], base: type[object]) -> bool:
    """Whether instructor has made `kind` of `base`, which it is called as."""
    return (
        issubclass(base, BaseModel)
        and (kind.__module__, kind.__qualname__) == (base.__module__, base.__qualname__)
        and any(map(_is_theirs, kind.__mro__))
    )


def _as(value: BaseModel, base: Any) -> BaseModel:
    made: BaseModel = base.__new__(base)
    held = vars(value)
    fields = {name: held[name] for name in base.model_fields if name in held}
    object.__setattr__(made, "__dict__", fields)
    for name in _STATE:
        object.__setattr__(made, name, getattr(value, name))
    return made
