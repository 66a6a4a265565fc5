"""What one consumer of a stream gets: kept chunks, or those of a generation that is in the air.

finding --at hand--> a track  a stored stream, from the start or from where a tape broke off
        --join-----> a seat   the tape of whoever leads, here or in another process
        --bypass---> its own  the consumer's own call, for itself
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from samecall._arguments import Mode
from samecall._asking import ask, missing
from samecall._books import bill
from samecall._delivery import Again, deliver, spared
from samecall._entry import Key
from samecall._errors import StreamInterrupted
from samecall._listener import Listener, close, opened
from samecall._outcome import REFUSALS
from samecall._ports import SEEN_ANY, EntryUndecodable
from samecall._room import Room
from samecall._seat import NOTHING, Landed, Over, Seat
from samecall._several import Several
from samecall._stream import Track, ends_of

__all__ = ["one_of", "play"]

_BREATH = 32  # items in a row after which a consumer that never waits lets others run


async def play(here: Callable[[], Room], request: Listener, mode: Mode) -> AsyncGenerator[Any]:
    """One consumer's stream; counted like a call, when it ends."""
    room = here()
    room.books.opened(request)
    room.books.asks(request)
    room.counters.streams += 1
    consumer = _Consumer(room, request, mode)
    try:
        while True:
            try:
                item = await consumer.next()
            except Over:
                break
            except Exception as error:  # noqa: BLE001 - it is raised, unless a stale stream will do
                await consumer.spare(error)
                continue
            yield item
    except GeneratorExit as error:
        if consumer.left():  # with items in hand it has its answer
            room.books.answered(request, None)
        else:
            room.books.failed(request, error)
        raise
    except BaseException as error:
        room.books.failed(request, error)
        raise
    else:
        room.books.answered(request, None)
    finally:
        await consumer.leave()


async def one_of(
    several: Several, stream: Callable[[Key], AsyncGenerator[Any]]
) -> AsyncGenerator[Any]:
    """The items of one of several answers; it is settled also where a few were enough."""
    one = await several.one()
    async with aclosing(stream(one)) as items:
        try:
            async for item in items:
                yield item
        except GeneratorExit:
            await several.settle(one)
            raise
    await several.settle(one)


class _Consumer:
    """Where one consumer's items come from, and how many it has."""

    def __init__(self, room: Room, request: Listener, mode: Mode) -> None:
        self._room = room
        self._request = request
        self._mode: Mode = mode
        self._at = 0
        self._chunks: list[bytes] = []
        self._seat: Seat | None = None
        self._track: Track | None = None
        self._track_began = 0.0
        self._began = 0.0
        self._own: AsyncIterator[Any] | None = None
        self._ends: list[Any] = []
        """Of the consumer's own call: the first item and the last ones, which tell what it cost."""

    async def next(self) -> Any:
        """The next item; raises `Over` after the last one."""
        if self._at % _BREATH == _BREATH - 1:
            await asyncio.sleep(0)
        while True:
            seat = self._seat
            try:
                item = NOTHING if seat is None else seat.at_hand()
                if item is NOTHING:
                    item = await self._step()
            except Again:
                if self._at:
                    raise self._interrupted() from None
                self._rise()
            except Landed as landed:
                self._land(landed)
            else:
                self._at += 1
                return item

    async def _step(self) -> Any:
        if self._own is not None:
            return await self._own_item(self._own)
        if self._track is not None:
            return await self._kept(self._track)
        if self._seat is not None:
            return await self._seat.item()
        return await self._find()

    # --- where it comes from ---------------------------------------------------------------------

    async def _find(self) -> Any:
        room, request = self._room, self._request
        if self._mode == "bypass" or request.refusals >= REFUSALS or room.flights.closed:
            if self._mode == "only":
                raise missing(request.key)
            return await self._own_item(await self._call())
        found = room.at_hand(request)
        if found is None and self._mode == "only":
            found = await ask(room, request, self._mode)
        if found is not None:
            raise Landed(found)
        if request.seen == SEEN_ANY:  # what came before a refresh was asked for is no answer to it
            await room.settled(request.key)
        self._seat = Seat(room, request)
        return await self._seat.item()

    def _land(self, landed: Landed) -> None:
        try:
            got = deliver(self._room, self._request, landed.outcome)
            if not isinstance(got, Track):  # what a call gave, and what has no stored form
                self._request.refusals = REFUSALS
                raise Again
            if len(got.chunks) < self._at:
                raise Again
        except Again:
            if self._at:
                raise self._interrupted() from None
            self._rise()
            return
        self._play(got)

    async def spare(self, error: Exception) -> None:
        """Go on with a stale stream in place of an error before the first item; else raise it."""
        if self._at:
            raise error
        if self._seat is not None:
            self._seat.share()
        got = await spared(self._room, self._request, error)
        if not isinstance(got, Track):
            raise error
        self._play(got)

    def _play(self, track: Track) -> None:
        self._rise()
        self._track = track
        if self._at == 0 and self._request.entry is not None:
            self._request.takes(self._request.entry.stamp)
        self._track_began = asyncio.get_running_loop().time()

    def _rise(self) -> None:
        """Leave the seat, if there is one."""
        seat, self._seat = self._seat, None
        self._track = None
        if seat is not None:
            self._chunks = seat.tape.chunks if seat.tape is not None else []
            seat.leave()

    def _interrupted(self) -> StreamInterrupted:
        tape = self._seat.tape if self._seat is not None else None
        chunks = tape.chunks if tape is not None else self._chunks
        return StreamInterrupted(
            f"the stream broke after {self._at} items, and nobody has the rest",
            tuple(map(self._request.stream.decode, chunks[: self._at])),
        )

    # --- each way's next item --------------------------------------------------------------------

    async def _call(self) -> AsyncIterator[Any]:
        """The consumer's own call, for itself alone."""
        self._request.how = "bypass"
        self._room.books.asked(self._request, b"")
        self._began = self._room.clock.now()
        try:
            self._own = await opened(self._request.source)
        except Exception as error:
            self._paid(type(error).__name__)
            raise
        return self._own

    async def _own_item(self, own: AsyncIterator[Any]) -> Any:
        try:
            item = await anext(own)
        except StopAsyncIteration:
            self._paid(None)
            raise Over from None
        except Exception as error:
            self._paid(type(error).__name__)
            raise
        self._ends = [*ends_of([*self._ends, item])]
        return item

    def _paid(self, error: str | None) -> None:
        request, self._own = self._request, None
        spent = None if error is not None else bill(request, self._ends)
        self._room.books.paid(request, self._room.clock.now() - self._began, error, spent)

    async def _kept(self, track: Track) -> Any:
        if self._at >= len(track.chunks):
            raise Over
        request = self._request
        replay = request.policy.replay
        if replay != "instant" and request.how in ("l1", "l2"):
            speed = 1.0 if replay == "paced" else float(replay)
            due = self._track_began + track.times[self._at] / speed
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        try:
            return request.stream.decode(track.chunks[self._at])
        except Exception as error:  # as for entries: a miss, whatever it is
            self._room.emit(EntryUndecodable(request.key, type(error).__name__))
            request.refusals = REFUSALS
            raise Again from error

    # --- the end ---------------------------------------------------------------------------------

    def left(self) -> bool:
        """Note how the items came; whether there were any."""
        if self._seat is not None:
            self._seat.tell(None)
        return self._at > 0

    async def leave(self) -> None:
        """Give up the place, and end the consumer's own call."""
        own, self._own = self._own, None
        self._rise()
        if own is not None:
            self._room.books.dropped(self._request, self._room.clock.now() - self._began)
            await close(own)
