"""A request for a stream: what it brings to a flight, and the call that fills a tape."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import msgspec

from samecall._entry import Payload
from samecall._flight import Flight
from samecall._holding import Hold
from samecall._lease import Claim, ClaimState
from samecall._outcome import Crashed, Found, Outcome, Request, Unstored
from samecall._ports import Clock, MonotonicClock, Reach, StreamCodec
from samecall._stream import MOST_BYTES, End, Studio, Tape, TrackCodec

__all__ = ["Kept", "Listener", "close", "listener", "opened"]

_BREATH = 64  # items without a pause, after which a provider that never waits lets others run
_AHEAD = 1_000  # items that the leader's own consumer may be behind once nothing more is kept
_OWN = 256
"""Items of the provider's that wait for the consumer whose call it is; an SDK's take ten times the
room of their bytes. One who is further behind gets equal ones; so does one whose items may change.
"""
_PACKED_HERE = 256, 64 * 1024
"""Chunks and bytes that are packed at once; more would hold up the loop, and go to a thread."""
_HELD = 80  # bytes that a chunk takes in memory beside its own: its object, and when it came
_UNFOLDED = 4  # chunks may be this many times `max_entry`: what is stored of them is compact


@dataclass(frozen=True, slots=True)
class Kept:
    """In the place of an item: what the tape has of it."""

    chunk: bytes


@dataclass(slots=True, eq=False, repr=False)
class Listener(Request):
    """One consumer's question, which a stream answers."""

    streams: ClassVar[bool] = True
    stream: StreamCodec[Any] = field(kw_only=True)
    clock: Clock = field(default_factory=MonotonicClock)
    source: Callable[[], Any] = field(init=False)
    items: deque[Any] = field(default_factory=deque[Any])
    """The provider's own items, and where they are many what the tape has of them, for the
    consumer whose call it is.
    """
    present: bool = True
    """Whether that consumer still takes them."""
    tape: Tape | None = None
    studio: Studio | None = None
    taken: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.source, self.call = self.call, self._record

    @asynccontextmanager
    async def led(
        self, claim: Claim, hold: Hold, flight: Flight[Outcome], studio: Studio
    ) -> AsyncGenerator[Callable[[], Awaitable[None]]]:
        """Record while the call streams; what is given says how it ended, before the store does."""
        tape, self.studio = Tape(claim.stamp, local=True), studio
        self.tape = tape
        async with studio.recording(tape):
            flight.generation.led_by(claim.stamp)
            if claim.state is ClaimState.ALONE or not studio.archive.records:
                async with hold.kept(takes=False) as nothing:
                    yield nothing
                return
            lease, timeout = self.policy.lease, self.policy.op_timeout
            heard = partial(_heard, flight)
            epoch = claim.epoch
            record = partial(studio.recorded, self.key, tape, lease, timeout)
            async with hold.kept(renews=False), record(heard, hold.lapsed, epoch) as recorder:
                flight.deserted = recorder.ask
                yield lambda: recorder.end(*_ending(flight.outcome, tape))

    def begins(self, generations: tuple[bytes, ...]) -> None:
        """Whoever follows the tape is to know of which generations it is."""
        if self.tape is not None:
            self.tape.tags, self.tape.generations = self.tags, generations

    async def _record(self) -> Tape:
        """Call, and put what comes on the tape: waits for the provider and for nobody else."""
        tape = self.tape
        if tape is None:
            raise RuntimeError("nobody leads")
        began = self.clock.now()
        items = await opened(self.source)
        try:
            count = 0
            async for item in items:
                self._take(tape, item, self.clock.now() - began)
                count += 1
                if count % _BREATH == 0:
                    await asyncio.sleep(0)
                if tape.end is not None:
                    await self._wait_for_owner()
        finally:
            await close(items)
        tape.whole = tape.end is None
        return tape

    def _take(self, tape: Tape, item: Any, time: float) -> None:
        chunk = self._chunk(tape, item)
        if self.present:
            if chunk is not None and (len(self.items) >= _OWN or self._may_change(item)):
                self.items.append(Kept(chunk))
            else:
                self.items.append(item)
        if chunk is None:
            tape.owner.wake()
        else:
            tape.append(chunk, time)

    def _may_change(self, item: Any) -> bool:
        """Whether it may be another one by the time that the consumer takes it.

        Whoever yields may go on with it: a list that grows with each token.
        """
        stays = getattr(self.stream, "stays", None)
        return stays is not None and not stays(item)

    def _chunk(self, tape: Tape, item: Any) -> bytes | None:
        """What the tape keeps of an item; None from the first one on that it cannot keep."""
        if tape.end is not None:
            return None
        try:
            chunk = self.stream.encode(item)
        except Exception:  # noqa: BLE001 - whatever it is, the item is paid for
            tape.finish(End.UNSTORABLE)
            return None
        room = max(_UNFOLDED * self.policy.max_entry, MOST_BYTES)
        if tape.size + _HELD * len(tape.chunks) + len(chunk) <= room:
            return chunk
        tape.finish(End.OVERFLOW)
        return None

    async def _wait_for_owner(self) -> None:
        # nothing is kept any more, so nobody else is held up: only memory is at stake
        while self.present and len(self.items) > _AHEAD:
            self.taken.clear()
            await self.taken.wait()

    async def encoded(self, value: Tape) -> Payload:
        """The whole stream in its stored form; a long one is packed beside the loop."""
        chunks, size = _PACKED_HERE
        if self.studio is None or (len(value.chunks) <= chunks and value.size <= size):
            return self.codec.encode(value)
        return await self.studio.aside(partial(self.codec.encode, value))

    def again(self, seen: bytes) -> Listener:
        """The same question, asked in the background: no consumer takes its items."""
        request = Request(
            self.key, self.source, self.policy, self.codec, seen, tags=self.tags, asked=self.asked
        )
        asked = listener(request, TrackCodec(self.stream), self.clock)
        asked.present = False
        return asked

    def takes(self, stamp: bytes) -> None:
        """The consumer has begun to take this generation; tell its codec, if it asks."""
        told = getattr(self.stream, "taken", None)
        if told is not None:
            told(self.key, stamp)

    def enter(self) -> None:
        """The consumer waits for a flight, which may come to lead for it."""
        self.tape, self.present = None, True

    def leave(self) -> None:
        """The consumer takes no more items."""
        self.present = False
        self.items.clear()
        self.taken.set()


