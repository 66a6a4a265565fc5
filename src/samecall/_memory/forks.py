"""What lives in the memory of a process that forks is told so in the child."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["Forked", "refresh_in_child"]


class Forked(Protocol):
    """What has locks and listeners of the parent's threads."""

    def after_fork(self) -> None: ...


_all: weakref.WeakSet[Forked] = weakref.WeakSet()


def refresh_in_child(thing: Forked) -> None:
    """Have `after_fork` called in every child, as long as `thing` lives."""
    _all.add(thing)


def _refresh() -> None:
    for thing in tuple(_all):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_refresh)
