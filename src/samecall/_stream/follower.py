"""A follower's side of a recording: what another process records comes onto a tape here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from samecall._entry import Key
from samecall._errors import Undecodable
from samecall._events import EntryUndecodable, Event
from samecall._policy import Policy
from samecall._seal import CLOCKS, Seal
from samecall._stream.archive import Archive
from samecall._stream.frames import Frame, Frames
from samecall._stream.tape import End, Tape

__all__ = ["Follower"]


class Follower:
    """Reads one recording from its start, then as it grows, for any number of consumers.

    It reads as fast as frames come and puts them on the tape, so a slow consumer holds up nobody,
    and no life of a recording cuts it off. A frame that rings is taken if it is the next one; else
    what is missing is read.
    """

    def __init__(
        self,
        archive: Archive,
        key: Key,
        token: bytes,
        policy: Policy,
        emit: Callable[[Event], None],
        seals: Seal | None = None,
    ) -> None:
        self.tape = Tape(token)
        self.users = 0
        self.task: asyncio.Task[None] | None = None
        self._archive = archive
        self.key = key
        # older than a call may last, it is none that runs: somebody has put it back
        self._frames = Frames(key, token, seals, policy.deadline + CLOCKS)
        self._timeout = policy.op_timeout
        self._emit = emit
        self._number = 0  # of the last frame that is on the tape
        self._reading = asyncio.Lock()

    async def run(self) -> None:
        """Follow until the end of the recording."""
        tape, key = self.tape, self.key
        async with self._archive.follow(key, tape.token, self._timeout) as bell:
            await self.read_on()
            while tape.end is None:
                data, known = await bell.wait(bell.pause()), self._number
                if not (data and self._hear(data)):
                    await self.read_on()
                if data is None and self._number > known:
                    bell.found()

    async def read_on(self) -> None:
        """Put on the tape what is in the store and not yet here."""
        async with self._reading:
            if self.tape.end is not None:
                return
            replay = self._archive.replay
            frames = await replay(self.key, self.tape.token, self._number, self._timeout)
            for data in frames or ():
                if not self._hear(data):
                    # a hole or damage: nobody reads past it, and the value may still come
                    self.tape.finish(End.OVERFLOW)

    def _hear(self, data: bytes) -> bool:
        """Take a frame; False: what is before it is missing, or it cannot be read."""
        try:
            frame = self._frames.read(data)
        except Undecodable as refusal:
            self._emit(EntryUndecodable(self.key, str(refusal)))
            return False
        if frame.number <= self._number:
            return True
        if frame.number != self._number + 1 or frame.first != len(self.tape.chunks):
            return False
        self._number = frame.number
        self._take(frame)
        return True

    def _take(self, frame: Frame) -> None:
        if frame.number == 1:
            self.tape.tags, self.tape.generations = frame.tags, frame.generations
        self.tape.extend(frame.chunks, [time / 1000 for time in frame.times])
        if frame.ending is not None:
            self.tape.finish(frame.ending, frame.error)
