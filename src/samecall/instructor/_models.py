"""A `response_model` is prepared once: the class that misses, hits and followers all answer with.

instructor makes a new class on every call, so two of its results are never `==`. Here the class
that it makes is kept for as long as the caller's own class lives, made again when that class (or
one that it contains) is rebuilt, and its instances can be pickled.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, cast, get_args, get_origin
from weakref import WeakKeyDictionary

from instructor.v2.core.response_model import prepare_response_model
from instructor.v2.dsl.partial import PartialBase
from pydantic import BaseModel

from samecall._entry import Kept
from samecall._key import schema_digest
from samecall.instructor._derived import (
    canonical,
    canonical_of,
    found,
    lock,
    partial_of,
    reachable,
    shape,
    unchanged,
    watch,
)
from samecall.instructor._gist import Reader, reader_of
from samecall.instructor._mould import is_inert
from samecall.instructor._pickling import let_pickle

__all__ = ["Prepared", "is_iterable", "prepared", "whole_of"]

_MEMO = "__samecall_prepared__"
_FORMS = 512

_forms: OrderedDict[object, Prepared] = OrderedDict()


class Prepared:
    """A response model as asked for, the class that instructor parses into, and its digest."""

    __slots__ = ("_digest", "_forms", "_inert", "_watch", "asked", "model", "reader")

    def __init__(self, asked: Any, parallel: bool) -> None:
        self.asked = asked
        # parallel tools parse into the members themselves: there is no class to prepare
        self.model: Any = asked if parallel else prepare_response_model(asked)
        self._digest: tuple[object, ...] | None = None
        self._inert: bool | None = None
        self._forms: dict[object, WeakKeyDictionary[Kept, Any]] = {}
        self._watch = watch(self.model, asked)
        if asked is not None:
            let_pickle(asked, self.model, _blank, *((True,) if parallel else ()))
        self.reader: Reader | None = None if parallel else reader_of(asked, self.model)

    def is_current(self) -> bool:
        """False once a class in it was changed, so that its schema may differ."""
        return unchanged(self._watch)

    @property
    def inert(self) -> bool:
        """Whether parsing runs no code of the caller's, so that a copy does as well."""
        if self._inert is None:
            self._inert = self.asked is None or is_inert(self.model)
        return self._inert

    def forms(self, strict: object) -> WeakKeyDictionary[Kept, Any]:
        """What is kept of payloads, parsed so strictly: here, for it holds the class, which many
        copies in memory would else keep alive, and count for nothing.
        """
        forms = self._forms.get(strict)
        return self._forms.setdefault(strict, WeakKeyDictionary()) if forms is None else forms

    @property
    def schema(self) -> tuple[object, ...]:
        """What of it can change the answer: the digests of its schemas; raises `Unkeyable`."""
        if self._digest is None:
            roots = list(_roots(self.model))
            if is_iterable(self.asked):
                kind = "iterable"
            else:
                kind = "none" if self.asked is None else "model"
            self._digest = (kind, *(schema_digest(_whole(root), anew=True) for root in roots))
        return self._digest


def is_iterable(asked: Any) -> bool:
    """Whether `asked` is `Iterable[T]`."""
    return not isinstance(asked, type) and get_origin(asked) is Iterable


def prepared(asked: Any, *, parallel: bool = False) -> Prepared:
    """The preparation of `asked`, remembered; raises what instructor raises for a wrong one."""
    if isinstance(asked, type) and not parallel:
        known: Prepared | None = asked.__dict__.get(_MEMO)
        if known is not None and known.is_current():
            return known
        if issubclass(asked, BaseModel):
            return _prepared_class(asked)
    return _prepared_form(asked, parallel)


def _prepared_class(asked: type[BaseModel]) -> Prepared:
    with lock:
        known: Prepared | None = asked.__dict__.get(_MEMO)
        if known is None or not known.is_current():
            one = canonical(asked)
            known = Prepared(asked, parallel=False) if one is asked else prepared(one)
            # on the class, because it has to live exactly as long: a table that is weak in
            # its keys would keep them alive through its values, which inherit from them
            type.__setattr__(asked, _MEMO, known)
    return known


def _prepared_form(asked: Any, parallel: bool) -> Prepared:
    key = (parallel, shape(asked))
    with lock:
        known = _forms.get(key)
        if known is None or not known.is_current():
            one = canonical(asked)
            if one is not asked:
                return prepared(one, parallel=parallel)
            known = _forms[key] = Prepared(asked, parallel)
            while len(_forms) > _FORMS:
                _forms.popitem(last=False)
        else:
            _forms.move_to_end(key)
    return known


def _roots(model: Any) -> Iterator[type[BaseModel]]:
    if isinstance(model, type) and issubclass(model, BaseModel):
        yield model
        return
    for arg in get_args(model):
        yield from _roots(arg)


def whole_of(model: Any) -> Any:
    """`T`, if `model` is `Partial[T]`, which asks the same question; else `model` itself.

    So of a class that derives from it, or that tells the provider something of its own.
    """
    if not isinstance(model, type) or not issubclass(model, PartialBase):
        return cast("object", model)
    one = canonical(model)
    original = partial_of(one)
    if original is None or canonical_of("partial", original) is not one:
        return cast("object", model)
    return whole_of(original)


def _whole(model: type[BaseModel]) -> type[BaseModel]:
    for cls in (model, *model.__bases__):  # what instructor made of it derives from it
        whole = whole_of(cls)
        if whole is not cls:
            return prepared(whole).model  # type: ignore[no-any-return]
    return model


def _blank(recipe: Any, place: int, parallel: bool = False) -> BaseModel:
    # the first half of unpickling; pydantic's own __setstate__ is the second
    asked = found(recipe)
    for index, cls in enumerate(reachable(prepared(asked, parallel=parallel).model)):
        if index == place:
            return cls.__new__(cls)
    raise TypeError(f"{asked!r} no longer holds the class that was pickled")
