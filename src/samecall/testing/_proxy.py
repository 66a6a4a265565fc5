"""A TCP proxy in front of a Redis that does what bad networks do."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

from samecall._errors import ConfigurationError
from samecall.testing._wire import Faults, Wire

__all__ = ["FaultProxy", "ProxyCounts"]

T = TypeVar("T")
_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class ProxyCounts:
    """What went through: commands of clients, round trips (a request after a reply), connections
    ever accepted, and those open now.
    """

    commands: int
    round_trips: int
    connections: int
    open: int


class FaultProxy:
    """Stands between clients and the server at `target`, and carries bytes as `faults` say.

    target: a `redis://host:port/...` or `redis+unix:///path` URL; `url` is the same through the
    proxy. `set`, `heal`, `reset`, `inject` and `counts` may be called from any thread and have
    taken effect when they return. Used as `async with FaultProxy(target) as proxy` in the running
    loop, or `with FaultProxy.in_thread(target) as proxy` in a thread with a loop of its own.
    Raises `ConfigurationError` for a target or a fault that it does not know.
    """

    def __init__(self, target: str) -> None:
        self.faults = Faults()
        self.passing = asyncio.Event()
        self.passing.set()
        self.commands = 0
        self.flushes = 0
        self.port = 0
        self._target = urlsplit(target)
        if self._target.scheme not in ("redis", "redis+unix"):
            raise ConfigurationError(f"target takes redis:// or redis+unix://; got {target!r:.60}")
        self._connections = 0
        self._wires: set[Wire] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._listening: asyncio.Task[None] | None = None
        self._resetter: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        """Where clients connect, with the target's login, path and query."""
        login = self._target.netloc.rpartition("@")
        place = f"{login[0]}{login[1]}{_HOST}:{self.port}"
        path = "" if self._target.scheme == "redis+unix" else self._target.path
        return urlunsplit(("redis", place, path, self._target.query, ""))

    # --- the faults ------------------------------------------------------------------------------

    def set(self, **faults: Any) -> None:
        """Change some of the `Faults`; the others stay."""
        try:
            wanted = replace(self.faults, **faults)
        except TypeError as error:
            raise ConfigurationError(f"no such fault: {error}") from None
        self._do(lambda: self._apply(wanted))

    def heal(self) -> None:
        """End all faults."""
        self._do(lambda: self._apply(Faults()))

    def reset(self) -> None:
        """Reset all connections now."""
        self._do(self._reset)

    def inject(self, data: bytes) -> int:
        """Put bytes of nobody's into the replies of every open connection; how many there are."""
        return self._do(lambda: self._inject(data))

    def counts(self) -> ProxyCounts:
        """Counts since the proxy started."""
        return ProxyCounts(self.commands, self.flushes, self._connections, len(self._wires))

    def _do(self, work: Callable[[], T]) -> T:
        loop = self._loop
        if loop is None:
            raise ConfigurationError("this proxy has not been started")
        with suppress(RuntimeError):
            if asyncio.get_running_loop() is loop:
                return work()

        async def there() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(there(), loop).result(10.0)

    def _apply(self, wanted: Faults) -> None:
        before, self.faults = self.faults, wanted
        if wanted.black_hole:
            self.passing.clear()
        else:
            self.passing.set()
        if wanted.cut_after != before.cut_after:
            for wire in self._wires:
                wire.passed = 0
        if wanted.refuse and self._listener is not None:
            self._shut()
            self._reset()
        if before.refuse and not wanted.refuse:
            self._open()
        if self._resetter is not None:
            self._resetter.cancel()
            self._resetter = None
        if wanted.reset_every is not None:
            self._resetter = self._start(self._reset_every(wanted.reset_every))

    def _reset(self) -> None:
        for wire in tuple(self._wires):
            wire.end()

    async def _reset_every(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            self._reset()

    def _inject(self, data: bytes) -> int:
        for wire in self._wires:
            wire.inject(data)
        return len(self._wires)

    # --- its life --------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._shut()
        self._reset()
        while self._tasks:
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            # From Python 3.12 on, to gather what has ended takes no turn of the loop, in which
            # they would leave the set.
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # in which the last connections end
        self._loop = None

    @classmethod
    @contextmanager
    def in_thread(cls, target: str) -> Generator[Self]:
        """A proxy in a thread of its own, so that no busy loop slows it down."""
        proxy = cls(target)
        ready, leave = threading.Event(), asyncio.Event()
        loop = asyncio.new_event_loop()
        failed: list[BaseException] = []

        async def main() -> None:
            async with proxy:
                ready.set()
                await leave.wait()

        def run() -> None:
            try:
                loop.run_until_complete(main())
            except OSError as error:
                failed.append(error)
            finally:
                ready.set()
                loop.close()

        thread = threading.Thread(target=run, name="samecall-fault-proxy", daemon=True)
        thread.start()
        try:
            ready.wait()
            if failed:
                raise failed[0]
            yield proxy
        finally:
            if not failed:
                loop.call_soon_threadsafe(leave.set)
            thread.join()

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the server itself."""
        if self._target.scheme == "redis+unix":
            return await asyncio.open_unix_connection(self._target.path)
        return await asyncio.open_connection(self._target.hostname, self._target.port or 6379)

    def _open(self) -> None:
        # listens from here on, although the loop begins to accept a little later
        self._listener = socket.create_server((_HOST, self.port), backlog=128)
        self._listener.setblocking(False)  # noqa: FBT003 - its only argument
        self.port = self._listener.getsockname()[1]
        self._listening = self._start(self._listen(self._listener))

    def _shut(self) -> None:
        listener, self._listener = self._listener, None
        if listener is None or self._listening is None:
            return
        self._listening.cancel()
        # before its number is another socket's
        asyncio.get_running_loop().remove_reader(listener)
        listener.close()

    async def _listen(self, listener: socket.socket) -> None:
        # Not by asyncio's own server: when it is closed while it accepts, Python 3.12 and 3.13
        # leave a transport behind whose end fails.
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listener)
            # asyncio does that for sockets of its own; without it a small reply waits 40 ms
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader, writer = await asyncio.open_connection(sock=connection)
            accepted = self._start(self._accept(reader, writer))
            # also if it is cancelled before it begins
            accepted.add_done_callback(_closing(writer))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        wire = Wire(self, reader, writer)
        self._wires.add(wire)
        try:
            await wire.run()
        finally:
            self._wires.discard(wire)

    def _start(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _closing(writer: asyncio.StreamWriter) -> Callable[[object], None]:
    return lambda _: writer.close()
