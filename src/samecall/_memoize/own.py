"""An answer in the classes that its function names, not in those that instructor makes of them.

What `create(response_model=User)` returns is of a class made for the call: a subclass of `User` of
that name, whose objects hold the provider's raw response besides. No stored form could give that
back equal. A function that says `-> User` gives a `User`, to the caller whose call it was as well,
so that a hit equals a miss.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

from pydantic import BaseModel

__all__ = ["own", "own_items"]

_THEIRS = "instructor"
_STATE = ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})


def own(value: Any) -> Any:
    """`value`, or what it is without instructor's classes; also within lists, tuples and dicts."""
    kind = cast("type[object]", type(value))
    if kind is list or kind is tuple:
        return _items(value, kind)
    if kind is dict:
        made = _items(list(value.values()), list)
        return dict(zip(value, made, strict=True)) if _differ(value.values(), made) else value
    if issubclass(kind, list):
        return _items(list(value), list) if _is_theirs(cast("type[object]", kind)) else value
    base = kind.__mro__[1] if isinstance(value, BaseModel) else object
    return _as(value, base) if _stands_for(kind, base) else value


async def own_items(items: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
    """`items`, each as `own` gives it."""
    async with aclosing(items):
        async for item in items:
            yield own(item)


def _items(value: Any, kind: Any) -> Any:
    if _PLAIN.issuperset(map(type, value)):
        return value
    made = [own(item) for item in value]
    return kind(made) if _differ(value, made) else value


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
