"""What instructor hangs on an answer, made when somebody looks at it.

The completion that a hit was read from is most of the work of a hit and most of its objects, which
the garbage collector visits again and again; and few callers look at it. So `_raw_response` and
`_total_usage` of a hit are put where instructor puts them, as a promise that the answer's class
(one that instructor made, never a caller's own) keeps on the first look.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

__all__ = ["RAW", "USAGE", "Later", "keeps_promises", "let_keep_promises", "now"]

RAW, USAGE = "_raw_response", "_total_usage"
_lock = threading.RLock()


class Later:
    """What `make` makes of `args` when it is first asked for; from then on always the same."""

    __slots__ = ("_args", "_made", "_make")

    def __init__(self, make: Callable[..., Any], *args: Any) -> None:
        self._make: Callable[..., Any] | None = make
        self._args = args
        self._made: Any = None

    def get(self) -> Any:
        """It; raises what `make` raises."""
        with _lock:  # two threads that look at one answer see one completion
            if self._make is not None:
                self._made = self._make(*self._args)
                self._make, self._args = None, ()
            return self._made

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        with _lock:
            if self._make is not None:  # nobody has seen it, so nobody can have changed it
                return Later(self._make, *self._args)
        return copy.deepcopy(self._made, memo)

    def __reduce__(self) -> tuple[Callable[[Any], Any], tuple[Any]]:
        return _itself, (self.get(),)


def _itself(made: Any) -> Any:
    return made


def now(part: Any) -> Any:
    """What it is, or has been promised to be."""
    return part.get() if type(part) is Later else part


class _Promised:
    """An attribute in the instance's dict that may be there as a promise."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: object = None) -> Any:
        held: dict[str, Any] = {} if instance is None else instance.__dict__
        try:
            part = held[self._name]
        except KeyError:  # as where there is no such name at all
            raise AttributeError(self._name) from None
        if type(part) is Later:
            part = held[self._name] = part.get()
        return part

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self._name] = value

    def __delete__(self, instance: Any) -> None:
        try:
            del instance.__dict__[self._name]
        except KeyError:
            raise AttributeError(self._name) from None


def let_keep_promises(model: type[BaseModel]) -> None:
    """Have the instances of a class show what is promised in their dict as what it is."""
    for name in (RAW, USAGE):
        type.__setattr__(model, name, _Promised(name))


def keeps_promises(model: type[BaseModel]) -> bool:
    """Whether that has been done."""
    return type(vars(model).get(RAW)) is _Promised
