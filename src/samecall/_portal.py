"""The event loop that serves synchronous callers: one a process, in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

__all__ = ["Closing", "ask", "loop_for", "portal_for"]

T = TypeVar("T")


class Closing(Protocol):
    """What is ended in good order with the process: a cache."""

    async def aclose(self) -> Any: ...


_lock = threading.Lock()
_Portal = tuple[BlockingPortal, AbstractContextManager[BlockingPortal]]
_open: _Portal | None = None
_parents: list[_Portal] = []
_loops: weakref.WeakKeyDictionary[BlockingPortal, asyncio.AbstractEventLoop] = (
    weakref.WeakKeyDictionary()
)
_caches: weakref.WeakSet[Closing] = weakref.WeakSet()


def portal_for(cache: Closing) -> BlockingPortal:
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


def ask(portal: BlockingPortal, work: Callable[..., Awaitable[T]], *args: Any) -> T:
    """As `portal.call`; a caller that is interrupted (Ctrl-C) leaves, and takes its wait along.

    It would go on otherwise, and at the process's end, which closes the cache, make a call of its
    own for which nobody waits but the end.
    """
    answer = portal.start_task_soon(work, *args)
    try:
        return answer.result()
    except BaseException:
        answer.cancel()  # of no use if it has ended, which is what raised then
        raise


def loop_for(cache: Closing) -> asyncio.AbstractEventLoop:
    """The event loop of `portal_for(cache)`: asked for something, it keeps nobody waiting."""
    portal = portal_for(cache)
    loop = _loops.get(portal)
    if loop is None:
        loop = _loops[portal] = portal.call(asyncio.get_running_loop)
    return loop


@atexit.register
def _end() -> None:
    global _open  # noqa: PLW0603
    with _lock:
        if _open is None:
            return
        portal, manager = _open
        _open = None
        try:
            _close(portal)
        finally:  # or its thread keeps the process alive
            manager.__exit__(None, None, None)


def _close(portal: BlockingPortal) -> None:
    faults: list[Exception] = []
    for cache in tuple(_caches):
        try:
            portal.call(cache.aclose)
        except Exception as fault:  # noqa: BLE001 - the others end in good order, too
            faults.append(fault)
    if faults:
        raise faults[0]


def _after_fork() -> None:
    # The thread has stayed with the parent; whoever asks here starts another. The parent's portal
    # is kept, for ever: let go of, it would wait for that thread to end it.
    global _open, _lock
    if _open is not None:
        _parents.append(_open)
    _open, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
