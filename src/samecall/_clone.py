"""A copy of an exception, so that many callers can raise it and none shares a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from types import GetSetDescriptorType, MemberDescriptorType

__all__ = ["clone_error"]


def clone_error(error: BaseException) -> BaseException:
    """A copy of `error` that carries on its traceback, cause and notes; else `error` itself.

    The constructor is not called: those of SDKs want arguments that nobody has any more.
    """
    kind = type(error)
    try:
        clone = kind.__new__(kind, *error.args)
        clone.args = error.args
        clone.__dict__.update(error.__dict__)
        for name in _slots(kind):
            _carry(error, clone, name)
        if hasattr(error, "__notes__"):
            clone.__notes__ = list(error.__notes__)
    except Exception:  # noqa: BLE001 - an exception class may do anything anywhere; the original will do
        return error
    clone.__cause__ = error.__cause__
    clone.__context__ = error.__context__
    clone.__suppress_context__ = error.__suppress_context__
    return clone.with_traceback(error.__traceback__)  # raising prepends, and changes no other's


def _slots(kind: type) -> Iterator[str]:
    """The attributes that live outside of `__dict__`: `errno`, `name`, `code`, `__slots__`."""
    for base in kind.__mro__:
        for name, value in vars(base).items():
            kept = isinstance(value, (MemberDescriptorType, GetSetDescriptorType))
            if kept and not name.startswith("__") and name != "args":
                yield name


def _carry(error: BaseException, clone: BaseException, name: str) -> None:
    try:
        value = getattr(error, name)
        if value is not None:  # None may stand for unset, which is something else within
            setattr(clone, name, value)
    except (AttributeError, TypeError):  # unset, or read-only and set by __new__
        return
