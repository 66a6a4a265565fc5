"""A `response_model` is prepared once: the class that misses, hits and followers all answer with.

instructor makes a new class on every call, so two of its results are never `==`. Here the class
that it makes is kept for as long as the caller's own class lives, made again when that class (or
one that it contains) is rebuilt, and its instances can be pickled.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, cast, get_args, get_origin

from instructor.v2.core.response_model import prepare_response_model
from instructor.v2.dsl.partial import PartialBase
from pydantic import BaseModel

from samecall._key import schema_digest
from samecall.instructor._pickling import Derived, let_pickle, reachable

__all__ = ["Prepared", "is_iterable", "prepared"]

_MEMO = "__samecall_prepared__"
_FORMS = 512

_forms: OrderedDict[object, Prepared] = OrderedDict()
_lock = threading.RLock()  # a class being made may run code of its author's, which may ask


class Prepared:
    """A response model as asked for, the class that instructor parses into, and its digest."""

    __slots__ = ("_digest", "_watch", "asked", "model")

    def __init__(self, asked: Any, parallel: bool) -> None:
        self.asked = asked
        # parallel tools parse into the members themselves: there is no class to prepare
        self.model: Any = asked if parallel else prepare_response_model(asked)
        self._digest: tuple[object, ...] | None = None
        classes = [cls for root in _roots(self.model) for cls in reachable(root)]
        self._watch = tuple((cls, cls.__pydantic_validator__) for cls in classes)
        if asked is not None and not parallel:
            let_pickle(asked, cast("type[BaseModel]", self.model), _blank)

    def is_current(self) -> bool:
        """False once a class in it was rebuilt (`model_rebuild`), so that its schema may differ."""
        return all(cls.__pydantic_validator__ is validator for cls, validator in self._watch)

    @property
    def schema(self) -> tuple[object, ...]:
        """What of it can change the answer: the digests of its schemas; raises `Unkeyable`."""
        if self._digest is None:
            roots = list(_roots(self.model))
            if is_iterable(self.asked):
                kind = "iterable"
            else:
                kind = "none" if self.asked is None else "model"
            self._digest = (kind, *(schema_digest(_whole(root)) for root in roots))
        return self._digest


def is_iterable(asked: Any) -> bool:
    """Whether `asked` is `Iterable[T]`."""
    return get_origin(asked) is Iterable


def prepared(asked: Any, *, parallel: bool = False) -> Prepared:
    """The preparation of `asked`, remembered; raises what instructor raises for a wrong one."""
    if isinstance(asked, type) and issubclass(asked, BaseModel) and not parallel:
        known = asked.__dict__.get(_MEMO)
        if known is not None and known.is_current():
            return known  # type: ignore[no-any-return]
        with _lock:
            known = asked.__dict__.get(_MEMO)
            if known is None or not known.is_current():
                known = Prepared(asked, parallel)
                # on the class, because it has to live exactly as long: a table that is weak in
                # its keys would keep them alive through its values, which inherit from them
                type.__setattr__(asked, _MEMO, known)
        return known
    return _prepared_form(asked, parallel)


def _prepared_form(asked: Any, parallel: bool) -> Prepared:
    key = (parallel, _shape(asked))
    with _lock:
        known = _forms.get(key)
        if known is None or not known.is_current():
            known = _forms[key] = Prepared(asked, parallel)
            while len(_forms) > _FORMS:
                _forms.popitem(last=False)
        else:
            _forms.move_to_end(key)
    return known


def _shape(form: Any) -> object:
    # `Union[int, str] == Union[str, int]`, and `Literal[0] == Literal[False]` for some Pythons:
    # members in order, each with its class, tell them apart
    args = get_args(form)
    if not args:
        try:
            hash(form)
        except TypeError:
            return (cast("type[object]", type(form)), id(form), repr(form))
        return (cast("type[object]", type(form)), form)
    return (get_origin(form), *(_shape(arg) for arg in args))


def _roots(model: Any) -> Iterator[type[BaseModel]]:
    if isinstance(model, type) and issubclass(model, BaseModel):
        yield model
        return
    for arg in get_args(model):
        yield from _roots(arg)


def _whole(model: type[BaseModel]) -> type[BaseModel]:
    # Partial[T] asks the same question as T
    for cls in model.__mro__:
        original = cls.__dict__.get("_original_model")
        if original is not None and issubclass(cls, PartialBase):
            return prepared(original).model  # type: ignore[no-any-return]
    return model


def _blank(recipe: Any, place: int) -> BaseModel:
    # the first half of unpickling; pydantic's own __setstate__ is the second
    asked = recipe.make() if isinstance(recipe, Derived) else recipe
    for index, cls in enumerate(reachable(prepared(asked).model)):
        if index == place:
            return cls.__new__(cls)
    raise TypeError(f"{asked!r} no longer holds the class that was pickled")
