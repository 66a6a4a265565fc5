"""Entries and leases in one Redis or Valkey server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import lru_cache, partial
from typing import Any

from samecall._changes import Heard
from samecall._entry import STAMP_END, STAMP_START, Key
from samecall._news import RIDES
from samecall._ports import EPOCH_NONE, Acquired, Bell, Found, Offer
from samecall._prompt import Prompt, Reply, Told
from samecall._redis import names, scripts
from samecall._redis.batch import Lane
from samecall._redis.board import RedisBoard
from samecall._redis.checks import RedisChecks
from samecall._redis.jobs import Job
from samecall._redis.link import Command, SlotMoving
from samecall._redis.moving import acquire_by_key
from samecall._redis.nonsense import nonsense
from samecall._redis.places import Lines, lines_of
from samecall._redis.recordings import Recordings
from samecall._redis.replies import acquired, flag, generation, looked
from samecall._redis.walk import scan, walk

__all__ = ["RedisStore", "open_redis"]

_PING = "samecall:ping"


def open_redis(source: object, *, op_timeout: float = 0.5) -> Callable[[], RedisStore]:
    """A factory of stores, to be called once per event loop and process; does no I/O itself.

    `source` is a URL or a ready `redis.asyncio` client (`Redis`, `RedisCluster`, `Sentinel`), whose
    settings are used and which is never closed. `op_timeout`: seconds within which Redis owes a
    reply.
    """
    lines = lines_of(source)
    return lambda: RedisStore(lines(op_timeout), op_timeout)


@lru_cache(256)
def _how(lease: float, seen: bytes) -> Command:
    return (b"%012d" % min(_ms(lease), 10**12 - 1) + seen,)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


class RedisStore(RedisBoard, RedisChecks, Recordings):
    """A `LeaseStore` of one event loop, over three connections (per node of a cluster): reads,
    writes, notifications.
    """

    def __init__(self, lines: Lines, op_timeout: float) -> None:
        RedisBoard.__init__(self, lines)
        RedisChecks.__init__(self, lines)
        self._db = lines.db
        self._op_timeout = op_timeout
        self._process = os.getpid()
        self._bells = lines.bells
        self._ear = lines.ear
        self._put: Any = lines.reads.put if isinstance(lines.reads, Lane) else None

    # --- leases -------------------------------------------------------------------------------

    @property
    def prompt(self) -> Prompt | None:
        """See `_prompt.Prompted`; a cluster's answers may take several steps."""
        return None if self._put is None else self

    def acquire_into(
        self, reply: Reply, key: Key, token: bytes, seen: bytes, lease: float, told: Told
    ) -> None:
        """See `_prompt.Prompt`."""
        how = _how(lease, seen)
        job = Job(
            scripts.ACQUIRE, names.value(key), how, reply,
            settles=False, joins=token, read=acquired, told=told,
        )  # fmt: skip
        self._put(job)

    def telling(
        self, namespace: str, tags: Sequence[str], ttl: float, offers: Sequence[Offer] = ()
    ) -> Sequence[asyncio.Future[bytes]]:
        """See `_prompt.Prompt`."""
        ask = partial(self._reads.ask, scripts.GENERATIONS, read=generation)
        named = [names.generation(namespace, tag) for tag in tags]
        made = offers or [Offer(names.new_generation(name)) for name in named]
        return [
            ask((name,), (one.fresh, _ms(ttl), one.instead, one.again))
            for name, one in zip(named, made, strict=True)
        ]

    async def acquire(self, key: Key, token: bytes, seen: bytes, lease: float) -> Acquired:
        """See `_ports.LeaseStore`."""
        how, ask = _how(lease, seen), self._reads.ask
        if self.prompt is not None:
            one = names.value(key)
            found: Acquired = await ask(scripts.ACQUIRE, one, how, joins=token, read=acquired)
            return found
        keys = names.of_call(key)
        try:
            return acquired(await ask(scripts.ACQUIRE, keys, how, joins=token))
        except SlotMoving:
            take = partial(self._take, token, _ms(lease))
            free = partial(self.release, key)
            return await acquire_by_key(keys, token, seen, self._look, take, free)

    async def _take(self, token: bytes, lease: int, name: str) -> bool:
        command = (b"SET", name, token, b"NX", b"PX", lease)
        return bool(await self._writes.ask(None, (), command) == b"OK")

    async def renew(self, key: Key, token: bytes, lease: float) -> bool:
        """See `_ports.LeaseStore`."""
        return flag(await self._writes.ask(scripts.RENEW, (names.lease(key),), (token, _ms(lease))))

    async def commit(
        self,
        key: Key,
        token: bytes,
        seen: bytes,
        data: bytes,
        ttl: float,
        epoch: bytes = EPOCH_NONE,
    ) -> bool:
        """See `_ports.LeaseStore`."""
        return await self.committing(key, token, seen, data, ttl, epoch)

    def committing(
        self, key: Key, token: bytes, seen: bytes, data: bytes, ttl: float, epoch: bytes
    ) -> asyncio.Future[bool]:
        """See `_prompt.Prompt`."""
        keys = (*names.of_call(key), names.change(key, data[STAMP_START:STAMP_END]))
        news = (self._channel(key), RIDES, self._bells.publish)
        args = (token, seen, data, _ms(ttl), *news, epoch)
        return self._writes.ask(scripts.COMMIT, keys, args, settles=True, read=flag)

    async def fail(
        self, key: Key, token: bytes, data: bytes, ttl: float, epoch: bytes = EPOCH_NONE
    ) -> bool:
        """See `_ports.LeaseStore`; a `ttl` of 0 keeps nothing and only frees the lease."""
        keys = (names.error(key), names.lease(key), names.tombstone(key))
        kept = _ms(ttl) if ttl > 0 else 0
        args = (token, data, kept, self._channel(key), RIDES, self._bells.publish, epoch)
        return flag(await self._settle(scripts.FAIL, keys, args))

    async def release(self, key: Key, token: bytes) -> bool:
        """See `_ports.LeaseStore`."""
        args = (token, self._channel(key), self._bells.publish)
        return flag(await self._settle(scripts.RELEASE, (names.lease(key),), args))

    def _settle(
        self, script: scripts.Script, keys: tuple[str, ...], args: Command
    ) -> asyncio.Future[Any]:
        return self._writes.ask(script, keys, args, settles=True)

    def listen(self, key: Key) -> AbstractAsyncContextManager[Bell]:
        """See `_ports.LeaseStore`."""
        return self._bells.listen(self._channel(key).encode())

    def watch(self, namespace: str, heard: Heard) -> None:
        """See `_changes.Watching`; a cluster tells of nothing."""
        if self._ear is not None:
            self._ear.watch(namespace, heard)

    def _channel(self, key: Key) -> str:
        return names.channel(key, self._db)

    # --- entries ------------------------------------------------------------------------------

    async def get(self, key: Key) -> Found | None:
        """See `_ports.Store`. An entry without a TTL has 0 seconds left."""
        return await self._look(names.value(key))

    async def _look(self, name: str) -> Found | None:
        return looked(await self._reads.ask(scripts.LOOK, (name,), ()))

    async def set(self, key: Key, data: bytes, ttl: float) -> None:
        """See `_ports.Store`."""
        if self._ear is None:
            command = (b"SET", names.value(key), data, b"PX", _ms(ttl))
            reply = await self._writes.ask(None, (), command)
            if reply != b"OK":
                raise nonsense(reply)
            return
        keys = (names.value(key), names.change(key, data[STAMP_START:STAMP_END]))
        flag(await self._writes.ask(scripts.PUT, keys, (data, _ms(ttl))))

    async def forget(self, key: Key, tombstone: float) -> None:
        """See `_ports.Store`."""
        keys = (*names.of_call(key), names.change(key))
        kept = _ms(tombstone) if tombstone > 0 else 0
        args = (kept, self._channel(key), self._bells.publish, os.urandom(16))
        flag(await self._settle(scripts.FORGET, keys, args))

    async def generations(
        self, namespace: str, tags: Sequence[str], ttl: float, offers: Sequence[Offer] = ()
    ) -> tuple[bytes, ...]:
        """See `_ports.Store`."""
        return tuple(await asyncio.gather(*self.telling(namespace, tags, ttl, offers)))

    async def renew_generation(self, namespace: str, tag: str) -> None:
        """See `_ports.Store`: what is not there is a new one."""
        reply = await self._writes.ask(
            None, (), (b"UNLINK", names.generation(namespace, tag)), settles=True
        )
        if not isinstance(reply, int):
            raise nonsense(reply)

    async def clear(self, namespace: str) -> int:
        """See `_ports.Store`. Scans the whole database in small steps; calls in the air go on."""
        gone = 0
        for lane in await self._writes.scan():
            await self._unlink_all(lane, names.pattern(namespace, "e"))
            gone += await self._unlink_all(lane, names.pattern(namespace, "v"))
        return gone

    async def _unlink_all(self, lane: Lane, pattern: str) -> int:
        gone = 0
        async for found in scan(lane, pattern):
            reply = await self._writes.unlink(found)
            if not isinstance(reply, int):
                raise nonsense(reply)
            gone += reply
        return gone

    def walk(self, namespace: str) -> AsyncIterator[tuple[Key, Found]]:
        """See `_ports.Store`. Scans the whole database in small steps; calls in the air go on."""
        return walk(self._writes, namespace)

    async def ping(self) -> None:
        """Return if Redis runs scripts and takes writes."""
        flag(await self._reads.probe(scripts.PING, _PING))

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
            *(() if self._ear is None else (self._ear.aclose(),)),
        )
