"""Entries and leases in one Redis or Valkey server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, NoReturn

from samecall._entry import Key
from samecall._errors import StoreError
from samecall._ports import Acquired, Bell, Failed, Found, Hit, Lead, Wait
from samecall._redis import names, scripts
from samecall._redis.batch import Lane
from samecall._redis.bells import Switchboard
from samecall._redis.client import Settings, settings_of
from samecall._redis.link import Command, Link

__all__ = ["RedisStore", "open_redis"]

_RIDES = 16 * 1024
"""Bytes of an entry that travel in the notification itself."""
_SCAN = 500
_PING = "samecall:ping"


def open_redis(source: object, *, op_timeout: float = 0.5) -> Callable[[], RedisStore]:
    """A factory of stores, to be called once per event loop and process; does no I/O itself.

    `source` is a URL or a ready `redis.asyncio.Redis`, whose settings are used and which is never
    closed. `op_timeout`: seconds within which Redis owes a reply.
    """
    settings = settings_of(source)
    return lambda: RedisStore(settings, op_timeout)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


class RedisStore:
    """A `LeaseStore` of one event loop, over three connections: reads, writes, notifications."""

    def __init__(self, settings: Settings, op_timeout: float) -> None:
        self._db = settings.db
        self._op_timeout = op_timeout
        self._process = os.getpid()
        self._reads = Lane(Link(settings.make, op_timeout), "reads")
        self._writes = Lane(Link(settings.make, op_timeout), "writes")
        self._bells = Switchboard(settings.make, op_timeout)

    # --- leases -------------------------------------------------------------------------------

    async def acquire(self, key: Key, token: bytes, seen: bytes, lease: float) -> Acquired:
        """See `_ports.LeaseStore`."""
        keys = (names.value(key), names.error(key), names.lease(key))
        return _acquired(await self._reads.ask(scripts.ACQUIRE, keys, (token, seen, _ms(lease))))

    async def renew(self, key: Key, token: bytes, lease: float) -> bool:
        """See `_ports.LeaseStore`."""
        return _flag(
            await self._writes.ask(scripts.RENEW, (names.lease(key),), (token, _ms(lease)))
        )

    async def commit(self, key: Key, token: bytes, seen: bytes, data: bytes, ttl: float) -> bool:
        """See `_ports.LeaseStore`."""
        keys = (names.value(key), names.error(key), names.lease(key), names.tombstone(key))
        args = (token, seen, data, _ms(ttl), names.channel(key, self._db), _RIDES)
        return _flag(await self._settle(scripts.COMMIT, keys, args))

    async def fail(self, key: Key, token: bytes, data: bytes, ttl: float) -> bool:
        """See `_ports.LeaseStore`; a `ttl` of 0 keeps nothing and only frees the lease."""
        keys = (names.error(key), names.lease(key))
        kept = _ms(ttl) if ttl > 0 else 0
        args = (token, data, kept, names.channel(key, self._db), _RIDES)
        return _flag(await self._settle(scripts.FAIL, keys, args))

    async def release(self, key: Key, token: bytes) -> bool:
        """See `_ports.LeaseStore`."""
        args = (token, names.channel(key, self._db))
        return _flag(await self._settle(scripts.RELEASE, (names.lease(key),), args))

    def _settle(
        self, script: scripts.Script, keys: tuple[str, ...], args: Command
    ) -> asyncio.Future[Any]:
        return self._writes.ask(script, keys, args, settles=True)

    def listen(self, key: Key) -> AbstractAsyncContextManager[Bell]:
        """See `_ports.LeaseStore`."""
        return self._bells.listen(names.channel(key, self._db).encode())

    # --- entries ------------------------------------------------------------------------------

    async def get(self, key: Key) -> Found | None:
        """See `_ports.Store`. An entry without a TTL has 0 seconds left."""
        match await self._reads.ask(scripts.LOOK, (names.value(key),), ()):
            case [b"N"]:
                return None
            case [b"H", int(left), bytes(data)]:
                return Found(data, _seconds(left))
            case other:
                return _nonsense(other)

    async def set(self, key: Key, data: bytes, ttl: float) -> None:
        """See `_ports.Store`."""
        command = (b"SET", names.value(key), data, b"PX", _ms(ttl))
        reply = await self._writes.ask(None, (), command)
        if reply != b"OK":
            _nonsense(reply)

    async def forget(self, key: Key, tombstone: float) -> None:
        """See `_ports.Store`."""
        keys = (names.value(key), names.error(key), names.lease(key), names.tombstone(key))
        kept = _ms(tombstone) if tombstone > 0 else 0
        args = (kept, names.channel(key, self._db))
        _flag(await self._settle(scripts.FORGET, keys, args))

    async def clear(self, namespace: str) -> int:
        """See `_ports.Store`. Scans the whole database in small steps; calls in the air go on."""
        await self._unlink_all(names.pattern(namespace, "e"))
        return await self._unlink_all(names.pattern(namespace, "v"))

    async def _unlink_all(self, pattern: str) -> int:
        gone = 0
        cursor = b"0"
        while True:
            scan = (b"SCAN", cursor, b"MATCH", pattern, b"COUNT", _SCAN)
            match await self._writes.ask(None, (), scan):
                case [bytes(cursor), [*found]]:
                    pass
                case other:
                    _nonsense(other)
            if found:
                reply = await self._writes.ask(None, (), (b"UNLINK", *found))
                gone += reply if isinstance(reply, int) else _nonsense(reply)
            if cursor == b"0":
                return gone

    async def ping(self) -> None:
        """Return if Redis runs scripts and takes writes."""
        _flag(await self._reads.ask(scripts.PING, (_PING,), ()))

    def statistics(self) -> dict[str, int]:
        """Jobs on either lane, bells that listen, and channels that are known."""
        bells, channels = self._bells.statistics()
        return {
            "reads": self._reads.busy,
            "writes": self._writes.busy,
            "bells": bells,
            "channels": channels,
        }

    async def aclose(self) -> None:
        """Give what is under way `op_timeout` seconds, then close this store's connections.

        In a forked child, whose copy of them is the parent's, nothing happens.
        """
        if self._process != os.getpid():
            return
        await asyncio.gather(
            self._reads.aclose(self._op_timeout),
            self._writes.aclose(self._op_timeout),
            self._bells.aclose(),
        )


# --- replies: anything but the expected form is a StoreError ----------------------------------


def _nonsense(reply: object) -> NoReturn:
    raise StoreError(f"Redis gave an unexpected reply: {reply!r:.80}")


def _seconds(left: int) -> float:
    # -1 is a value that somebody made eternal: counted as expired, the next COMMIT mends it
    return max(0, left) / 1000


def _flag(reply: object) -> bool:
    if isinstance(reply, int) and reply in (0, 1):
        return reply == 1
    return _nonsense(reply)


def _acquired(reply: object) -> Acquired:
    match reply:
        case [b"H", int(left), bytes(data)]:
            return Hit(data, _seconds(left))
        case [b"E", int(left), bytes(data)]:
            return Failed(data, _seconds(left))
        case [b"W", bytes(token), int(left), bytes(stamp)]:
            return Wait(token, left / 1000, stamp)
        case [b"L", bytes(stamp)]:
            return Lead(stamp)
        case [b"X", bytes(message)]:
            raise StoreError(f"Redis took no lease: {message.decode(errors='replace')}")
        case _:
            _nonsense(reply)
