"""A synchronous SDK's stream, opened, read and closed by one thread; nobody waits for that thread.

A thread that waits for bytes cannot be cancelled, and closing what it reads from another thread
does not wake it: the system keeps the connection until the reading returns, and gives the file's
number to somebody else meanwhile. So who leaves shuts the connection down, and the thread, which
hears of its end, closes what it has opened.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any, cast

from samecall._portal import carried

__all__ = ["Reading"]

_OVER = object()
_AHEAD = 64  # events that are read before they are asked for
_AGAIN = 0.05, 1.0  # seconds until one looks whether the thread has heard: first, and at most


class Reading:
    """The events of the stream that `opening` gives; blocks the calling loop never.

    Of a call that is not answered yet nothing is shut down: an SDK would make it once more. Its
    stream is closed when it comes.
    """

    def __init__(self, opening: Callable[[], Any]) -> None:
        self._opening = opening
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[Any] = self._loop.create_future()
        self._events: asyncio.Queue[tuple[Any, BaseException | None]] = asyncio.Queue()
        self._room = threading.Semaphore(_AHEAD)
        self._lock = threading.Lock()
        self._left = False  # nobody takes events any more
        self._reads = False  # the thread is among the stream's events
        run = copy_context().run
        self._thread = threading.Thread(
            target=run, args=(self._run,), name="samecall-reading", daemon=True
        )

    async def open(self) -> Any:
        """The SDK's own stream; raises what the call raises."""
        self._thread.start()
        try:
            return await self._opened
        except asyncio.CancelledError:
            self._leave()
            raise

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        event, error = await self._events.get()
        self._room.release()
        if error is not None:
            raise error
        if event is _OVER:
            raise StopAsyncIteration
        return event

    async def aclose(self) -> None:
        """Take no more events; the connection ends now, and the thread as soon as it has heard."""
        self._leave()

    # --- the loop's side -------------------------------------------------------------------------

    def _leave(self, again: float = _AGAIN[0]) -> None:
        # under the lock the thread is there for sure: nobody else has its number
        with self._lock:
            self._left = True
            self._room.release()
            if not self._reads:
                return
            _wake(self._thread.ident)
        # it may have been busy with an event's beginning, and be about to wait for the rest
        self._loop.call_later(again, self._leave, min(2 * again, _AGAIN[1]))

    def _answer(self, raw: Any, error: BaseException | None) -> None:
        if self._opened.done():  # cancelled
            return
        if error is None:
            self._opened.set_result(raw)
        else:
            self._opened.set_exception(error)

    # --- the thread's side -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            raw = self._opening()
            events = iter(raw)
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            self._tell(self._answer, None, carried(error))
            return
        self._tell(self._answer, raw, None)
        end: tuple[Any, BaseException | None] = (_OVER, None)
        try:
            self._pass_on(events)
        except BaseException as error:  # noqa: BLE001 - it is the reader's
            end = (None, carried(error))
        finally:
            for owner in (events, raw):
                _close(owner)
            self._tell(self._events.put_nowait, end)

    def _pass_on(self, events: Any) -> None:
        try:
            with self._lock:
                self._reads = not self._left
            while self._reads and not self._left:
                event = next(events, _OVER)
                if event is _OVER:
                    return
                self._tell(self._events.put_nowait, (event, None))
                self._room.acquire()
        finally:
            with self._lock:
                self._reads = False

    def _tell(self, function: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop has ended: there is nobody to tell
            self._left = True


def _close(owner: Any) -> None:
    close = getattr(owner, "close", None)
    if close is not None:
        with suppress(Exception):  # of a connection that has been shut down
            close()


def _wake(thread: int | None) -> None:
    """End what a thread waits for on the network, if it does."""
    frames: dict[int, Any] = getattr(sys, "_current_frames", dict)()  # CPython has them
    frame = frames.get(thread or 0)
    while frame is not None:
        found = _socket_of(frame.f_locals.get("self"))
        if found is not None:
            with suppress(OSError):  # it has ended by itself
                # not the method of a TLS socket, which would take the layer off a reading thread
                socket.socket.shutdown(found, socket.SHUT_RDWR)
            return
        frame = frame.f_back


def _socket_of(reader: object) -> socket.socket | None:
    """What `reader`, if it is a socket, a file of one, or a stream of httpcore, reads from."""
    found: Any = None
    if isinstance(reader, (socket.socket, socket.SocketIO)):
        found = getattr(reader, "_sock", reader)
    elif hasattr(type(reader), "get_extra_info"):
        found = cast("Any", reader).get_extra_info("socket")
    return found if isinstance(found, socket.socket) else None
