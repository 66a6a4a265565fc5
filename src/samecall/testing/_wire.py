"""One connection through a `FaultProxy`: two directions, each with a queue and its faults."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from samecall.testing._requests import RequestCounter

__all__ = ["Faults", "Wire", "WireOwner"]

_READ = 64 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close sends RST instead of FIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What a `FaultProxy` does to connections; durations in seconds.

    latency: each reply comes so much later; requests are not held back, so the server acts at once.
    fragment: bytes go on in pieces of at most so many, each one a write of its own.
    bandwidth: bytes per second and direction.
    black_hole: connections are accepted and nothing goes through, in either direction; what was
        sent meanwhile goes on after it, as after a partition.
    refuse: nobody listens, and the connections there are end.
    cut_after: each connection is reset once so many bytes of replies went through it.
    reset_every: all connections are reset at this interval.
    """

    latency: float = 0.0
    fragment: int | None = None
    bandwidth: float | None = None
    black_hole: bool = False
    refuse: bool = False
    cut_after: int | None = None
    reset_every: float | None = None


class WireOwner(Protocol):
    """What a wire needs of its proxy."""

    faults: Faults
    passing: asyncio.Event
    commands: int
    flushes: int

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]: ...


class Wire:
    """One client's connection, and the one to the server that belongs to it."""

    def __init__(
        self, owner: WireOwner, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._owner = owner
        self._client = (reader, writer)
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._replies: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        self._counter = RequestCounter()
        self._answered = True  # a reply came after the last request
        self.passed = 0
        self._task = asyncio.current_task()

    async def run(self) -> None:
        """Carry bytes until either side ends or the wire is reset."""
        try:
            await self._owner.passing.wait()
            self._server = await self._owner.dial()
            carriers = (self._requests, self._read_replies, self._write_replies)
            await _until_first_ends(*carriers)
        except (OSError, asyncio.CancelledError):
            self.reset()
        finally:
            for _, writer in filter(None, (self._client, self._server)):
                writer.close()

    def reset(self) -> None:
        """End both sides at once; the client's sees a reset."""
        for _, writer in filter(None, (self._client, self._server)):
            peer: socket.socket | None = writer.get_extra_info("socket")
            if peer is not None and peer.fileno() >= 0:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    def end(self) -> None:
        """Reset, and let `run` come to its end."""
        self.reset()
        if self._task is not None:
            self._task.cancel()

    def inject(self, data: bytes) -> None:
        """Put bytes of nobody's into the replies."""
        self._replies.put_nowait((0.0, data))

    async def _requests(self) -> None:
        reader, writer = self._client[0], self._to_server()
        while data := await reader.read(_READ):
            before = self._counter.commands
            self._counter.feed(data)
            self._owner.commands += self._counter.commands - before
            self._owner.flushes += self._answered
            self._answered = False
            await self._send(writer, data)

    async def _read_replies(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._server is not None  # noqa: S101 - set before anything is carried
        while data := await self._server[0].read(_READ):
            self._answered = True
            self._replies.put_nowait((loop.time() + self._owner.faults.latency, data))
        await self._replies.join()

    async def _write_replies(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await self._replies.get()
            if (early := due - loop.time()) > 0:
                await asyncio.sleep(early)
            limit = self._owner.faults.cut_after
            if limit is not None and self.passed + len(data) > limit:
                await self._send(self._client[1], data[: max(0, limit - self.passed)])
                self.reset()
                return
            self.passed += len(data)
            await self._send(self._client[1], data)
            self._replies.task_done()

    def _to_server(self) -> asyncio.StreamWriter:
        assert self._server is not None  # noqa: S101 - set before anything is carried
        return self._server[1]

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        faults = self._owner.faults
        step = faults.fragment or len(data) or 1
        for start in range(0, len(data), step):
            await self._owner.passing.wait()
            piece = data[start : start + step]
            writer.write(piece)
            await writer.drain()
            if faults.fragment is not None or faults.bandwidth is not None:
                pace = len(piece) / faults.bandwidth if faults.bandwidth else 0.0
                await asyncio.sleep(pace)


async def _until_first_ends(*carriers: Callable[[], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(_carry(carrier)) for carrier in carriers]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _carry(carrier: Callable[[], Awaitable[None]]) -> None:
    await carrier()
