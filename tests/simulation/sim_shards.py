"""A cluster of many shards for a fleet of many workers: what each is asked, sends and waits for.

Every shard does one thing at a time, and everything takes the time that it takes a real server
(`Costs`); what comes meanwhile waits. State and answers are `MemoryStore`'s, the model of the Lua
scripts; who asks is the real `Cache`.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sim_loop import ProcessClock, StepLoop, Time, VirtualBell, at_once

from samecall._entry import Key
from samecall._errors import StoreError
from samecall._memory import MemoryStore
from samecall._ports import EPOCH_NONE, Acquired, Found

__all__ = ["Costs", "Shard", "Shards", "Way"]


@dataclass(frozen=True)
class Costs:
    """Seconds that a server takes; `scale.py --measure` prints those of a real one."""

    script: float = 25e-6
    """A script that comes alone (one of a batch takes 5e-6)."""
    subscribe: float = 5e-6
    """SSUBSCRIBE or SUNSUBSCRIBE."""
    message: float = 4.5e-6
    """Handing a message to one subscriber."""
    connect: float = 100e-6
    """A new connection, its login included, without TLS."""
    byte: float = 1 / 1.25e9
    """A byte on a link of 10 Gbit/s."""
    way: float = 250e-6
    """From a worker to a shard, or back."""


class _Ringer:
    """Stands where the bells of a `MemoryStore` hang."""

    def __init__(self, ring: Callable[[Key, bytes], int], heard: Callable[[Key], int]) -> None:
        self.ring, self.heard = ring, heard

    def forget_all(self) -> None:
        """What a fork asks of bells."""


@dataclass(eq=False)
class Shard:
    """One server, and what was asked of it."""

    shards: Shards
    down: bool = False
    free_at: float = 0.0
    longest: float = 0.0
    """Seconds that the longest queue took."""
    commands: Counter[str] = field(default_factory=Counter[str])
    bytes_in: int = 0
    bytes_out: int = 0
    messages: int = 0
    widest: int = 0
    """Bytes that one message made the server hold for all its subscribers at once."""
    connections: set[tuple[int, str]] = field(default_factory=set[tuple[int, str]])
    busy: Counter[int] = field(default_factory=Counter[int])
    """Seconds of work, in nanoseconds, by second."""

    def __post_init__(self) -> None:
        self.memory = MemoryStore(entries=10**9, bytes=10**12, clock=self.shards.clock)
        self.memory._bells = _Ringer(self._ring, lambda key: len(self.bells.get(key, ())))  # type: ignore[assignment]
        self.bells: dict[Key, dict[VirtualBell, int]] = {}

    def work(self, seconds: float) -> float:
        """Do something; seconds from now until it is done."""
        now = self.shards.time.now
        self.free_at = max(self.free_at, now) + seconds
        self.busy[int(now)] += round(seconds * 1e9)
        self.longest = max(self.longest, self.free_at - now)
        return self.free_at - now

    def met(self, worker: int, lane: str) -> None:
        """A worker's first command on a lane opens a connection."""
        if (worker, lane) not in self.connections:
            self.connections.add((worker, lane))
            self.work(self.shards.costs.connect)

    def _ring(self, key: Key, message: bytes) -> int:
        heard = self.bells.get(key, {})
        costs, loop = self.shards.costs, self.shards.loop
        self.widest = max(self.widest, len(message) * len(heard))
        for bell in tuple(heard):
            after = self.work(costs.message + len(message) * costs.byte)
            self.messages += 1
            self.bytes_out += len(message) + 110
            loop.call_later(after + costs.way, self._hear, key, bell, message)
        return len(heard)

    def _hear(self, key: Key, bell: VirtualBell, message: bytes) -> None:
        if bell in self.bells.get(key, {}):
            bell.put(message)


class Shards:
    """The cluster, on a loop with a virtual time that it shares with all workers."""

    def __init__(self, count: int, costs: Costs, seed: int) -> None:
        self.time, self.costs, self.luck = Time(), costs, random.Random(seed)
        self.clock = ProcessClock(self.time, 0.0, 1.0)
        self.complaints: list[dict[str, Any]] = []
        self.loop = StepLoop(self.clock, self.complaints.append)
        self.all = [Shard(self) for _ in range(count)]

    def of(self, key: Key) -> Shard:
        """Whose slot a key is in."""
        return self.all[int.from_bytes(key.digest[:4], "big") % len(self.all)]

    def of_name(self, name: str) -> Shard:
        """The same of a key that has no digest."""
        return self.all[sum(name.encode()) % len(self.all)]

    def run(self, until: float) -> None:
        """Let time pass."""
        while (due := self.loop.due()) is not None and due <= until:
            self.time.now = max(self.time.now, due)
            self.loop.run()
        self.time.now = until

    def commands(self) -> Counter[str]:
        """What all were asked."""
        return sum((shard.commands for shard in self.all), Counter[str]())