def listener(request: Request, view: TrackCodec, clock: Clock) -> Listener:
    """A request that asks for a stream."""
    return Listener(
        request.key, request.call, request.policy, view, request.seen, request.began,
        tags=request.tags, asked=request.asked, calls=request.calls, stream=view.stream,
        clock=clock,
    )  # fmt: skip


def _heard(flight: Flight[Outcome], followers: int) -> None:
    """Nobody here, nobody elsewhere: a call that may be abandoned is."""
    if followers == 0 and flight.callers == 0 and flight.abandon and flight.outcome is None:
        flight.give_up()


def _ending(outcome: Outcome | None, tape: Tape) -> tuple[End, bytes]:
    """What those who follow a recording are told of its end."""
    match outcome:
        case Crashed(failure=failure) if failure.reach is Reach.FLEET:
            return End.ERROR, msgspec.msgpack.encode(failure.record)
        case Found() | Unstored():
            return tape.end or End.DONE, b""
        case _:
            return End.BROKEN, b""


async def opened(source: Callable[[], Any]) -> AsyncIterator[Any]:
    """The provider's items; a call may also be an async generator function."""
    items = source()
    if inspect.isawaitable(items):
        items = await items
    if not hasattr(items, "__aiter__"):
        kind = type(items).__name__
        raise TypeError(f"call takes an async function that gives an async iterator; not {kind}")
    return aiter(items)


async def close(items: object) -> None:
    """End the provider's stream, however its SDK calls that.

    An end that fails is nobody's affair: it must not stand in for what came, or for an error.
    """
    for name in ("aclose", "close"):
        ending = getattr(items, name, None)
        if ending is not None:
            with suppress(Exception):
                done = ending()
                if inspect.isawaitable(done):
                    await done
            return
