"""Notifications: one connection and one reading task for any number of bells.

A ring is a hint. Whatever happens to the connection, every bell rings with b"" then, and again
once its channel is subscribed anew, so that its owner looks for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from samecall._errors import StoreError, StoreRefused
from samecall._redis.bell import Channel, RedisBell
from samecall._redis.heart import Heart
from samecall._redis.link import Command, Connection, Link, LinkLost, chunks, explain, pack
from samecall._redis.nonsense import nonsense
from samecall._redis.overdue import Alarm

__all__ = ["Switchboard"]

_LINGER = 1.0  # an unused subscription stays for this long: the next bell may want it
_BACKOFF = (0.05, 1.0)


class Switchboard:
    """All bells of one event loop, behind one link."""

    publish = b"PUBLISH"
    subscribe, unsubscribe = b"SUBSCRIBE", b"UNSUBSCRIBE"
    names_per_command = 1000

    def __init__(self, make: Callable[[], Connection], limit: float) -> None:
        self._link = Link(make, limit)
        self._limit = limit
        self._channels: dict[bytes, Channel] = {}
        self._task: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._hurry = asyncio.Event()
        self._patience = asyncio.timeout(None)
        self._sweeper: asyncio.TimerHandle | None = None
        self._wanted: dict[bytes, None] = {}
        self._outbox: list[Command] = []
        self._alarm: Alarm | None = None
        self._owed = 0  # confirmations that are due
        self._heard = 0
        self._silent_since = 0
        self._closed = False

    def knows(self, name: bytes) -> bool:
        """Whether a channel has bells here, or had a moment ago."""
        return name in self._channels

    def statistics(self) -> tuple[int, int]:
        """How many bells are listening, and how many channels are known."""
        return sum(len(channel.bells) for channel in self._channels.values()), len(self._channels)

    @asynccontextmanager
    async def listen(self, name: bytes) -> AsyncGenerator[RedisBell, None]:
        """A bell on the channel `name`, entered once the server has confirmed it."""
        if self._closed:
            raise StoreError("this store is closed")
        channel = self._channels.setdefault(name, Channel(self))
        bell = RedisBell(channel.ensure, channel.missed)
        channel.bells.add(bell)
        try:
            if channel.live:
                bell.entered.set_result(None)
            elif not channel.asked:
                self._wanted[name] = None
                self._write_soon()
            self.ensure()
            self._hurry.set()
            await bell.entered
            yield bell
        finally:
            channel.bells.discard(bell)
            if not channel.bells:
                channel.board.sweep_later()

    def ensure(self) -> None:
        """See to it that somebody reads."""
        # done, and its callback still due: who was rung by its end may be here before
        if (self._task is None or self._task.done()) and not self._closed:
            loop = asyncio.get_running_loop()
            self._task = asyncio.Task(self._run(), loop=loop, name="samecall-redis-bells")
            self._task.add_done_callback(self._ended)

    # --- reading ------------------------------------------------------------------------------

    async def _run(self) -> None:
        delay = _BACKOFF[0]
        while self._channels:
            self._hurry.clear()
            try:
                connection = await self._link.connect()
                delay = _BACKOFF[0]
                await self._serve(connection)
            except StoreError as error:
                self._lost(error)
            finally:
                await self._link.drop()
            if self._channels:
                await asyncio.sleep(_BACKOFF[0])  # a hurry shortens the wait, but not below this
                await self._pause(delay)
            delay = min(2 * delay, _BACKOFF[1])

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    async def _serve(self, connection: Connection) -> None:
        self._connection = connection
        self._patience = asyncio.timeout(None)
        self._wanted = dict.fromkeys(self._channels)
        heart = Heart(self.beat)
        self._write_soon()
        try:
            async with self._patience:
                while self._channels:
                    message = await self._read(connection)
                    heart.heard()
                    self._hear(message)
        except Exception as error:
            told = explain(error, "listening to Redis")
            if isinstance(told, StoreRefused) or isinstance(error, TimeoutError):
                raise told from error
            raise LinkLost(str(told)) from error
        finally:
            self._connection = None
            heart.stop()
            if self._alarm is not None:
                self._alarm.stop()
            self._alarm, self._owed = None, 0
            if self._writing is not None:
                self._writing.cancel()
            self._deafened()

    async def _read(self, connection: Connection) -> Any:
        return await connection.read_response(disable_decoding=True)

    def _deafened(self) -> None:
        # once, at the loss; while attempts to come back fail nobody is woken
        for channel in self._channels.values():
            if channel.live:
                for bell in channel.bells:
                    bell.ring(b"")
            channel.asked = channel.live = False

    def _hear(self, message: Any) -> None:
        match message:
            case [b"message", bytes(name), bytes(data)]:
                channel = self._channels.get(name)
                for bell in channel.bells if channel else ():
                    bell.ring(data)
                return
            case [b"subscribe", bytes(name), int()]:
                self._confirmed(name)
            case [b"unsubscribe", bytes(), int()] | [b"pong", bytes()] | b"PONG":
                pass
            case _:
                raise nonsense(message, "no notification")
        self._owed -= 1
        self._heard += 1

    def _confirmed(self, name: bytes) -> None:
        if (channel := self._channels.get(name)) is None:
            return
        channel.live = True
        for bell in channel.bells:
            if bell.entered.done():
                bell.ring(b"")  # what was published while the line was down is lost
            else:
                bell.entered.set_result(None)

    def _lost(self, error: StoreError) -> None:
        self._refuse(error)

    def _refuse(self, error: StoreError) -> None:
        lost = isinstance(error, LinkLost)
        for channel in self._channels.values():
            for bell in channel.bells:
                if bell.entered.done():
                    continue
                if lost and not bell.spared:  # what was sent may be sent again, as in a lane
                    bell.spared = True
                else:
                    bell.entered.set_exception(type(error)(*error.args))

    def _ended(self, task: asyncio.Task[None]) -> None:
        # a callback, not a `finally`: a task cancelled before its first step runs neither
        error = None if task.cancelled() else task.exception()
        if self._task is not task:
            return
        self._task = None
        if task.cancelled() or error is not None:
            self._refuse(StoreError(f"the bells were ended: {error or 'their loop is closing'}"))
        elif self._channels:
            self.ensure()  # somebody came in while the task was on its way out

    # --- writing ------------------------------------------------------------------------------

    def _write_soon(self) -> None:
        if self._connection is not None and self._writing is None:
            loop = asyncio.get_running_loop()
            self._writing = asyncio.Task(self._write(), loop=loop, name="samecall-redis-subscribe")
            self._writing.add_done_callback(self._written)

    async def _write(self) -> None:
        while (connection := self._connection) is not None and (commands := self._due()):
            await connection.send_packed_command(pack(commands), check_health=False)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writing = None
        if not task.cancelled() and task.exception() is not None:
            self._hang_up()
        elif self._wanted or self._outbox:
            self._write_soon()

    def _due(self) -> list[Command]:
        commands, self._outbox = self._outbox, []
        names = [name for name in self._wanted if name in self._channels]
        self._wanted.clear()
        for name in names:
            self._channels[name].asked = True
        commands += chunks(self.subscribe, names, self.names_per_command)
        self._owe(sum(max(1, len(command) - 1) for command in commands))
        return commands

    def _owe(self, replies: int) -> None:
        self._owed += replies
        if self._owed and self._alarm is None:
            self._silent_since = self._heard
            self._alarm = Alarm(self._limit, self._check)

    def _check(self) -> None:
        self._alarm = None
        if self._owed and self._heard == self._silent_since:
            self._hang_up()
        else:
            self._owe(0)

    def _hang_up(self) -> None:
        if self._connection is not None and self._patience.when() is None:
            self._patience.reschedule(asyncio.get_running_loop().time())

    def beat(self) -> None:
        """Ask the line whether it stands, unless it owes an answer anyway."""
        if self._connection is not None and not (self._owed or self._outbox):
            self._outbox.append((b"PING",))
            self._write_soon()

    def sweep_later(self) -> None:
        """Unsubscribe, in a while, from the channels that then have no bell."""
        if self._sweeper is None and not self._closed:
            self._sweeper = asyncio.get_running_loop().call_later(_LINGER, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        unused = [name for name, channel in self._channels.items() if not channel.bells]
        # one whose confirmation is due stays: a later subscription must not take it for its own
        gone = [n for n in unused if self._channels[n].live or not self._channels[n].asked]
        live = [n for n in gone if self._channels[n].live]
        self._outbox += chunks(self.unsubscribe, live, self.names_per_command)
        for name in gone:
            del self._channels[name]
        if len(gone) < len(unused):
            self.sweep_later()
        self._write_soon()
        self._hurry.set()  # with no channel left, a task that waits to reconnect may end

    async def aclose(self) -> None:
        """Ring every bell, close the connection."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._task is not None:
            task, self._task = self._task, None
            if task.get_loop() is asyncio.get_running_loop():
                task.cancel()
                await asyncio.wait([task])
        await self._link.drop()
        self._refuse(StoreError("this store is closed"))
