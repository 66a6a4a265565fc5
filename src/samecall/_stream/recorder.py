"""The leader's side of a recording: what is on a tape goes to the store, in frames.

The provider's loop only appends to the tape. A task of its own takes what is new there with each of
the tape's groups, every 25 ms or 8 KB, and sends one frame at a time; a frame whose fate is unknown
is sent again as it was. With nothing to send it still renews the lease, as often as a `Claim` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from samecall._recordings import Recorded
from samecall._stream.frames import Frame, Frames
from samecall._stream.groups import WINDOW
from samecall._stream.tape import End, Tape
from samecall._watching import wake

__all__ = ["MOST_BYTES", "MOST_CHUNKS", "Recorder", "Send"]

MOST_BYTES = 4 * 2**20
MOST_CHUNKS = 20_000
"""A recording ends where it would grow past either."""
_FRAME = 64 * 1024  # bytes of chunks in one frame, where one chunk has not more
_TRIES = 3  # at the least, for what is left at the end of a stream


class Send(Protocol):
    """Number and bytes of a frame (0 and b"" only renew); None: nobody knows."""

    def __call__(self, number: int, frame: bytes) -> Awaitable[Recorded | None]: ...


class Recorder:
    """Records one tape.

    tick: seconds after which the lease is renewed. heard: told after each reply how many processes
    follow. lost: called when a reply says that the lease is not ours.
    """

    def __init__(
        self,
        tape: Tape,
        frames: Frames,
        send: Send,
        tick: float,
        heard: Callable[[int], None],
        lost: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._tape = tape
        self._frames = frames
        self._send = send
        self._tick = tick
        self._lease = 3 * tick
        self._reached = self._loop.time()  # when the store last answered
        self._heard = heard
        self._lost = lost
        self._recording = True
        self._leads = True
        self._number = 0
        self._sent = 0  # chunks in frames that are made
        self._size = 0  # the tape's size up to there
        self._frame = b""  # made, and perhaps not there yet
        self._last = False  # that one is the last one
        self._end: End | None = None
        self._error = b""
        self._asked = False
        self._closing = False
        self._closed = asyncio.Event()
        self._grouped = True  # what is not yet sent is to be sent now
        self._soonest = 0.0  # a store that is away is not asked at each chunk
        self._waiter: asyncio.Future[None] | None = None  # of the task, unless it is sending

    async def run(self) -> None:
        """Record until `end`, or until the lease is lost."""
        self._tape.grouped = self._group
        try:
            await self._run()
        finally:
            self._tape.grouped = None
            self._closed.set()

    async def _run(self) -> None:
        failed = 0
        while self._leads:
            await self._due()
            if self._closing and not self._open():
                return
            began = self._loop.time()
            done = await self._flush()
            failed = 0 if done else failed + 1
            if done:
                self._reached = began
            if failed:
                self._soonest = began + min(WINDOW * 2**failed, 0.5)
            if self._closing and failed >= _TRIES and began - self._reached > self._lease:
                return  # the store is away: whoever follows will look for the value

    async def end(self, end: End, error: bytes = b"") -> None:
        """Send what is left, with the reason why nothing follows; then `run` has returned."""
        if self._end is None:
            self._end, self._error = end, error
        self._closing = True
        self._wake()
        await self._closed.wait()

    def ask(self) -> None:
        """Send something soon, to hear who follows; once nothing is recorded, nobody does."""
        if self._closed.is_set():
            self._heard(0)
        self._asked = True
        self._wake()

    # --- when ------------------------------------------------------------------------------------

    def _open(self) -> bool:
        """Whether there is something to send, or to end."""
        return bool(self._frame) or self._fresh() or self._ending()

    def _fresh(self) -> bool:
        return self._recording and self._sent < len(self._tape.chunks)

    def _ending(self) -> bool:
        return self._recording and self._end is not None

    def _group(self) -> None:
        self._grouped = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None:
            wake(self._waiter)

    async def _due(self) -> None:
        """Return when a frame is to be sent."""
        tick = self._loop.time() + self._tick
        while True:
            if self._tape.end is not None and self._end is None:
                self._end = self._tape.end  # nothing more can be kept: nobody need wait for it
            due = self._frame or self._asked or self._ending() or (self._grouped and self._fresh())
            ends = self._soonest if due or self._closing else tick
            if self._loop.time() >= ends:
                return
            await self._sleep(ends)

    async def _sleep(self, ends: float) -> None:
        self._waiter = self._loop.create_future()
        alarm = self._loop.call_at(ends, wake, self._waiter)
        try:
            await self._waiter
        finally:
            self._waiter = None
            alarm.cancel()

    # --- what ------------------------------------------------------------------------------------

    async def _flush(self) -> bool:
        self._asked = False
        if not self._frame and self._open():
            self._frame = self._next_frame()
        number = self._number if self._frame else 0
        done = await self._send(number, self._frame)
        if done is None:
            return False
        self._leads = done.leads
        if not done.leads:
            self._lost()
        if not done.leads or not done.whole or self._last:
            self._recording, self._last = False, False
        self._frame = b""
        if self._tape.groups is not None:
            self._tape.groups.follow(followed=done.followers != 0)
        self._heard(done.followers)
        return True

    def _next_frame(self) -> bytes:
        tape, first = self._tape, self._sent
        upto, size = first, 0
        while upto < len(tape.chunks) and (size == 0 or size + len(tape.chunks[upto]) <= _FRAME):
            if upto == MOST_CHUNKS or self._size + size + len(tape.chunks[upto]) > MOST_BYTES:
                self._end, self._error = End.OVERFLOW, b""
                break
            size += len(tape.chunks[upto]) + 1
            upto += 1
        over = self._end is End.OVERFLOW and upto < len(tape.chunks)
        self._last = self._end is not None and (over or upto == len(tape.chunks))
        self._grouped = upto < len(tape.chunks)
        self._sent, self._size, self._number = upto, self._size + size, self._number + 1
        end, error = (self._end.value, self._error) if self._last and self._end else ("", b"")
        chunks = tape.chunks[first:upto]
        times = [round(time * 1000) for time in tape.times[first:upto]]
        of = (tape.tags, tape.generations) if self._number == 1 else ((), ())
        return self._frames.pack(Frame(self._number, first, chunks, times, end, error, *of))
