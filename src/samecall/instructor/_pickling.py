"""Instances of the classes that instructor makes on the fly can be pickled.

Such a class cannot be found by name in another process. So its instances name what it was made
from (the caller's own class, which pickle finds by name) and it is made again there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast, get_args

from instructor.v2.dsl.maybe import Maybe, MaybeBase
from instructor.v2.dsl.partial import Partial, PartialBase
from pydantic import BaseModel

__all__ = ["Derived", "let_pickle", "reachable"]

_LEAST = 1_000
_CANON = "__samecall_derived__"


def reachable(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """`model`, its bases and the models in its fields, each once, in a fixed order."""
    seen: set[type] = set()
    todo: list[Any] = [model]
    while todo and len(seen) < _LEAST:
        item = todo.pop()
        if isinstance(item, type) and issubclass(item, BaseModel):
            if item in seen or item is BaseModel:
                continue
            seen.add(item)
            yield item
            todo.extend(field.annotation for field in item.model_fields.values())
            todo.extend(base for base in item.__bases__ if issubclass(base, BaseModel))
        else:
            todo.extend(get_args(item))


Blank = Callable[[Any, int], BaseModel]


def let_pickle(asked: Any, model: type[BaseModel], blank: Blank) -> None:
    """Let instances of `model`, and of the made classes in it, be pickled by way of `asked`.

    `blank(recipe, place)` has to give an empty instance of the class again, in any process.
    """
    recipe = _recipe(asked)
    for place, cls in enumerate(reachable(model)):
        if _is_made(cls, asked) and _pickles_plainly(cls):
            type.__setattr__(cls, "__reduce__", _reducer(blank, recipe, place))


_REDUCE = "samecall"


def _reducer(blank: Blank, recipe: object, place: int) -> Any:
    def reduce(self: BaseModel) -> tuple[object, ...]:
        return (blank, (recipe, place), self.__getstate__())

    reduce.__dict__[_REDUCE] = True
    return reduce


def _pickles_plainly(cls: type[BaseModel]) -> bool:
    # who says in the class how to pickle it is right
    if cls.__reduce_ex__ is not object.__reduce_ex__:
        return False
    return cls.__reduce__ is object.__reduce__ or hasattr(cls.__reduce__, _REDUCE)


def _is_made(cls: type[BaseModel], asked: Any) -> bool:
    if cls is asked:
        return issubclass(cls, (MaybeBase, PartialBase)) and _recipe(cls) is not cls
    module = cls.__module__
    if module.startswith("instructor.") or "_original_model" in cls.__dict__:
        return cls.__qualname__ not in vars(__import__(module, fromlist=["_"]))
    bases = cls.__bases__
    return len(bases) == 2 and bases[0].__name__ == cls.__name__ and bases[0] is asked


def _recipe(asked: Any) -> Any:
    # what pickle can find again: a class by name, a typing form by its parts, and for the two
    # factories of instructor the factory and its argument
    if isinstance(asked, type) and issubclass(asked, BaseModel):
        inner = asked.__dict__.get("_original_model")
        if inner is not None and issubclass(asked, PartialBase):
            return _canonical("partial", inner, asked)
        if issubclass(asked, MaybeBase) and asked is not MaybeBase:
            for arg in get_args(asked.model_fields["result"].annotation):
                if isinstance(arg, type) and issubclass(arg, BaseModel):
                    return _canonical("maybe", arg, asked)
        generic = asked.__pydantic_generic_metadata__
        if generic["origin"] is not None:
            return Derived("generic", generic["origin"], generic["args"])
    return cast("object", asked)


class Derived:
    """A class told by the factory that makes it."""

    __slots__ = ("args", "factory", "of")

    def __init__(self, factory: str, of: type[BaseModel], args: tuple[Any, ...] = ()) -> None:
        self.factory, self.of, self.args = factory, of, args

    def __reduce__(self) -> tuple[object, ...]:
        return (Derived, (self.factory, self.of, self.args))

    def make(self) -> Any:
        if self.factory == "generic":
            return self.of[self.args]  # type: ignore[index]
        known = self.of.__dict__.get(_CANON, {})
        if self.factory not in known:
            made = Partial[self.of] if self.factory == "partial" else Maybe(self.of)
            _canonical(self.factory, self.of, made)
            return made
        return known[self.factory]


def _canonical(factory: str, of: type[BaseModel], made: Any) -> Derived:
    known: dict[str, Any] | None = of.__dict__.get(_CANON)
    if known is None:
        known = {}
        type.__setattr__(of, _CANON, known)
    known.setdefault(factory, made)
    return Derived(factory, of)
