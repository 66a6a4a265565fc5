"""One connection on which the server tells which values were replaced or forgotten, and which
generations have changed.

It is CLIENT TRACKING in broadcasting mode, redirected to the very connection that asked for it:
that needs neither RESP3 nor a second connection, and the server forgets it when the line breaks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

from redis.exceptions import RedisError

from samecall._changes import Heard
from samecall._entry import Key
from samecall._errors import StoreError, StoreRefused
from samecall._redis import names
from samecall._redis.link import Connection, Link, explain, pack
from samecall._redis.nonsense import nonsense
from samecall._redis.overdue import Alarm

__all__ = ["Ear"]

_CHANNEL = b"__redis__:invalidate"
_BEAT = 1.0
_BACKOFF = (0.05, 2.0)
_REFUSED = 60.0  # a server that knows no tracking, or a login that may not use it


class Ear:
    """Hears for one event loop; connects when somebody first wants to hear."""

    def __init__(self, make: Callable[[], Connection], limit: float) -> None:
        self._link = Link(make, limit)
        self._limit = limit
        self._namespaces: dict[bytes, str] = {}
        self._heard: list[Heard] = []
        self._task: asyncio.Task[None] | None = None
        self._true = False
        self._closed = False
        self._alarm: Alarm | None = None

    @property
    def true(self) -> bool:
        """Whether every change is told at the moment."""
        return self._true

    def watch(self, namespace: str, heard: Heard) -> None:
        """See `_changes.Watching`."""
        if self._closed:
            return
        space = names.pattern(namespace, "v")[: -len(":v:*")].encode()
        known = space in self._namespaces
        self._namespaces[space] = namespace
        if heard not in self._heard:
            self._heard.append(heard)
        if known and self._true:
            heard.told()
        if self._task is not None and known:
            return
        if self._task is not None:  # a new prefix: a connection that listens takes no commands
            self._doubt()
            self._task.cancel()
        loop = asyncio.get_running_loop()
        self._task = asyncio.Task(self._run(self._task), loop=loop, name="samecall-redis-ear")

    async def _run(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        delay = _BACKOFF[0]
        while True:
            try:
                connection = await self._open()
                delay = _BACKOFF[0]
                await self._listen(connection)
            except StoreRefused:
                delay = _REFUSED
            except (StoreError, RedisError, OSError, ValueError):
                delay = min(2 * delay, _BACKOFF[1])
            finally:
                self._doubt()
                await self._link.drop()
            await asyncio.sleep(delay)

    async def _open(self) -> Connection:
        [own] = await self._link.exchange([(b"CLIENT", b"ID")])
        prefixes = [
            part
            for space in self._namespaces
            for kind in (b":x:", b":g:")
            for part in (b"PREFIX", space + kind)
        ]
        command = (b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", own, b"BCAST", *prefixes)
        if isinstance(own, Exception) or await self._link.exchange([command]) != [b"OK"]:
            raise StoreRefused("Redis does not track")
        connection = await self._link.connect()
        await connection.send_packed_command(pack([(b"SUBSCRIBE", _CHANNEL)]), check_health=False)
        return connection

    async def _listen(self, connection: Connection) -> None:
        beat = asyncio.get_running_loop().create_task(self._beat(connection))
        try:
            while True:
                self._hear(await connection.read_response(disable_decoding=True))
        except Exception as error:
            raise explain(error, "listening to Redis") from error
        finally:
            beat.cancel()
            if self._alarm is not None:
                self._alarm.stop()

    async def _beat(self, connection: Connection) -> None:
        # a line that has silently gone is noticed by the reply that does not come
        with suppress(RedisError, OSError):
            while True:
                self._alarm = Alarm(self._limit, self._hang_up)
                await connection.send_packed_command(pack([(b"PING",)]), check_health=False)
                await asyncio.sleep(_BEAT)

    def _hang_up(self) -> None:
        self._doubt()
        if self._task is not None and not self._closed:
            self._task.cancel()
            loop = asyncio.get_running_loop()
            self._task = asyncio.Task(self._run(self._task), loop=loop, name="samecall-redis-ear")

    # --- what is heard ------------------------------------------------------------------------

    def _hear(self, message: Any) -> None:
        match message:
            case [b"message", bytes(), [*changed]]:
                names: list[Any] = changed
                for name in names:
                    self._changed(name)
            case [b"message", bytes(), None]:  # all of it was flushed
                self._doubt()
                self._trust()
            case [b"subscribe", bytes(), int()]:
                self._trust()
            case [b"pong", bytes()] | b"PONG":
                if self._alarm is not None:
                    self._alarm.stop()
            case _:
                raise nonsense(message, "no notification")

    def _changed(self, name: bytes) -> None:
        space, kind, rest = [*name.split(b":", 2), b"", b""][:3]
        namespace = self._namespaces.get(space)
        if namespace is None:
            return
        with suppress(ValueError):  # a name of somebody else's
            match kind:
                case b"g":
                    tag = unquote(rest.decode(), errors="surrogatepass")
                    for heard in self._heard:
                        heard.renewed(namespace, tag)
                case b"x":
                    digest, _, stamp = rest[1:].partition(b"}")
                    key, there = Key(_unhex(digest), namespace), _unhex(stamp)
                    for heard in self._heard:
                        heard.changed(key, there)
                case _:
                    pass

    def _trust(self) -> None:
        self._true = True
        for heard in self._heard:
            heard.told()

    def _doubt(self) -> None:
        if self._true:
            self._true = False
            for heard in self._heard:
                heard.doubtful()

    async def aclose(self) -> None:
        """Hear nothing more; what was copied is in doubt."""
        self._closed = True
        task, self._task = self._task, None
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait([task])
        self._doubt()
        await self._link.drop()


def _unhex(digits: bytes) -> bytes:
    return bytes.fromhex(digits.decode())
