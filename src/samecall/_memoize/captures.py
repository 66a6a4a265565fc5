"""What a function reads from the functions around it, and the decorators on it from theirs."""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any

import msgspec
from pydantic import BaseModel

from samecall._errors import Unkeyable
from samecall._key import digest_of

__all__ = ["Captures"]

_UNCHANGING = (
    *(str, bytes, int, float, Enum, Decimal, date, time, timedelta, PurePath),
    *(type, tuple, frozenset),
)
_MOST = 100  # decorators on one function; some go round in a ring


class Captures:
    """The variables that are read and never set; what stays as it is counts like an argument."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._cells = tuple(_cells(function))

    def counted(self) -> Iterator[tuple[str, Any]]:
        """By name, those whose values stay: plain ones, and frozen models and dataclasses."""
        for name, cell in self._cells:
            value = _content(cell)
            frozen = _is_frozen(value)
            stays = value is None or frozen or isinstance(value, _UNCHANGING)
            # a decorator's affairs, and a frozen thing that holds a client, count where they can
            surely = isinstance(value, type) or not (frozen or "." in name)
            if stays and (surely or _digest(value) is not None):
                yield name, value

    def told(self) -> tuple[object, ...]:
        """Of the others what tells two functions of one name apart as they are first called."""
        held: list[object] = []
        for _, cell in self._cells:
            value = _content(cell)
            if inspect.isfunction(value):
                held.append(f"{value.__module__}.{value.__qualname__}")
            elif _is_model(value) and not _is_frozen(value):
                held.append(_digest(value))
        return tuple(held)


def _cells(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """The function's own by their names; each decorator's behind the number of its layer."""
    if isinstance(function, functools.partial):
        return
    layers: list[Any] = [function]
    while (inner := getattr(layers[-1], "__wrapped__", None)) is not None and len(layers) < _MOST:
        layers.append(inner)
    for number, layer in enumerate(reversed(layers)):
        yield from _cells_of(layer, f"{number}." if number else "")


def _cells_of(function: Any, before: str) -> Iterator[tuple[str, Any]]:
    code = getattr(function, "__code__", None)
    if code is None:
        return
    written = {each.argval for each in dis.get_instructions(code) if each.opname == "STORE_DEREF"}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        if name not in written and name != "__class__":
            yield before + name, cell


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return ...


def _digest(value: Any) -> bytes | None:
    try:
        return digest_of(value)
    except Unkeyable:
        return None


def _is_model(value: Any) -> bool:
    if isinstance(value, type):
        return False
    return isinstance(value, (BaseModel, msgspec.Struct)) or is_dataclass(value)


def _is_frozen(value: Any) -> bool:
    if not _is_model(value):
        return False
    if isinstance(value, BaseModel):
        return bool(value.model_config.get("frozen"))
    if isinstance(value, msgspec.Struct):
        return value.__struct_config__.frozen
    return bool(value.__dataclass_params__.frozen)