class Way:
    """What one worker takes for its store: the `LeaseStore` of all shards."""

    def __init__(self, shards: Shards, worker: int) -> None:
        self.shards, self.worker = shards, worker

    async def _ask(self, shard: Shard, op: str, lane: str, size: int, *args: Any) -> Any:
        shards = self.shards
        costs, loop = shards.costs, shards.loop
        reply: asyncio.Future[Any] = loop.create_future()

        def arrive() -> None:
            if shard.down:
                settle = partial(_raise, reply, StoreError("the node of this slot is gone"))
                loop.call_later(costs.way, settle)
                return
            shard.met(self.worker, lane)
            shard.commands[op] += 1
            shard.bytes_in += size
            result = None if op.endswith("scribe") else at_once(getattr(shard.memory, op)(*args))
            out = len(getattr(result, "data", b"")) + 60
            shard.bytes_out += out
            cost = costs.subscribe if op.endswith("scribe") else costs.script
            after = shard.work(cost + (size + out) * costs.byte)
            loop.call_later(after + costs.way, _settle, reply, result)

        loop.call_later(costs.way * (0.8 + 0.4 * shards.luck.random()), arrive)
        return await reply

    async def acquire(self, key: Key, token: bytes, seen: bytes, lease: float) -> Acquired:
        args = (key, token, seen, lease)
        return await self._ask(self.shards.of(key), "acquire", "reads", 520, *args)

    async def renew(self, key: Key, token: bytes, lease: float) -> bool:
        return await self._ask(self.shards.of(key), "renew", "writes", 220, key, token, lease)

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
        return await self._ask(self.shards.of(key), "commit", "writes", 560 + len(data), *args)

    async def fail(
        self, key: Key, token: bytes, data: bytes, ttl: float, epoch: bytes = EPOCH_NONE
    ) -> bool:
        args = (key, token, data, ttl, epoch)
        return await self._ask(self.shards.of(key), "fail", "writes", 460 + len(data), *args)

    async def release(self, key: Key, token: bytes) -> bool:
        return await self._ask(self.shards.of(key), "release", "writes", 300, key, token)

    async def get(self, key: Key) -> Found | None:
        return await self._ask(self.shards.of(key), "get", "reads", 170, key)

    async def generations(
        self, namespace: str, tags: Sequence[str], ttl: float
    ) -> tuple[bytes, ...]:
        found: list[bytes] = []
        for tag in tags:
            shard = self.shards.of_name(f"{namespace}/{tag}")
            args = (namespace, (tag,), ttl)
            found += await self._ask(shard, "generations", "reads", 170, *args)
        return tuple(found)

    async def set(self, key: Key, data: bytes, ttl: float) -> None:
        raise AssertionError("nobody sets")

    async def forget(self, key: Key, tombstone: float) -> None:
        await self._ask(self.shards.of(key), "forget", "writes", 300, key, tombstone)

    async def clear(self, namespace: str) -> int:
        raise AssertionError("nobody clears")

    async def ping(self) -> None:
        """The cluster answers, whichever node is gone."""

    async def aclose(self) -> None:
        """Nothing was opened."""

    @asynccontextmanager
    async def listen(self, key: Key) -> AsyncGenerator[VirtualBell]:
        bell, shard = VirtualBell(), self.shards.of(key)
        await self._ask(shard, "subscribe", "bells", 120)
        shard.bells.setdefault(key, {})[bell] = self.worker
        try:
            yield bell
        finally:
            del shard.bells[key][bell]
            shard.commands["unsubscribe"] += 1
            shard.work(self.shards.costs.subscribe)


def _settle(reply: asyncio.Future[Any], result: object) -> None:
    if not reply.done():
        reply.set_result(result)


def _raise(reply: asyncio.Future[Any], error: Exception) -> None:
    if not reply.done():
        reply.set_exception(error)
