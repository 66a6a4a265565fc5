"""What is said of a reply that is none: its form, and nothing of what may be an answer in it."""

from __future__ import annotations

from typing import cast

from samecall._errors import StoreError

__all__ = ["nonsense"]


def nonsense(reply: object, what: str = "Redis gave an unexpected reply") -> StoreError:
    """The error for `reply`; only an error that the server told is told on, in its own words."""
    return StoreError(f"{what}: {_form(reply)}")


def _form(reply: object) -> str:
    if isinstance(reply, Exception):
        return f"{type(reply).__name__}: {reply!s:.80}"
    if isinstance(reply, (bytes, str)):
        return f"{len(reply)} bytes"
    if isinstance(reply, (list, tuple)):
        parts = cast("list[object]", reply)
        return f"a list of {len(parts)} ({', '.join(type(part).__name__ for part in parts[:4])})"
    return type(reply).__name__
