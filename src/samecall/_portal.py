"""The event loop that serves synchronous callers: one a process, in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import inspect
import math
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread
from anyio.from_thread import BlockingPortal, start_blocking_portal

__all__ = ["Closing", "Portal", "carried", "in_threads", "loop_for", "portal_for"]

P = ParamSpec("P")
R = TypeVar("R")


class _Carried(BaseException):
    """On its way through an event loop: what would end the loop for everybody else.

    `SystemExit` and whatever else is no `Exception` (a test's `pytest.skip`) is for the thread
    that made the call, and for nobody who only shares the portal with it.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


def carried(error: BaseException) -> BaseException:
    """`error` as it may be raised in an event loop that others share."""
    return error if isinstance(error, Exception) else _Carried(error)


def in_threads(function: Callable[P, R]) -> Callable[P, Awaitable[R]]:
    """How `function` is called without blocking: in a worker thread, in its caller's context."""
    unbounded = CapacityLimiter(math.inf)  # its callers are threads themselves: they are the bound

    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        asked = partial(_carrying, partial(function, *args, **kwargs))
        return await to_thread.run_sync(asked, abandon_on_cancel=True, limiter=unbounded)

    return call


def _carrying(function: Callable[[], R]) -> R:
    try:
        return function()
    except BaseException as error:
        told = carried(error)
        if told is error:
            raise
        raise told from None


class Portal:
    """From a thread into the event loop, and back with what came of it."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """What `function`, async or not, gives or raises in the portal's loop."""
        answer, error = self._portal.call(_held, function, args)
        if error is not None:
            raise error
        return answer

    def ask(self, function: Callable[..., Any], *args: Any) -> Any:
        """As `call`; a caller that is interrupted (Ctrl-C) leaves, and takes its wait along.

        It would go on otherwise, and at the process's end, which closes the cache, make a call of
        its own for which nobody waits but the end.
        """
        wait = _Wait()
        try:
            answer, error = self._portal.start_task_soon(_waited, wait, function, args).result()
        except BaseException:  # maybe before there was a future to cancel
            with suppress(RuntimeError):  # the portal has ended
                self._portal.start_task_soon(_leave, wait)
            raise
        if error is not None:
            raise error
        return answer

    def start_task_soon(self, function: Callable[..., Awaitable[R]], *args: Any) -> Future[R]:
        """The same without waiting."""
        return self._portal.start_task_soon(function, *args)


class _Wait:
    """A thread's wait for the loop, which it may leave at any moment."""

    __slots__ = ("left", "scope")

    def __init__(self) -> None:
        self.left = False
        self.scope: CancelScope | None = None


async def _waited(
    wait: _Wait, function: Callable[..., Any], args: tuple[Any, ...]
) -> tuple[Any, BaseException | None]:
    with CancelScope() as wait.scope:
        if not wait.left:
            return await _held(function, args)
    return None, None  # which nobody takes


async def _leave(wait: _Wait) -> None:
    wait.left = True
    if wait.scope is not None:
        wait.scope.cancel()  # of no use if it has ended, which is what raised then


async def _held(
    function: Callable[..., Any], args: tuple[Any, ...]
) -> tuple[Any, BaseException | None]:
    try:
        answer = function(*args)
        return (await answer if inspect.isawaitable(answer) else answer), None
    except _Carried as carrier:
        return None, carrier.error


class Closing(Protocol):
    """What is ended in good order with the process: a cache."""

    async def aclose(self) -> Any: ...


_lock = threading.Lock()
_Open = tuple[Portal, AbstractContextManager[BlockingPortal]]
_open: _Open | None = None
_parents: list[_Open] = []
_loops: weakref.WeakKeyDictionary[Portal, asyncio.AbstractEventLoop] = weakref.WeakKeyDictionary()
_caches: weakref.WeakSet[Closing] = weakref.WeakSet()


def portal_for(cache: Closing) -> Portal:
    """The portal of this process; `cache` is ended in good order when the process ends.

    One for all, because calls can only be made one where they meet in one event loop.
    """
    global _open  # noqa: PLW0603 - one a process is what it is
    with _lock:
        if _open is None:
            manager = start_blocking_portal(name="samecall-portal")
            _open = (Portal(manager.__enter__()), manager)
        _caches.add(cache)
        return _open[0]


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


def _close(portal: Portal) -> None:
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
