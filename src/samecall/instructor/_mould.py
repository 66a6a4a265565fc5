"""Copies of a parsed answer without parsing it again, where nobody could tell the difference.

A mould is made of one answer and casts others, each of them independent of all the rest: whatever
can be changed in it (models, dicts, lists, sets) is made anew, and only what cannot be changed is
shared. Of anything else no mould is made, and the answer is parsed every time.

The response model has a say, too. One that runs code of its author's when it is parsed (validators,
default factories, private attributes, a constructor) runs it for every caller.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from pydantic import BaseModel

__all__ = ["Mould", "Unmouldable", "is_inert"]

_ATOMS = frozenset(
    {str, int, float, bool, bytes, complex, type(None), type(Ellipsis)}
    | {date, datetime, time, timedelta, Decimal, UUID}
)
_INERT = frozenset(
    {"any", "bool", "bytes", "date", "datetime", "decimal", "default", "definition-ref"}
    | {"definitions", "dict", "enum", "float", "int", "list", "literal", "model", "model-field"}
    | {"model-fields", "none", "nullable", "set", "str", "time", "timedelta", "tagged-union"}
    | {"tuple", "union", "uuid"}
)
_CODE = frozenset(
    {"__init__", "__new__", "__setattr__", "__getattribute__", "__del__", "__setstate__"}
    | {"from_response", "model_construct", "model_post_init", "model_validate"}
    | {"model_validate_json", "model_validate_strings", "parse_obj", "parse_raw", "validate"}
)
Cast = Callable[[], Any]
Parts = tuple[tuple[Any, Cast], ...]
_new = object.__new__
_set = object.__setattr__
_slots = vars(BaseModel)
_set_fields = _slots["__pydantic_fields_set__"].__set__
_set_extra = _slots["__pydantic_extra__"].__set__
_set_private = _slots["__pydantic_private__"].__set__


class Unmouldable(Exception):
    """This answer holds something of which nobody knows how it is copied."""


class Mould:
    """Casts copies of one value."""

    __slots__ = ("cast", "size")

    def __init__(self, value: Any) -> None:
        """Raises `Unmouldable`. `size`: about how many bytes the mould holds."""
        maker = _Maker()
        try:
            self.cast: Cast = maker.cast_of(value) or (lambda: value)
        except (AttributeError, RecursionError) as error:
            raise Unmouldable(type(error).__name__) from None
        self.size = maker.size


class _Maker:
    def __init__(self) -> None:
        self._seen: set[int] = set()
        self.size = 0

    def cast_of(self, value: Any) -> Cast | None:
        """How a part is copied; None: it cannot be changed and is shared."""
        if _is_fixed(value):
            return None
        if id(value) in self._seen:
            raise Unmouldable("one part is in two places")
        self._seen.add(id(value))
        self.size += sys.getsizeof(value) + 200
        kind = cast("type[object]", type(value))
        if kind is dict or kind is list:
            return _container(*self._split(value))
        if kind is set and all(map(_is_fixed, value)):
            return set(value).copy  # pyright: ignore[reportUnknownVariableType]
        if isinstance(value, BaseModel):
            return self._model(value)
        raise Unmouldable(f"{kind.__qualname__} may be anything")

    def _split(self, container: Any) -> tuple[Any, Parts]:
        """What a dict or list shares with its copies, and how the rest of it is made, by place."""
        held: Any = container.copy()
        places: Any = range(len(held))
        if isinstance(container, dict):
            places = tuple(held)
            if not all(map(_is_fixed, places)):
                raise Unmouldable("a key may be anything")
        parts: list[tuple[Any, Cast]] = []
        for place in places:
            part = self.cast_of(held[place])
            if part is not None:
                parts.append((place, part))
                held[place] = None
        return held, tuple(parts)

    def _model(self, value: BaseModel) -> Cast:
        cls = type(value)
        bases = cls.__mro__[: cls.__mro__.index(BaseModel)]
        if any(base.__dict__.get("__slots__") for base in bases):
            raise Unmouldable(f"{cls.__qualname__} has slots")
        held, parts = self._split(value.__dict__)
        extra, private = (
            None if each is None else (self.cast_of(each) or dict)
            for each in (value.__pydantic_extra__, value.__pydantic_private__)
        )
        return _model(cls, held, parts, value.__pydantic_fields_set__.copy(), extra, private)


def _container(held: Any, parts: Parts) -> Cast:
    if not parts:
        return held.copy  # type: ignore[no-any-return]
    copy = held.copy

    def make() -> Any:
        made = copy()
        for place, part in parts:
            made[place] = part()
        return made

    return make


def _model(
    cls: type[BaseModel],
    held: dict[str, Any],
    parts: Parts,
    fields: set[str],
    extra: Cast | None,
    private: Cast | None,
) -> Cast:
    copy_held, copy_fields = held.copy, fields.copy

    def make() -> Any:
        made = _new(cls)
        content = copy_held()
        for name, part in parts:
            content[name] = part()
        _set(made, "__dict__", content)
        _set_fields(made, copy_fields())
        _set_extra(made, None if extra is None else extra())
        _set_private(made, None if private is None else private())
        return made

    return make


def _is_fixed(value: Any) -> bool:
    if type(value) in _ATOMS or isinstance(value, enum.Enum):
        return True
    return type(value) in (tuple, frozenset) and all(map(_is_fixed, value))


def is_inert(model: Any) -> bool:
    """Whether parsing into `model` runs nothing but pydantic's own code."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return False
    schema: Any = getattr(model, "__pydantic_core_schema__", None)
    if type(model.__pydantic_validator__).__name__ != "SchemaValidator":
        return False  # a plugin of pydantic's watches
    return isinstance(schema, dict) and _is_inert(cast("dict[str, Any]", schema))


def _is_inert(schema: dict[str, Any]) -> bool:
    kind = schema.get("type")
    if kind not in _INERT or "default_factory" in schema:
        return False
    if kind == "model" and not _runs_nothing(schema):
        return False
    if callable(schema.get("discriminator")) or "missing" in schema:
        return False
    return all(map(_is_inert, _within(schema)))


def _runs_nothing(schema: dict[str, Any]) -> bool:
    cls: type[BaseModel] = schema["cls"]
    if schema.get("custom_init") or schema.get("post_init") or cls.__private_attributes__:
        return False
    own = cls.__mro__[: cls.__mro__.index(BaseModel)]
    return not any(
        _CODE.intersection(base.__dict__)
        for base in own
        if not base.__module__.startswith("instructor.v2.")
    )


def _within(schema: dict[str, Any]) -> Iterable[dict[str, Any]]:
    for name in ("schema", "items_schema", "keys_schema", "values_schema", "extras_schema"):
        inner = schema.get(name)
        yield from _schemas(inner)
    for name in ("fields", "choices", "definitions"):
        yield from _schemas(schema.get(name))


def _schemas(inner: Any) -> Iterable[dict[str, Any]]:
    if isinstance(inner, dict):
        held = cast("dict[str, Any]", inner)
        if isinstance(held.get("type"), str):
            yield held
        else:
            for each in held.values():
                yield from _schemas(each)
    elif isinstance(inner, (list, tuple)):
        for each in cast("list[Any]", inner):
            yield from _schemas(each)
