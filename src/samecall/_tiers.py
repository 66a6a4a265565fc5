"""A near store before a far one: `Cache(["disk:///path", "redis://..."])`.

The far store decides: leases, commits, errors, generations and bells are its own. The near one
holds copies of values, each for at most `trust` seconds, as the L1 of a process does, but for all
processes of a machine and over restarts. Its trouble is never anybody's: it has a short time to
answer, and is left alone for a while when it does not.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, cast

from samecall._copy import age_of, near_key, near_space, unwrap, wrap
from samecall._entry import Key
from samecall._errors import StoreRefused
from samecall._ports import (
    EPOCH_NONE,
    EPOCH_UNTOLD,
    SEEN_ANY,
    SEEN_NOTHING,
    Acquired,
    Bell,
    Found,
    Hit,
    LeaseStore,
    Offer,
)
from samecall._stamps import stamp_of
from samecall._warn import warn

__all__ = ["TRUST", "Tiers"]

T = TypeVar("T")
N = TypeVar("N")
TRUST = 60.0
"""Seconds for which a near copy answers without a question to the far store."""
_PATIENCE = 0.05  # seconds that the near store may cost a call
_REST = 1.0  # seconds without the near store after it was slow or raised
_GUARD = 10.0  # seconds after a `forget` in which no copy is taken: what was read before may be old
_WRITES = 256


class Tiers:
    """A `LeaseStore` of one event loop; closes those of its stores that it was told to."""

    def __init__(
        self,
        near: LeaseStore,
        far: LeaseStore,
        *,
        trust: float = TRUST,
        closes: tuple[bool, bool] = (True, True),
    ) -> None:
        self.near = near
        self.far = far
        self._trust = trust
        self._closes = closes
        self._rested_at = 0.0
        self._warned = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._writing = weakref.WeakValueDictionary[Key, asyncio.Task[None]]()

    # --- where the near store answers ---------------------------------------------------------

    async def get(self, key: Key) -> Found | None:
        """See `_ports.Store`."""
        found = await self._copy(key)
        if found is None and (found := await self.far.get(key)) is not None:
            self._keep(key, found.data, found.left)
        return found

    async def acquire(self, key: Key, token: bytes, seen: bytes, lease: float) -> Acquired:
        """See `_ports.LeaseStore`."""
        found = await self.at_hand(key, seen)
        if found is not None:
            return found
        answer = await self.far.acquire(key, token, seen, lease)
        if isinstance(answer, Hit):
            self._keep(key, answer.data, answer.left)
        return answer

    async def at_hand(self, key: Key, seen: bytes) -> Hit | None:
        """What answers without the far store, also while that is away."""
        if seen == SEEN_ANY:
            return None
        copy = await self._copy(key)
        if copy is None or stamp_of(copy.data) in (SEEN_NOTHING, seen):
            return None
        return Hit(copy.data, copy.left)

    async def _copy(self, key: Key) -> Found | None:
        held = await self._ask(self.near.get(near_key(key)))
        return None if held is None else unwrap(held)

    # --- where both change --------------------------------------------------------------------

    async def set(self, key: Key, data: bytes, ttl: float) -> None:
        """See `_ports.Store`."""
        await self.far.set(key, data, ttl)
        await self._drop(key)

    async def forget(self, key: Key, tombstone: float) -> None:
        """See `_ports.Store`; raises also for the near store: its copy would go on answering."""
        near = near_key(key)
        await _both(self.near.forget(near, _GUARD), self.far.forget(key, tombstone))
        await self.near.forget(near, _GUARD)  # what was read from the far store meanwhile

    async def clear(self, namespace: str) -> int:
        """See `_ports.Store`; raises also for the near store."""
        near = near_space(namespace)
        _, gone = await _both(self.near.clear(near), self.far.clear(namespace))
        await self.near.clear(near)
        return gone

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
        stored = await self.far.commit(key, token, seen, data, ttl, epoch)
        if stored:
            copying = self._keep(key, data, ttl)
            if copying is not None:  # no caller waits for this; the others here are to see it
                await asyncio.wait({copying}, timeout=_PATIENCE)
        else:
            await self._drop(key)
        return stored

    async def _drop(self, key: Key) -> None:
        await self._ask(self.near.forget(near_key(key), _GUARD))

    def _keep(self, key: Key, data: bytes, left: float) -> asyncio.Task[None] | None:
        if left <= 0 or len(self._tasks) >= _WRITES or self._resting():
            return None
        now, near = asyncio.get_running_loop().time(), near_key(key)
        before = self._writing.get(near)
        copying = self._writing[near] = self._start(self._write(near, data, left, now, before))
        return copying

    async def _write(
        self, key: Key, data: bytes, left: float, then: float, ahead: asyncio.Task[None] | None
    ) -> None:
        if ahead is not None:  # in the order in which they came, or an older one might stay
            await asyncio.wait({ahead})
        # As one who calls without a lease: a `forget` of the last seconds refuses it, and what
        # is there is replaced only if it is what was there a moment ago, and no younger: another
        # process of this machine may have been told of what replaced this answer.
        before = await self.near.get(key)
        stamp = stamp_of(before.data) if before is not None else SEEN_NOTHING
        left -= asyncio.get_running_loop().time() - then
        ttl = min(left, self._trust)
        if ttl > 0 and not (before is not None and _younger(key, before, stamp, data, left)):
            copy = wrap(data, left, ttl)
            await self.near.commit(key, os.urandom(16), stamp, copy, ttl, EPOCH_UNTOLD)

    # --- the near store's trouble -------------------------------------------------------------

    def _resting(self) -> bool:
        return asyncio.get_running_loop().time() < self._rested_at

    async def _ask(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What the near store answers; None if it does not, or not in time."""
        if self._resting():
            work.close()
            return None
        task = self._start(work)
        await asyncio.wait({task}, timeout=_PATIENCE)
        if not task.done():
            self._rest()
            return None
        return None if task.cancelled() or task.exception() is not None else task.result()

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        self._rest()
        if isinstance(error, StoreRefused) and not self._warned:
            self._warned = True
            warn(f"no near copies: {error}")

    def _rest(self) -> None:
        self._rested_at = asyncio.get_running_loop().time() + _REST

    # --- where the far store alone is asked ---------------------------------------------------

    async def generations(
        self, namespace: str, tags: Sequence[str], ttl: float, offers: Sequence[Offer] = ()
    ) -> tuple[bytes, ...]:
        """See `_ports.Store`."""
        return await self.far.generations(namespace, tags, ttl, offers)

    async def renew_generation(self, namespace: str, tag: str) -> None:
        """See `_ports.Store`."""
        await self.far.renew_generation(namespace, tag)

    def walk(self, namespace: str) -> AsyncIterator[tuple[Key, Found]]:
        """See `_ports.Store`."""
        return self.far.walk(namespace)

    @property
    def in_parts(self) -> bool:
        """See `_breaker.Guard`."""
        return bool(getattr(self.far, "in_parts", False))

    async def ping(self) -> None:
        """See `_ports.Store`."""
        await self.far.ping()

    async def renew(self, key: Key, token: bytes, lease: float) -> bool:
        """See `_ports.LeaseStore`."""
        return await self.far.renew(key, token, lease)

    async def fail(
        self, key: Key, token: bytes, data: bytes, ttl: float, epoch: bytes = EPOCH_NONE
    ) -> bool:
        """See `_ports.LeaseStore`."""
        return await self.far.fail(key, token, data, ttl, epoch)

    async def release(self, key: Key, token: bytes) -> bool:
        """See `_ports.LeaseStore`."""
        return await self.far.release(key, token)

    def listen(self, key: Key) -> AbstractAsyncContextManager[Bell]:
        """See `_ports.LeaseStore`."""
        return self.far.listen(key)

    @property
    def recordings(self) -> LeaseStore:
        """The store that records streams, if any does."""
        return self.far

    async def aclose(self) -> None:
        """Give copies that are being written a moment, then close what is ours to close."""
        tasks = tuple(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=_REST)
        try:
            if self._closes[1]:
                await self.far.aclose()
        finally:
            if self._closes[0]:
                await self.near.aclose()


def _younger(key: Key, there: Found, stamp: bytes, data: bytes, left: float) -> bool:
    """Whether the copy that is there is of an answer that replaced the one in `data`."""
    held = None if stamp == stamp_of(data) else unwrap(there)
    return held is not None and age_of(key, held.data, held.left) < age_of(key, data, left)


async def _both(near: Awaitable[N], far: Awaitable[T]) -> tuple[N, T]:
    """Both answers; whatever the one raises, the other is asked to its end."""
    one, two = await asyncio.gather(near, far, return_exceptions=True)
    for each in (two, one):
        if isinstance(each, BaseException):
            raise each
    return cast("tuple[N, T]", (one, two))
