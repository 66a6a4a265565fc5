"""Bells inside one process: rung in any thread, heard in the event loop of who listens."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from types import TracebackType

from samecall._entry import Key

__all__ = ["Belfry"]

_KEPT = 64
"""Messages that a listener may leave unheard; older ones go first (a ring is only a hint)."""


class _Bell:
    """One listener's bell; all but its making happens in the thread of its loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._messages: deque[bytes] = deque(maxlen=_KEPT)
        self._rung = asyncio.Event()

    def put(self, message: bytes) -> None:
        self._messages.append(message)
        self._rung.set()

    async def wait(self, timeout: float) -> bytes | None:
        if not self._messages:
            try:
                async with asyncio.timeout(timeout):
                    while not self._messages:  # another wait of this bell may have been faster
                        await self._rung.wait()
            except TimeoutError:
                if not self._messages:
                    return None
        message = self._messages.popleft()
        self._rung.clear()  # what is left is found before the next wait
        return message


class _Listening:
    """The subscription of one bell, entered at once: in memory there is nobody to confirm it."""

    def __init__(self, belfry: Belfry, key: Key) -> None:
        self._belfry = belfry
        self._key = key
        self._bell: _Bell | None = None

    async def __aenter__(self) -> _Bell:
        self._bell = _Bell()
        self._belfry.hang(self._key, self._bell)
        return self._bell

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bell is not None:
            self._belfry.take_down(self._key, self._bell)


class Belfry:
    """All bells of a store, by key. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bells: dict[Key, list[_Bell]] = {}

    def __len__(self) -> int:
        with self._lock:
            return sum(len(bells) for bells in self._bells.values())

    def __bool__(self) -> bool:
        return bool(self._bells)

    def listen(self, key: Key) -> _Listening:
        """An async context manager that gives a bell."""
        return _Listening(self, key)

    def hang(self, key: Key, bell: _Bell) -> None:
        with self._lock:
            self._bells.setdefault(key, []).append(bell)

    def take_down(self, key: Key, bell: _Bell) -> None:
        with self._lock:
            bells = self._bells.get(key, [])
            if bell in bells:
                bells.remove(bell)
            if not bells:
                self._bells.pop(key, None)

    def heard(self, key: Key) -> int:
        """How many listen at a key."""
        with self._lock:
            return len(self._bells.get(key, ()))

    def ring(self, key: Key, message: bytes) -> int:
        """Give a message to everybody who listens at `key`, and tell how many they are.

        Call it outside of other locks.
        """
        with self._lock:
            bells = tuple(self._bells.get(key, ()))
        for bell in bells:
            try:
                bell.loop.call_soon_threadsafe(bell.put, message)
            except RuntimeError:  # its loop was closed with the bell still hanging
                self.take_down(key, bell)
        return len(bells)

    def ring_all(self) -> None:
        """Tell everybody who listens, at whatever key, to look again."""
        with self._lock:
            keys = tuple(self._bells)
        for key in keys:
            self.ring(key, b"")

    def forget_all(self) -> None:
        """After a fork: the listeners live in the parent."""
        self._lock = threading.Lock()
        self._bells = {}
