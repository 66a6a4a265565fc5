"""The event loop that serves synchronous clients: one a process, in a thread of its own."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from anyio.from_thread import BlockingPortal, start_blocking_portal

if TYPE_CHECKING:
    from samecall._cache import Cache

__all__ = ["portal_for"]

_lock = threading.Lock()
_open: tuple[BlockingPortal, AbstractContextManager[BlockingPortal]] | None = None
_caches: weakref.WeakSet[Cache] = weakref.WeakSet()


def portal_for(cache: Cache) -> BlockingPortal:
    """The portal of this process; `cache` is ended in good order when the process ends.

    One for all, because calls can only be made one where they meet in one event loop.
    """
    global _open  # noqa: PLW0603 - one a process is what it is
    with _lock:
        if _open is None:
            manager = start_blocking_portal(name="samecall-portal")
            _open = (manager.__enter__(), manager)
        _caches.add(cache)
        return _open[0]


@atexit.register
def _end() -> None:
    global _open  # noqa: PLW0603
    with _lock:
        if _open is None:
            return
        portal, manager = _open
        _open = None
        for cache in tuple(_caches):
            portal.call(cache.aclose)
        manager.__exit__(None, None, None)


def _after_fork() -> None:
    # the thread has stayed with the parent; whoever asks here starts another
    global _open, _lock
    _open, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
