"""A store around a store: bounded in time, behind a breaker, its trouble never the caller's."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
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
from samecall._waiting import BoundBell, DeafBell, patience, subscribe

__all__ = ["Breaker", "FailOpenStore"]

T = TypeVar("T")
_FIRST_PROBE, _SLOWEST_PROBE = 0.05, 0.5


class Breaker(enum.Enum):
    """Whether the store is asked at all."""

    CLOSED = "closed"
    OPEN = "open"


class FailOpenStore:
    """Asks `store` while it answers. Belongs to one event loop.

    The methods that a call's way leads through never raise for the store's sake, not even what a
    store must not raise; they say None, which means: no store, go on without. A login refused to
    the very first ACQUIRE is the one exception: that is a mistake in the configuration, told at
    once.
    """

    def __init__(
        self,
        store: LeaseStore,
        emit: Callable[[Event], None],
        where: str,
        *,
        borrowed: bool = False,
    ) -> None:
        self.store = store
        self._borrowed = borrowed  # its owner closes it
        self.state = Breaker.CLOSED
        self._emit = emit
        self._where = where
        self._answers = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._probe: asyncio.Task[None] | None = None

    # --- on a call's way -------------------------------------------------------------------------

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

    async def find(self, key: Key, timeout: float) -> Found | None:
        """GET; None also where there is no store to ask."""
        return await self._ask("get", lambda: self.store.get(key), timeout)

    async def give_back(self, key: Key, token: bytes, timeout: float) -> None:
        """RELEASE whatever the breaker says: a late reply has just shown that the store answers."""
        await self._finish("release", self._start(self.store.release(key, token)), timeout, None)

    @asynccontextmanager
    async def listen(self, key: Key, timeout: float) -> AsyncGenerator[Bell]:
        """A subscribed bell, or a deaf one where the store cannot subscribe in time."""
        if self.state is Breaker.OPEN:
            yield DeafBell()
            return
        bell: asyncio.Future[Bell] = asyncio.get_running_loop().create_future()
        bell.add_done_callback(_swallow)
        leave = asyncio.Event()
        # a task of its own, which enters and leaves: the caller waits for neither end of it
        task = self._start(subscribe(self.store, key, bell, leave))
        task.add_done_callback(_swallow)
        try:
            yield await self._heard(task, bell, timeout)
        finally:
            leave.set()
            if not bell.done():
                task.cancel()

    async def _heard(
        self, task: asyncio.Task[None], bell: asyncio.Future[Bell], timeout: float
    ) -> Bell:
        await patience(bell, timeout)
        if bell.done() and not bell.cancelled():
            error = bell.exception()
            if error is None:
                fault = partial(self._fault, "wait", opens=False)
                return BoundBell(bell.result(), fault, timeout)
            self._fault("listen", f"{type(error).__name__}: {error}", opens=False)
        else:
            task.cancel()
            self._fault("listen", f"no answer in {timeout:g} s", opens=False)
        return DeafBell()

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

    async def aclose(self, grace: float) -> None:
        """End the probe, give what is on its way `grace` seconds, close the store."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
        loop = asyncio.get_running_loop()
        ends = loop.time() + grace
        while self._tasks and loop.time() < ends:  # what ends may begin something: a late release
            await asyncio.wait(self._tasks, timeout=ends - loop.time())
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if not self._borrowed:
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
        if isinstance(error, StoreRefused) and self._answers == 0 and operation == "acquire":
            raise ConfigurationError(
                f"url_or_store: {self._where} refuses the login ({error}); "
                "give the user and password in the URL, redis://user:password@host:port/db"
            ) from error
        unreachable = isinstance(error, StoreUnreachable) and self._answers == before
        told = isinstance(error, StoreError)
        why = str(error) if told else f"{type(error).__name__}: {error}"
        self._fault(operation, why, opens=unreachable)
        return None

    def _late(
        self, late: Callable[[T], Awaitable[None]] | None
    ) -> Callable[[asyncio.Task[T]], None]:
        def settle(task: asyncio.Task[T]) -> None:
            if task.cancelled() or task.exception() is not None:
                return
            self._answers += 1
            if late is not None:
                self._start(_consume(late, task.result())).add_done_callback(_swallow)

        return settle

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
            task.add_done_callback(_swallow)
            if await patience(task, 1.0):
                if not task.cancelled() and task.exception() is None:
                    break
            else:
                task.cancel()
            pause = min(pause * 2, _SLOWEST_PROBE)
        self.state = Breaker.CLOSED
        self._answers += 1
        self._emit(BreakerChanged(open=False))


def _swallow(done: asyncio.Future[Any]) -> None:
    if not done.cancelled():
        done.exception()


async def _consume(late: Callable[[T], Awaitable[None]], reply: T) -> None:
    await late(reply)
