"""A function and its arguments become a key."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Collection
from pathlib import PurePath
from typing import Any, cast, get_origin

from samecall._entry import Key
from samecall._errors import ConfigurationError, Unkeyable
from samecall._key import digest_of
from samecall._memoize.captures import Captures
from samecall._memoize.hints import signature_of
from samecall._memoize.shapes import shape_of

__all__ = ["Asking", "module_of"]

_SCHEME = "memoize/1"
_DEPTH = 100
_LOGINS = re.compile(r"(?i)(api|access|private)_?key|token|secret|passw|credential|authori")
_KEYWORDS = inspect.Parameter.VAR_KEYWORD
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


class Asking:
    """What a function is asked, in one form however the arguments are given.

    ignore: names of arguments that do not count. chosen: makes, of the arguments, what counts in
    their place: any value that has a canonical form, or a `Key` that is taken as it is. layers:
    how many caches there are already between it and the function.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        version: str | int,
        ignore: Collection[str],
        chosen: Callable[..., object] | None,
        layers: int = 0,
    ) -> None:
        # each of the caches around a function has its own: they may share a store
        self.name = f"{module_of(function)}.{function.__qualname__}" + " memoized" * layers
        bound = getattr(function, "__self__", None)
        self._bound = None if bound is None else [_form(bound), _class_of(bound)]
        self._function = function
        self._signature = signature_of(function)
        # a decorator in between may give arguments that its callers do not
        self._outer = _outer_of(function) if hasattr(function, "__wrapped__") else None
        self._version = version
        self._ignore = frozenset(ignore)
        self._chosen = chosen
        unknown = self._ignore - self._signature.parameters.keys()
        if unknown:
            raise ConfigurationError(
                f"ignore takes names of arguments of {self.name}; got {sorted(unknown)!r:.80}"
            )
        self._captures = Captures(function)
        self._self = _self_of(function, self._signature) if bound is None else None

    def of(self, schema: bytes) -> tuple[str, str, str | int, bytes, bool]:
        """What all its calls have in common."""
        return _SCHEME, self.name, self._version, schema, self._chosen is None

    def place(self) -> tuple[object, ...]:
        """Where it stands: another function with this name stands somewhere else, or calls others.

        (The function in a decorator without `functools.wraps` has its name for all that it takes.)
        """
        code = getattr(inspect.unwrap(self._function), "__code__", None)
        where = getattr(code, "co_filename", None), getattr(code, "co_firstlineno", None)
        return *where, self._captures.told()

    def key(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        schema: bytes,
        namespace: str,
        secret: bytes | None,
    ) -> Key:
        """The key of a call; raises `Unkeyable`, whose path names the argument, and the
        `TypeError` of a call that does not fit the function.
        """
        asked: object
        if self._chosen is None:
            asked = self._counted(args, kwargs)
        else:
            asked = self._chosen(*args, **kwargs)
            if isinstance(asked, Key):
                return Key(asked.digest, asked.namespace)
        parts = {
            "asked": asked,
            "captured": {name: _form(value) for name, value in self._captures.counted()},
            "self": self._bound,
            "of": self.of(schema),
        }
        try:
            return Key(_digest(parts, secret), namespace)
        except Unkeyable as unkeyable:
            path = unkeyable.path
            if self._chosen is not None and path.startswith("asked"):
                path = path.replace("asked", "what key= gives", 1)
            raise Unkeyable(path.removeprefix("asked."), unkeyable.why) from None

    def named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """All arguments by name, however they are given, with defaults.

        Where a decorator in between gives some of them: as that decorator takes them.
        """
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            if self._outer is None:
                raise
            return self._as_taken(self._outer, args, kwargs, error)
        bound.apply_defaults()
        return dict(bound.arguments)

    def told(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """What counts of a call, to be kept for people to read; of logins a digest."""
        if self._chosen is not None:
            return {"function": self.name, "key": self._chosen(*args, **kwargs)}
        counted = self._counted(args, kwargs)
        shown = {
            name: _digest({name: value}, None).hex() if _LOGINS.search(name) else value
            for name, value in counted.items()
            if name
        }
        return {"function": self.name, "arguments": shown}

    def _as_taken(
        self,
        outer: inspect.Signature,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        error: TypeError,
    ) -> dict[str, Any]:
        try:
            given = outer.bind(*args, **kwargs).arguments
        except TypeError:  # it fits nowhere
            raise error from None
        named: dict[str, Any] = {}
        for name, value in given.items():
            kind = outer.parameters[name].kind
            if kind is _KEYWORDS:
                named |= value
            else:  # a name of these may also be one of those keywords
                named["*" + name if kind in _POSITIONAL else name] = value
        return named

    def _counted(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        named = self.named(args, kwargs)
        counted: dict[str, Any] = {
            name: _form(value) for name, value in named.items() if name not in self._ignore
        }
        if self._self is not None and self._self not in self._ignore:
            of = _class_of(args[0] if args else named.get(self._self))
            return counted if of is None else {**counted, "": of}
        return counted


def _outer_of(function: Any) -> inspect.Signature:
    """What a decorated function takes by its own words, and not by those of what it decorates."""
    try:
        return signature_of(function, follow_wrapped=False)
    except ValueError:  # an object that is called
        return signature_of(function.__call__, follow_wrapped=False)


def _digest(parts: dict[str, Any], secret: bytes | None) -> bytes:
    try:
        return digest_of(parts, secret=secret)
    except Unkeyable:
        return digest_of(_forms(parts), secret=secret)


def module_of(thing: Any) -> str:
    """Where a function or class is defined: for a script the name that it would be imported by."""
    module: str = thing.__module__
    if module != "__main__":
        return module
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    return PurePath(getattr(main, "__file__", None) or "__main__").stem


def _self_of(function: Callable[..., Any], signature: inspect.Signature) -> str | None:
    """The name of a method's first argument; None for a function that stands in no class."""
    _, _, scope = function.__qualname__.rpartition(".")[0].rpartition(".")
    return next(iter(signature.parameters), None) if scope not in ("", "<locals>") else None


def _class_of(value: Any) -> tuple[str, str] | None:
    """The class of what a method is called on: another one may answer differently."""
    kind = cast("type[object]", type(value))
    if isinstance(value, type) or kind.__module__ == "builtins":  # a class counts by itself
        return None
    return module_of(kind), kind.__qualname__


def _form(value: Any) -> Any:
    """A class that is handed over (a response model, the `cls` of a method) by name and schema."""
    if isinstance(value, type):
        return ("class", module_of(value), value.__qualname__, shape_of(value))
    if get_origin(value) is not None:
        shape = shape_of(value)
        return ("form", shape) if shape else value
    return value


def _forms(value: Any, depth: int = 0) -> Any:
    """`value` with the form of each class within it; `**kwargs` may hold one, or a list."""
    kind = cast("type[object]", type(value))
    if depth < _DEPTH and kind is dict:
        return {name: _forms(item, depth + 1) for name, item in value.items()}
    if depth < _DEPTH and (kind is list or kind is tuple):
        return [_forms(item, depth + 1) for item in value]
    return _form(value)
