"""A store around a store that fails on purpose."""

from __future__ import annotations

import asyncio
import enum
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar, cast

from samecall._entry import Key
from samecall._errors import StoreError
from samecall._ports import EPOCH_NONE, Acquired, Bell, Found, LeaseStore, Offer
from samecall._recordings import Recorded, RecordingStore

__all__ = ["FaultyStore", "Operation"]

T = TypeVar("T")

Operation = Literal[
    "get", "set", "forget", "generations", "renew_generation", "clear", "walk", "ping",
    "acquire", "renew", "commit", "fail", "release", "listen", "wait",
    "record", "replay", "follow",
]  # fmt: skip


class _How(enum.Enum):
    RAISE = "raise"
    HOLD = "hold"
    LOSE = "lose"


@dataclass
class _Fault:
    how: _How
    error: BaseException
    times: int | None
    gate: asyncio.Event


class FaultyStore:
    """A `LeaseStore` that passes all on to another, except where told to go wrong.

    `calls[operation]` counts what was asked, `held[operation]` what stands at a `hold`. The
    operation "listen" is the subscribing, "wait" the waiting for a bell, "walk" each step.
    """

    def __init__(self, store: LeaseStore) -> None:
        self.store = store
        self.calls: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self._faults: dict[Operation, _Fault] = {}
        self._reached: dict[str, asyncio.Event] = {}

    # --- what goes wrong ----------------------------------------------------------------------

    def raise_on(
        self, *operations: Operation, error: BaseException | None = None, times: int | None = None
    ) -> None:
        """Raise (a `StoreError` by default) instead of doing it, `times` times or until `heal`."""
        self._set(_How.RAISE, operations, error, times)

    def lose_reply(
        self, *operations: Operation, error: BaseException | None = None, times: int | None = 1
    ) -> None:
        """Do it, then raise as if the reply had not come, `times` times or until `heal`."""
        self._set(_How.LOSE, operations, error, times)

    def hold(self, *operations: Operation, times: int | None = None) -> None:
        """Wait before doing it until `heal` is called for that operation."""
        self._set(_How.HOLD, operations, None, times)

    def heal(self, *operations: Operation) -> None:
        """End the faults of these operations (of all, if none is named); what was held goes on."""
        for operation in operations or tuple(self._faults):
            fault = self._faults.pop(operation, None)
            if fault is not None:
                fault.gate.set()

    async def until_held(self, operation: Operation) -> None:
        """Return once a call of `operation` stands at a `hold`."""
        if not self.held[operation]:
            await self._reached.setdefault(operation, asyncio.Event()).wait()

    def _set(
        self,
        how: _How,
        operations: tuple[Operation, ...],
        error: BaseException | None,
        times: int | None,
    ) -> None:
        for operation in operations:
            self.heal(operation)
            fault = _Fault(how, error or StoreError(f"{operation}: fault"), times, asyncio.Event())
            self._faults[operation] = fault

    def _next_fault(self, operation: Operation) -> _Fault | None:
        fault = self._faults.get(operation)
        if fault is None or fault.times is None:
            return fault
        if fault.times <= 0:
            return None
        fault.times -= 1
        return fault

    async def through(self, operation: Operation, do: Callable[[], Awaitable[T]]) -> T:
        """Count one operation and do it, or do what was told instead."""
        self.calls[operation] += 1
        fault = self._next_fault(operation)
        if fault is None:
            return await do()
        if fault.how is _How.RAISE:
            raise fault.error
        if fault.how is _How.LOSE:
            await do()
            raise fault.error
        self.held[operation] += 1
        reached = self._reached.setdefault(operation, asyncio.Event())
        reached.set()
        try:
            await fault.gate.wait()
        finally:
            self.held[operation] -= 1
            reached.clear()
        return await do()

    # --- Store --------------------------------------------------------------------------------

    async def get(self, key: Key) -> Found | None:
        return await self.through("get", lambda: self.store.get(key))

    async def set(self, key: Key, data: bytes, ttl: float) -> None:
        return await self.through("set", lambda: self.store.set(key, data, ttl))

    async def forget(self, key: Key, tombstone: float) -> None:
        return await self.through("forget", lambda: self.store.forget(key, tombstone))

    async def generations(
        self, namespace: str, tags: Sequence[str], ttl: float, offers: Sequence[Offer] = ()
    ) -> tuple[bytes, ...]:
        read, more = self.store.generations, (offers,) if offers else ()
        return await self.through("generations", lambda: read(namespace, tags, ttl, *more))

    async def renew_generation(self, namespace: str, tag: str) -> None:
        renew = self.store.renew_generation
        return await self.through("renew_generation", lambda: renew(namespace, tag))

    async def clear(self, namespace: str) -> int:
        return await self.through("clear", lambda: self.store.clear(namespace))

    async def walk(self, namespace: str) -> AsyncIterator[tuple[Key, Found]]:
        walking = self.store.walk(namespace)
        while (pair := await self.through("walk", lambda: anext(walking, None))) is not None:
            yield pair

    async def ping(self) -> None:
        return await self.through("ping", self.store.ping)

    async def aclose(self) -> None:
        await self.store.aclose()

    # --- LeaseStore ---------------------------------------------------------------------------

    async def acquire(self, key: Key, token: bytes, seen: bytes, lease: float) -> Acquired:
        return await self.through("acquire", lambda: self.store.acquire(key, token, seen, lease))

    async def renew(self, key: Key, token: bytes, lease: float) -> bool:
        return await self.through("renew", lambda: self.store.renew(key, token, lease))

    async def commit(
        self,
        key: Key,
        token: bytes,
        seen: bytes,
        data: bytes,
        ttl: float,
        epoch: bytes = EPOCH_NONE,
    ) -> bool:
        args = (key, token, seen, data, ttl, epoch)
        return await self.through("commit", lambda: self.store.commit(*args))

    async def fail(
        self, key: Key, token: bytes, data: bytes, ttl: float, epoch: bytes = EPOCH_NONE
    ) -> bool:
        return await self.through("fail", lambda: self.store.fail(key, token, data, ttl, epoch))

    async def release(self, key: Key, token: bytes) -> bool:
        return await self.through("release", lambda: self.store.release(key, token))

    def listen(self, key: Key) -> AbstractAsyncContextManager[Bell]:
        return self._subscribe("listen", self.store.listen(key))

    @asynccontextmanager
    async def _subscribe(
        self, operation: Operation, listening: AbstractAsyncContextManager[Bell]
    ) -> AsyncGenerator[Bell, None]:
        bell = await self.through(operation, listening.__aenter__)
        try:
            yield _FaultyBell(self, bell)
        finally:
            await listening.__aexit__(None, None, None)

    # --- RecordingStore -----------------------------------------------------------------------

    async def record(
        self, key: Key, token: bytes, number: int, frame: bytes, lease: float, life: float,
        epoch: bytes = EPOCH_NONE,
    ) -> Recorded:  # fmt: skip
        args = (key, token, number, frame, lease, life, epoch)
        return await self.through("record", lambda: self._recordings.record(*args))

    async def replay(self, key: Key, token: bytes, after: int) -> Sequence[bytes]:
        return await self.through("replay", lambda: self._recordings.replay(key, token, after))

    def follow(self, key: Key, token: bytes) -> AbstractAsyncContextManager[Bell]:
        return self._subscribe("follow", self._recordings.follow(key, token))

    @property
    def _recordings(self) -> RecordingStore:
        return cast("RecordingStore", self.store)


class _FaultyBell:
    def __init__(self, store: FaultyStore, bell: Bell) -> None:
        self._store = store
        self._bell = bell

    async def wait(self, timeout: float) -> bytes | None:
        return await self._store.through("wait", lambda: self._bell.wait(timeout))
