"""Classes that instructor makes of others, `Maybe(T)` and `Partial[T]`: one for all spellings.

Written inside a call, such a class is another one at every call, and no process can find it by its
name. Here the first stands for all that are alike, for as long as the class lives that it is made
of; and it is told by what it is made of.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import reduce
from operator import attrgetter
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin

from instructor.v2.dsl.maybe import Maybe, MaybeBase
from instructor.v2.dsl.partial import Partial, PartialBase
from pydantic import BaseModel

__all__ = [
    "Derived",
    "canonical",
    "canonical_of",
    "found",
    "lock",
    "partial_of",
    "reachable",
    "recipe",
    "shape",
    "unchanged",
    "watch",
]

_KNOWN = "__samecall_derived__"
_MADE = "__samecall_made__"
_LEAST = 1_000
_LOOSE = 512

Built = tuple[type[BaseModel], object]
Words = tuple[type[BaseModel], str | None, list[Any]]
Watch = tuple[tuple[Built, ...], tuple[Words, ...]]
One = tuple[type[BaseModel], Watch]

lock = threading.RLock()
"""Of all that makes classes: one being made may run code of its author's, which may ask."""
_loose: OrderedDict[object, dict[str, One]] = OrderedDict()  # of what bears no attributes
_FACTORIES: dict[str, Callable[[Any], Any]] = {
    "maybe": Maybe,
    "partial": lambda of: cast("Any", Partial)[of],
}


class _Spelling(type(BaseModel)):  # type: ignore[misc]
    """Of a class for which another stands: instances of that one are its own, too."""

    def __instancecheck__(cls, instance: object) -> bool:
        return cls.__subclasscheck__(type(instance))

    def __subclasscheck__(cls, subclass: type) -> bool:
        real, made = type.__subclasscheck__, cls.__dict__.get(_MADE)
        # a class that derives from a spelling has its metaclass, and stands for itself
        return real(cls, subclass) or (made is not None and real(made, subclass))


def reachable(model: Any) -> Iterator[type[BaseModel]]:
    """The models in a typing form, their bases and those in their fields, each once, in order."""
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


def watch(model: Any, asked: Any = None) -> Watch:
    """The models in `model` as they are now, for `unchanged`.

    asked: what `model` was made of, if it was: what is told of them is written there.
    """
    built = tuple((cls, cls.__pydantic_validator__) for cls in reachable(model))
    told = reachable(model if asked is None else asked)
    return built, tuple((cls, cls.__doc__, _words(cls)) for cls in told)


def unchanged(watched: Watch) -> bool:
    """False once one of them was rebuilt (`model_rebuild`), or has other words for a provider."""
    built, told = watched
    for cls, validator in built:  # on the way of every call
        if cls.__pydantic_validator__ is not validator:
            return False
    for cls, text, words in told:  # noqa: SIM110 - the same
        if cls.__doc__ is not text or _words(cls) != words:
            return False
    return True


_words_of = attrgetter("description", "examples", "json_schema_extra")


def _words(cls: type[BaseModel]) -> list[Any]:
    # a model's text and its fields' reach the provider as they are at the time of a call
    return list(map(_words_of, cls.__pydantic_fields__.values()))


def shape(form: Any) -> object:
    """What tells typing forms apart, hashable."""
    # `Union[int, str] == Union[str, int]`, and `Literal[0] == Literal[False]` for some Pythons:
    # members in order, each with its class, tell them apart
    args = get_args(form)
    if not args:
        try:
            hash(form)
        except TypeError:
            return (cast("type[object]", type(form)), id(form), repr(form))
        return (cast("type[object]", type(form)), form)
    return (get_origin(form), *(shape(arg) for arg in args))


def canonical(asked: Any) -> Any:
    """`asked`, with the one class of this process in each place where instructor made one.

    An instance of that class is one of the class asked for, too.
    """
    if not isinstance(asked, type):
        origin = get_origin(asked)
        plain = origin is None or origin is Literal
        return asked if plain else _with(asked, origin, get_args(asked))
    if not issubclass(asked, BaseModel):
        return cast("object", asked)
    parts = _parts(asked)
    if parts is not None:
        return _one(asked, *parts)
    generic = asked.__pydantic_generic_metadata__
    if generic["origin"] is not None:
        return _stand_in(_with(asked, generic["origin"], generic["args"]), asked)
    return asked


def _with(asked: Any, origin: Any, args: tuple[Any, ...]) -> Any:
    now = tuple(map(canonical, args))
    same = all(new is old for new, old in zip(now, args, strict=True))
    return asked if same else _form(origin, now)


def _form(origin: Any, args: tuple[Any, ...]) -> Any:
    if origin is UnionType:  # which instructor does not take everywhere it takes a `Union`
        return reduce(lambda one, other: one | other, args)
    return origin[args]


