"""A store around a store: bounded in time, behind a breaker, its trouble never the caller's."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

from samecall._entry import Key
from samecall._errors import ConfigurationError, StoreError, StoreRefused, StoreUnreachable
from samecall._ports import (
    Acquired,
    Bell,
    BreakerChanged,
    Event,
    Found,
    LeaseStore,
    StoreFaulted,
)

__all__ = ["Breaker", "FailOpenStore", "patience"]

T = TypeVar("T")
_SLICES = 4
_FIRST_PROBE, _SLOWEST_PROBE = 0.05, 0.5


async def patience(task: asyncio.Future[T], seconds: float) -> bool:
    """Wait for `task` at most `seconds` in which the event loop was alive; is it done?

    One long timer would blame the store for a loop that was busy: the timer and the reply are due
    in the same turn, and the reply still has callbacks to go through. Of several short timers a
    stall can use up only one.
    """
    for _ in range(_SLICES):
        if task.done():
            return True
        await asyncio.wait({task}, timeout=seconds / _SLICES)
    return task.done()


class Breaker(enum.Enum):
    """Whether the store is asked at all."""

    CLOSED = "closed"
    OPEN = "open"


class DeafBell:
    """A bell without a store behind it: it only lets time pass."""

    async def wait(self, timeout: float) -> bytes | None:
        """Nobody rings."""
        await asyncio.sleep(timeout)
        return None


class FailOpenStore:
    """Asks `store` while it answers. Belongs to one event loop.

    The methods that a call's way leads through never raise for the store's sake; they say None,
    which means: no store, go on without. A login refused at the very first contact is the one
    exception: that is a mistake in the configuration, told at once.
    """

    def __init__(self, store: LeaseStore, emit: Callable[[Event], None], where: str) -> None:
        self.store = store
        self.state = Breaker.CLOSED
        self._emit = emit
        self._where = where
        self._answers = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._probe: asyncio.Task[None] | None = None

    # --- on a call's way -----------------------------------------------------------------------

    async def acquire(
        self,
        key: Key,
        token: bytes,
        seen: bytes,
        lease: float,
        timeout: float,
        late: Callable[[Acquired], Awaitable[None]],
    ) -> Acquired | None:
        """ACQUIRE within `timeout`; a reply that comes after it is handed to `late`."""
        if self.state is Breaker.OPEN:
            return None
        task = self._start(self.store.acquire(key, token, seen, lease))
        return await self._finish("acquire", task, timeout, late)

    async def renew(self, key: Key, token: bytes, lease: float, timeout: float) -> bool | None:
        """RENEW; False: the lease is lost, None: nobody knows."""
        return await self._ask("renew", lambda: self.store.renew(key, token, lease), timeout)

    async def commit(
        self, key: Key, token: bytes, seen: bytes, data: bytes, ttl: float, timeout: float
    ) -> bool | None:
        """COMMIT; None: nobody knows whether it is stored."""
        commit = self.store.commit
        return await self._ask("commit", lambda: commit(key, token, seen, data, ttl), timeout)

    async def fail(
        self, key: Key, token: bytes, data: bytes, ttl: float, timeout: float
    ) -> bool | None:
        """FAIL."""
        return await self._ask("fail", lambda: self.store.fail(key, token, data, ttl), timeout)

    async def release(self, key: Key, token: bytes, timeout: float) -> bool | None:
        """RELEASE."""
        return await self._ask("release", lambda: self.store.release(key, token), timeout)

    @asynccontextmanager
    async def listen(self, key: Key, timeout: float) -> AsyncIterator[Bell]:
        """A subscribed bell, or a deaf one where the store cannot subscribe in time."""
        async with AsyncExitStack() as stack:
            bell: Bell = DeafBell()
            if self.state is Breaker.CLOSED:
                bell = await self._enter(stack, key, timeout)
            yield bell

    # --- asked for by name: trouble is told ------------------------------------------------------

    async def get(self, key: Key, timeout: float) -> Found | None:
        """GET; raises `StoreError`."""
        return await self._tell("get", self.store.get(key), timeout)

    async def forget(self, key: Key, tombstone: float, timeout: float) -> None:
        """Forget; raises `StoreError`."""
        await self._tell("forget", self.store.forget(key, tombstone), timeout)

    async def clear(self, namespace: str) -> int:
        """Clear a namespace, however long that takes; raises `StoreError`."""
        return await self.store.clear(namespace)

    async def aclose(self) -> None:
        """End the probe and close the store."""
        tasks = [task for task in (self._probe, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.store.aclose()

    # --- how -------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        # a task of its own: a caller's cancellation never reaches the store
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _ask(
        self, operation: str, work: Callable[[], Coroutine[Any, Any, T]], timeout: float
    ) -> T | None:
        if self.state is Breaker.OPEN:
            return None
        return await self._finish(operation, self._start(work()), timeout, None)

    async def _tell(self, operation: str, work: Coroutine[Any, Any, T], timeout: float) -> T:
        task = self._start(work)
        task.add_done_callback(_swallow)
        if not await patience(task, timeout):
            raise StoreUnreachable(f"{operation} had no answer in {timeout:g} s from {self._where}")
        return task.result()

    async def _finish(
        self,
        operation: str,
        task: asyncio.Task[T],
        timeout: float,
        late: Callable[[T], Awaitable[None]] | None,
    ) -> T | None:
        before = self._answers
        try:
            done = await patience(task, timeout)
        except asyncio.CancelledError:
            task.add_done_callback(self._late(late))
            raise
        if not done:
            task.add_done_callback(self._late(late))
            silent = self._answers == before
            self._fault(operation, f"no answer in {timeout:g} s", opens=silent)
            return None
        if task.cancelled():  # the loop is ending under us
            return None
        return self._read(operation, task, before)

    def _read(self, operation: str, task: asyncio.Task[T], before: int) -> T | None:
        error = task.exception()
        if error is None:
            self._answers += 1
            return task.result()
        if isinstance(error, StoreRefused) and self._answers == 0:
            raise ConfigurationError(
                f"url_or_store: {self._where} refuses the login ({error}); "
                "give the user and password in the URL, redis://user:password@host:port/db"
            ) from error
        if not isinstance(error, StoreError):
            raise error
        unreachable = isinstance(error, StoreUnreachable) and self._answers == before
        self._fault(operation, str(error), opens=unreachable)
        return None

    def _late(
        self, late: Callable[[T], Awaitable[None]] | None
    ) -> Callable[[asyncio.Task[T]], None]:
        def settle(task: asyncio.Task[T]) -> None:
            if task.cancelled() or task.exception() is not None or late is None:
                return
            self._start(_consume(late, task.result()))

        return settle

    async def _enter(self, stack: AsyncExitStack, key: Key, timeout: float) -> Bell:
        task = self._start(_entered(stack, self.store.listen(key)))
        task.add_done_callback(_swallow)
        try:
            entered = await patience(task, timeout)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not entered:
            task.cancel()
            self._fault("listen", f"no answer in {timeout:g} s", opens=False)
            return DeafBell()
        error = task.exception()
        if error is None:
            return task.result()
        if not isinstance(error, StoreError):
            raise error
        self._fault("listen", str(error), opens=False)
        return DeafBell()

    # --- the breaker -----------------------------------------------------------------------------

    def _fault(self, operation: str, why: str, *, opens: bool) -> None:
        self._emit(StoreFaulted(operation, why))
        if opens and self.state is Breaker.CLOSED:
            self.state = Breaker.OPEN
            self._emit(BreakerChanged(open=True))
            self._probe = asyncio.get_running_loop().create_task(self._probe_until_back())

    async def _probe_until_back(self) -> None:
        pause = _FIRST_PROBE
        while True:
            await asyncio.sleep(pause)
            task = self._start(self.store.ping())
            if await patience(task, 1.0):
                if not task.cancelled() and task.exception() is None:
                    break
            else:
                task.cancel()
            pause = min(pause * 2, _SLOWEST_PROBE)
        self.state = Breaker.CLOSED
        self._answers += 1
        self._emit(BreakerChanged(open=False))


def _swallow(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


async def _consume(late: Callable[[T], Awaitable[None]], reply: T) -> None:
    await late(reply)


async def _entered(stack: AsyncExitStack, listening: Any) -> Bell:
    bell: Bell = await stack.enter_async_context(listening)
    return bell
