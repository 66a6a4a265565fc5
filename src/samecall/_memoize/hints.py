"""What a function says of its arguments and answers: one annotation at a time.

One that only the type checker can resolve (of a client, imported under `TYPE_CHECKING`) is then in
the way of no other.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any, Self, TypeVar, Union, get_args, get_origin, get_type_hints

__all__ = ["Filling", "hint_of", "signature_of"]


def hint_of(function: Callable[..., Any], name: str) -> object:
    """What `function` says of `name` ("return" or an argument); `Any` if that is nothing, or
    cannot be resolved.
    """
    said = _annotations(function)
    if name not in said:
        return Any
    inner = inspect.unwrap(function)
    names = {each.__name__: each for each in getattr(inner, "__type_params__", ())}
    code = getattr(inner, "__code__", None)
    cells = getattr(inner, "__closure__", None) or ()
    for free, cell in zip(getattr(code, "co_freevars", ()), cells, strict=False):
        try:
            names[free] = cell.cell_contents  # a class of the function around it
        except ValueError:  # not assigned yet
            continue

    def alone() -> None: ...

    alone.__annotations__ = {name: said[name]}
    try:
        everything: Any = get_type_hints(
            alone, getattr(inner, "__globals__", {}), names, include_extras=True
        )
    except (NameError, TypeError, AttributeError, SyntaxError):
        return Any
    return _of_alias(everything[name])


def _of_alias(hint: Any) -> object:
    """What stands behind `type Users = list[User]`."""
    while type(hint).__name__ == "TypeAliasType":  # of Python 3.12, or of typing_extensions
        hint = hint.__value__
    return hint


def signature_of(function: Callable[..., Any], **how: Any) -> inspect.Signature:
    """Its signature, whatever becomes of its annotations: a class may be defined further below."""
    if sys.version_info >= (3, 14):  # where they are read when they are asked for
        how["annotation_format"] = _library().Format.FORWARDREF
    return inspect.signature(function, **how)


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    if not inspect.isroutine(function):  # what a decorator that is a class has made
        function = inspect.unwrap(function)
    if sys.version_info < (3, 14):
        return getattr(function, "__annotations__", {})
    told: dict[str, Any] = _library().get_annotations(function, format=_library().Format.FORWARDREF)
    return told


def _library() -> Any:
    return importlib.import_module("annotationlib")  # of Python 3.14


_SELF = TypeVar("_SELF")


class Filling:
    """`T` of a function such as `ask(text: str, model: type[T]) -> list[T]`, filled in by a call;
    `Self` of a method, too.

    result: the type that it answers with, in which such variables stand.
    """

    def __init__(self, function: Callable[..., Any], result: object) -> None:
        self._result: Any = _without_self(result)
        self._variables = variables = _variables_of(self._result)
        names = [*signature_of(function).parameters] if variables else []
        self._given = {
            name: variable
            for name in names
            if (variable := _class_in(hint_of(function, name))) in variables
        }
        if _SELF in variables:
            self._given |= dict.fromkeys(names[:1], _SELF)

    def __bool__(self) -> bool:
        return bool(self._given)

    def of(self, named: dict[str, Any]) -> object:
        """The type that this call answers with; None where its arguments name no class."""
        found: dict[object, object] = {}
        for name, variable in self._given.items():
            value = named.get(name)
            if isinstance(value, type) or get_origin(value) is not None:
                found[variable] = value
            elif variable is _SELF:
                found[variable] = type(value)
        if not found:
            return None
        if isinstance(self._result, TypeVar):
            return found[self._result]
        return self._result[tuple(found.get(each, Any) for each in self._variables)]


def _without_self(form: Any) -> Any:
    """`form` with a variable in the place of `Self`."""
    if form is Self:
        return _SELF
    arguments = get_args(form)
    made = tuple(map(_without_self, arguments))
    if made == arguments:
        return form
    origin: Any = get_origin(form)
    return Union[made] if origin in (Union, types.UnionType) else origin[made]  # noqa: UP007


def _variables_of(result: Any) -> tuple[Any, ...]:
    return (result,) if isinstance(result, TypeVar) else getattr(result, "__parameters__", ())


def _class_in(hint: Any) -> object:
    """The `T` of `type[T]`, also where None may stand in its place."""
    if get_origin(hint) in (Union, types.UnionType):
        return next((found for each in get_args(hint) if (found := _class_in(each))), None)
    arguments = get_args(hint)
    is_class = get_origin(hint) is type and isinstance(arguments[0], TypeVar)
    return arguments[0] if is_class else None