def _parts(cls: type[BaseModel]) -> tuple[str, Any] | None:
    """The factory of instructor's that made `cls`, and of what; None: its author did."""
    inner = cls.__dict__.get("_original_model")
    if inner is not None and cls.__bases__ == (inner, PartialBase):
        return "partial", inner
    if cls.__bases__ == (MaybeBase,) and cls.__module__ == MaybeBase.__module__:
        args = get_args(cls.model_fields["result"].annotation)
        args = tuple(arg for arg in args if arg is not type(None))
        inner = Union[args] if args else None  # noqa: UP007 - of however many there are
        if cls.__name__ == f"Maybe{getattr(inner, '__name__', '')}":
            return "maybe", inner
    return None


def partial_of(cls: type[BaseModel]) -> Any:
    """`T`, if `cls` is a `Partial[T]` that instructor made; else None."""
    parts = _parts(cls)
    return parts[1] if parts is not None and parts[0] == "partial" else None


def _one(asked: type[BaseModel], factory: str, inner: Any) -> type[BaseModel]:
    of = canonical(inner)
    with lock:
        known = _known(of)
        one = known.get(factory)
        if one is None or not unchanged(one[1]):
            try:
                made = _FACTORIES[factory](of)
            except Exception:  # noqa: BLE001 - code of its author's, which once did
                return asked
            if of is inner and _alike(asked, made):
                made = asked
            one = known[factory] = made, watch(made)
    made = one[0]
    # else somebody has changed one of them, or what they are made of
    return _stand_in(made, asked) if made is asked or _alike(asked, made) else asked


def _stand_in(made: type[BaseModel], asked: type[BaseModel]) -> type[BaseModel]:
    if made is not asked:
        if type(asked) is type(BaseModel):
            type.__setattr__(asked, "__class__", _Spelling)
        if type(asked) is not _Spelling:  # a metaclass of its author's
            return asked
        type.__setattr__(asked, _MADE, made)
    return made


def _known(of: Any) -> dict[str, One]:
    """What was made of `of`: on it, because it has to live exactly as long; else in a table."""
    if isinstance(of, type):
        known: dict[str, One] | None = of.__dict__.get(_KNOWN)
        if known is not None:
            return known
        known = {}
        with suppress(TypeError):  # of a class of Python's own
            type.__setattr__(of, _KNOWN, known)
            return known
    at = shape(of)
    known = _loose.setdefault(at, {})
    _loose.move_to_end(at)
    while len(_loose) > _LOOSE:
        _loose.popitem(last=False)
    return known


def _alike(one: type[BaseModel], other: type[BaseModel]) -> bool:
    try:
        return _told(one) == _told(other)
    except Exception:  # noqa: BLE001 - of a `repr` of its author's: then nobody knows
        return False


def _told(made: type[BaseModel]) -> list[object]:
    """All that a made class is: two that tell the same cannot be told apart."""
    told: list[object] = []
    for cls in reachable(made):
        if _parts(cls) is None:
            told.append(cls)
            continue
        own = sorted(name for name in vars(cls) if not name.startswith("__"))
        names = cls.__module__, cls.__qualname__, cls.__doc__, own
        told.append((*names, repr(cls.model_fields), repr(cls.model_config)))
    return told


def recipe(asked: Any) -> Any:
    """What pickle can find again: a class by name, all else by what it is made of."""
    if not isinstance(asked, type):
        origin, args = get_origin(asked), get_args(asked)
        plain = origin in (None, Literal) or all(recipe(arg) is arg for arg in args)
        return asked if plain else Derived("form", origin, args)
    if not issubclass(asked, BaseModel):
        return cast("object", asked)
    parts = _parts(asked)
    if parts is not None and canonical(asked) is asked:
        return Derived(*parts)
    generic = asked.__pydantic_generic_metadata__
    if generic["origin"] is not None:
        return Derived("generic", generic["origin"], generic["args"])
    return asked


def found(told: Any) -> Any:
    """What a recipe was of, in this process."""
    return told.make() if isinstance(told, Derived) else told


class Derived:
    """A class or a typing form, told by what makes it of which others."""

    __slots__ = ("args", "factory", "of")

    def __init__(self, factory: str, of: Any, args: tuple[Any, ...] = ()) -> None:
        self.factory, self.of, self.args = factory, of, args

    def __reduce__(self) -> tuple[object, ...]:
        return (Derived, (self.factory, recipe(self.of), tuple(map(recipe, self.args))))

    def make(self) -> Any:
        """It, as it is in this process."""
        of = found(self.of)
        if self.factory in _FACTORIES:
            return canonical_of(self.factory, of)
        return _form(of, tuple(map(found, self.args)))


def canonical_of(factory: str, of: Any) -> Any:
    """The one class that a factory of instructor's made of another; made if there is none."""
    of = canonical(of)
    with lock:
        one = _known(of).get(factory)
        if one is not None and unchanged(one[1]):
            return one[0]
        return canonical(_FACTORIES[factory](of))
