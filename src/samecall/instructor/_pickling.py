"""Instances of the classes that instructor makes on the fly can be pickled.

Such a class cannot be found by name in another process. So its instances name what it was made
from (the caller's own class, which pickle finds by name) and it is made again there.
"""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from samecall.instructor._derived import reachable, recipe

__all__ = ["let_pickle"]

_REDUCE = "samecall"
Blank = Callable[..., BaseModel]


def let_pickle(asked: Any, model: Any, blank: Blank, *rest: object) -> None:
    """Let instances of `model`, and of the made classes in it, be pickled by way of `asked`.

    `blank(recipe, place, *rest)` has to give an empty instance of the class again, in any process.
    """
    told = recipe(asked)
    for place, cls in enumerate(reachable(model)):
        if _is_made(cls, asked) and _pickles_plainly(cls):
            type.__setattr__(cls, "__reduce__", _reducer(cls, blank, (told, place, *rest)))


def _reducer(cls: type[BaseModel], blank: Blank, args: tuple[object, ...]) -> Any:
    def reduce(self: BaseModel) -> tuple[object, ...]:
        if type(self) is not cls:  # its author's own class, under a made one
            return (getattr(copyreg, "__newobj__"), (type(self),), self.__getstate__())  # noqa: B009
        return (blank, args, self.__getstate__())

    reduce.__dict__[_REDUCE] = True
    return reduce


def _pickles_plainly(cls: type[BaseModel]) -> bool:
    # who says in the class how to pickle it is right
    if cls.__reduce_ex__ is not object.__reduce_ex__:
        return False
    return cls.__reduce__ is object.__reduce__ or hasattr(cls.__reduce__, _REDUCE)


def _is_made(cls: type[BaseModel], asked: Any) -> bool:
    if cls is asked and recipe(cls) is cls:
        return False
    module = cls.__module__
    if module.startswith("instructor.") or "_original_model" in cls.__dict__:
        return vars(sys.modules.get(module, object)).get(cls.__qualname__) is not cls
    bases = cls.__bases__
    return len(bases) == 2 and bases[0].__name__ == cls.__name__ and bases[0] is asked
