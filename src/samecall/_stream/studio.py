"""The tapes of one event loop: those that it records, and those that it follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

from samecall._entry import Key
from samecall._events import Event
from samecall._failopen import FailOpenStore
from samecall._policy import Policy
from samecall._seal import Seal
from samecall._stream.archive import Archive
from samecall._stream.follower import Follower
from samecall._stream.frames import Frames
from samecall._stream.recorder import Recorder
from samecall._stream.tape import End, Tape

__all__ = ["Studio"]

T = TypeVar("T")
_LIFE = 30.0  # seconds that a recording outlives its leader's last sign, or its end
_TICK_AT_MOST = 5.0 / 3


class Studio:
    """Where streams are recorded and followed: one follower per generation, whoever listens."""

    def __init__(
        self, store: FailOpenStore, emit: Callable[[Event], None], seals: Seal | None = None
    ) -> None:
        self.archive = Archive(store)
        self._seals = seals
        self._emit = emit
        self._own: dict[bytes, Tape] = {}
        self._followed: dict[bytes, Follower] = {}
        self._buried: dict[Tape, Follower] = {}
        self._aside: ThreadPoolExecutor | None = None

    # --- who leads -------------------------------------------------------------------------------

    @asynccontextmanager
    async def recording(self, tape: Tape) -> AsyncGenerator[None]:
        """While the body runs, consumers of this loop find the tape; and then its end."""
        self._own[tape.token] = tape
        try:
            yield
        except BaseException:
            if not tape.whole:
                tape.finish(End.BROKEN)
            raise
        finally:
            del self._own[tape.token]
            tape.watchers.wake()

    def bury(self, token: bytes) -> None:
        """This generation was forgotten: what is here of it is for those who take it already."""
        tape, follower = self._own.get(token), self._followed.pop(token, None)
        if tape is not None:
            tape.buried = True
        if follower is not None:
            self._buried[follower.tape] = follower

    def bury_all(self, key: Key) -> None:
        """The same for all generations of `key` that this loop follows, whoever led just now."""
        for token, follower in tuple(self._followed.items()):
            if follower.key == key:
                self.bury(token)

    def records(self, tape: Tape) -> bool:
        """Whether this tape of this loop still grows."""
        return self._own.get(tape.token) is tape

    @asynccontextmanager
    async def recorded(
        self, key: Key, tape: Tape, lease: float, timeout: float, heard: Callable[[int], None],
        lost: Callable[[], None], epoch: bytes,
    ) -> AsyncGenerator[Recorder]:  # fmt: skip
        """While the body runs, the tape goes to the store and the lease is renewed.

        heard: told how many processes follow. lost: called when the lease turns out not to be ours.
        """
        record = partial(self.archive.record, key, tape.token)
        life = max(_LIFE, 2 * lease)
        recorder = Recorder(
            tape,
            Frames(key, tape.token, self._seals),
            lambda number, frame: record(number, frame, lease, life, epoch, timeout),
            min(lease / 3, _TICK_AT_MOST),
            heard,
            lost,
        )
        task = asyncio.get_running_loop().create_task(recorder.run())
        try:
            yield recorder
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def aside(self, work: Callable[[], T]) -> T:
        """Do what takes long in a thread, and let the loop go on."""
        if self._aside is None:
            # its own: the loop's may be full of somebody else's waiting
            self._aside = ThreadPoolExecutor(1, "samecall-streams")
        return await asyncio.get_running_loop().run_in_executor(self._aside, work)

    # --- who follows -----------------------------------------------------------------------------

    def tune(self, key: Key, token: bytes, policy: Policy, *, elsewhere: bool) -> Tape | None:
        """The tape of a generation, until `leave`; None: nobody records it."""
        tape = self._own.get(token)
        if tape is not None and tape.buried and elsewhere:
            tape = None  # an ACQUIRE that came twice gave it a lease once more
        if tape is not None or not elsewhere or not self.archive.records:
            return tape
        follower = self._followed.get(token)
        if follower is None:
            follower = self._followed[token] = Follower(
                self.archive, key, token, policy, self._emit, self._seals
            )
            follower.task = asyncio.get_running_loop().create_task(follower.run())
        follower.users += 1
        return follower.tape

    def leave(self, tape: Tape) -> None:
        """Be a user of a tape no more; the last one ends the following."""
        follower = self._follows(tape)
        if follower is None:
            return
        follower.users -= 1
        if follower.users == 0:
            if self._buried.pop(tape, None) is None:
                del self._followed[tape.token]
            if follower.task is not None:
                follower.task.cancel()

    def _follows(self, tape: Tape) -> Follower | None:
        follower = self._buried.get(tape) or self._followed.get(tape.token)
        return None if follower is None or follower.tape is not tape else follower

    async def look_again(self, tape: Tape) -> None:
        """Get what may have been recorded unheard."""
        follower = self._follows(tape)
        if follower is not None:
            await follower.read_on()

    @property
    def statistics(self) -> tuple[int, int]:
        """How many tapes are recorded, and how many are followed."""
        return len(self._own), len(self._followed) + len(self._buried)

    async def aclose(self) -> None:
        """End all following."""
        if self._aside is not None:
            self._aside.shutdown(wait=False, cancel_futures=True)
            self._aside = None
        followers = (*self._followed.values(), *self._buried.values())
        tasks = [each.task for each in followers if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
