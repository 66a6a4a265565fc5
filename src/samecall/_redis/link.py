"""One connection to one server: it is dropped whenever a reply could be left unread on it."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, cast

import hiredis
from redis.exceptions import (
    AuthenticationError,
    MasterDownError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from samecall._errors import StoreError, StoreRefused, StoreUnreachable, StoreUnusable
from samecall._redis.overdue import Patience

__all__ = [
    "CONNECT_LIMIT",
    "Command",
    "Connection",
    "Link",
    "LinkLost",
    "SlotMoving",
    "Unconnected",
    "chunks",
    "explain",
    "pack",
]

Command = tuple[bytes | str | int, ...]
_pack: Callable[[Command], bytes] = cast("Any", hiredis).pack_command  # its stub is wrong
CONNECT_LIMIT = 1.0
"""Seconds for connecting and login: several round trips, TLS among them."""
_BYTES_PER_TIMEOUT = 2**20  # a large batch may take one more timeout for each of these


class Connection(Protocol):
    """What is used of a redis-py connection."""

    async def connect(self) -> None: ...

    async def disconnect(self, *, nowait: bool = False) -> None: ...

    async def send_packed_command(self, command: list[bytes], *, check_health: bool) -> None: ...

    async def read_response(self, *, disable_decoding: bool) -> Any: ...


class LinkLost(StoreUnreachable):
    """The connection broke or fell silent; what was sent may have been done or not."""


class Unconnected(StoreUnreachable):
    """No connection could be made; nothing was sent."""


class SlotMoving(StoreError):
    """A cluster's slot is on its way: nothing that names several of its keys was done."""


def explain(error: BaseException, doing: str) -> StoreError:
    """A `StoreError` in the words of `error`; a refused login or database a `StoreRefused`."""
    if isinstance(error, StoreError):
        return type(error)(*error.args)
    cause: BaseException | None = error
    while cause is not None:  # redis-py wraps a refusal over a unix socket
        if isinstance(cause, (AuthenticationError, NoPermissionError)):
            return StoreRefused(f"Redis refused the login: {cause}")
        if isinstance(cause, ResponseError) and "DB index" in str(cause):
            return StoreUnusable(f"Redis has no such database ({cause}); name one that it has")
        cause = cause.__cause__
    if isinstance(error, TimeoutError):
        return StoreUnreachable(f"{doing}: no reply in time")
    return StoreUnreachable(f"{doing}: {type(error).__name__}: {error}")


def pack(commands: Sequence[Command]) -> list[bytes]:
    """The commands on the wire (redis-py's own way there costs five times as much)."""
    return [_pack(command) for command in commands]


def chunks(verb: bytes, names: Sequence[bytes], step: int) -> list[Command]:
    """Commands of `verb` that name all of `names`, at most `step` in each."""
    return [(verb, *names[at : at + step]) for at in range(0, len(names), step)]


_links: weakref.WeakSet[Link] = weakref.WeakSet()
_left_to_parent: list[object] = []


def _after_fork() -> None:
    # A forked child holds copies of the parent's sockets and of its epoll handle: closing one
    # there would take it out of the parent's loop. So they are kept, unused, for ever.
    _left_to_parent.extend(link.leave() for link in list(_links))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Link:
    """A connection that is made when needed; used by one task at a time."""

    __slots__ = ("__weakref__", "_connection", "_limit", "_make", "_transport")

    def __init__(self, make: Callable[[], Connection], limit: float) -> None:
        self._make = make
        self._limit = limit
        self._connection: Connection | None = None
        self._transport: asyncio.WriteTransport | None = None
        _links.add(self)

    def leave(self) -> tuple[Connection | None, asyncio.WriteTransport | None]:
        """Give up the connection without closing it."""
        left = self._connection, self._transport
        self._connection = self._transport = None
        return left

    async def connect(self) -> Connection:
        """The connection, new if there is none; raises `Unconnected` or `StoreRefused`."""
        if self._connection is not None:
            return self._connection
        connection = self._connection = self._make()
        try:
            async with Patience(CONNECT_LIMIT):
                await connection.connect()
        except BaseException as error:
            await self.drop()
            if not isinstance(error, Exception):
                raise
            told = explain(error, "connecting to Redis")
            if isinstance(told, StoreRefused):
                raise told from error
            raise Unconnected(str(told)) from error
        writer: asyncio.StreamWriter | None = getattr(connection, "_writer", None)
        self._transport = writer.transport if writer is not None else None
        return connection

    async def drop(self) -> None:
        """Close the connection without waiting for the other side."""
        connection, transport = self.leave()
        # it is gone either way, and its loop may be too
        with suppress(OSError, RedisError, RuntimeError):
            if transport is not None:
                transport.abort()  # a close would keep unsent bytes for a peer that never reads
            if connection is not None:
                await connection.disconnect(nowait=True)

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send all commands, read all replies; an error reply stands in its command's place."""
        connection = await self.connect()
        packed = pack(commands)
        limit = self._limit * (1 + sum(map(len, packed)) // _BYTES_PER_TIMEOUT)
        try:
            async with Patience(limit):
                await connection.send_packed_command(packed, check_health=False)
                replies = [await _reply(connection) for _ in commands]
        except BaseException as error:
            await self.drop()
            if not isinstance(error, Exception):
                raise
            told = explain(error, "talking to Redis")
            if isinstance(told, StoreRefused) or isinstance(error, TimeoutError):
                raise told from error  # silence is not worth a second try: its callers have gone
            raise LinkLost(str(told)) from error
        for reply in replies:
            if isinstance(reply, ResponseError) and _demoted(reply):
                await self.drop()  # the next connection may lead to the one that takes writes
                raise LinkLost(f"Redis takes no writes: {reply}")
        return replies


def _demoted(error: ResponseError) -> bool:
    # Redis 6.2 wraps what a command in a script met
    return isinstance(error, (ReadOnlyError, MasterDownError)) or "-READONLY " in str(error)


async def _reply(connection: Connection) -> Any:
    try:
        return await connection.read_response(disable_decoding=True)
    except ResponseError as error:
        return error
