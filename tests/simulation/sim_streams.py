"""One stream in several simulated processes whose leader dies: who follows sees one generation.

Each process is a real `Cache` in virtual time. Its wire to the store delays every operation and
loses some replies; a dead process's wire carries nothing any more, and its tasks are ended.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from samecall import Cache, Policy, StreamInterrupted
from samecall._errors import StoreUnreachable
from samecall._memory import MemoryStore
from samecall.testing import VirtualClock, run_virtual

__all__ = ["Heard", "Trial", "play"]

LEASE = 1.0
BOUND = 6 * LEASE  # after the death, for who listens already: the lease, twice the patience


@dataclass
class Heard:
    """What one consumer got, as (generation, index)."""

    items: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    error: BaseException | None = None
    began: float = 0.0
    ended: float | None = None
    process: int = 0


@dataclass
class Trial:
    """What happened in one run."""

    seed: int
    length: int
    died: float
    calls: int
    heard: list[Heard]
    lossy: bool  # replies were lost: a process may have gone on alone

    def faults(self) -> list[str]:
        """What must not be, of all that was seen."""
        found: list[str] = []
        if self.calls > 2 and not self.lossy:
            found.append(f"{self.calls} provider calls for one death")
        for each in self.heard:
            found += self._faults_of(each)
        return [f"seed {self.seed}: {fault}" for fault in found]

    def _faults_of(self, one: Heard) -> list[str]:
        generations = {generation for generation, _ in one.items}
        if len(generations) > 1:
            return [f"{generations} mixed: {one.items}"]
        if [index for _, index in one.items] != list(range(len(one.items))):
            return [f"a hole: {one.items}"]
        most = max(self.died, one.began) + BOUND + self.length * 0.1
        if one.ended is None or one.ended > most:
            return [f"ended at {one.ended}, death at {self.died}"]
        match one.error:
            case None:
                return [] if len(one.items) == self.length else [f"cut off: {one.items}"]
            case StreamInterrupted(items=items) if items:
                told = [(pair[0], pair[1]) for pair in items]
                return [] if told == one.items else [f"told of {items}, had {one.items}"]
            case other:
                return [f"ended in {other!r}"]


class Wire:
    """A process's way to the store."""

    def __init__(self, store: MemoryStore, luck: random.Random, loss: float) -> None:
        self._store = store
        self._luck = luck
        self.loss = loss
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        do: Callable[..., Any] = getattr(self._store, name)
        if name in ("listen", "follow"):
            return lambda *args: self._listen(do(*args))
        return lambda *args: self._through(lambda: do(*args))

    async def _through(self, do: Callable[[], Awaitable[Any]]) -> Any:
        await self._way()
        done = await do()
        await self._way()
        if self._luck.random() < self.loss:
            raise StoreUnreachable("the reply was lost")
        return done

    async def _way(self) -> None:
        await asyncio.sleep(self._luck.random() * 0.01)
        if self.dead:
            await asyncio.get_running_loop().create_future()

    @asynccontextmanager
    async def _listen(self, listening: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
        await self._way()
        async with listening as bell:
            yield bell


class Process:
    """A cache, its wire, and the tasks that end with it."""

    def __init__(self, world: World, number: int) -> None:
        self.wire = Wire(world.store, world.luck, world.luck.choice((0.0, 0.0, 0.02)))
        policy = Policy(lease=LEASE)
        self.cache = Cache(self.wire, policy=policy, clock=world.clock, l1=None)
        self.tasks: set[asyncio.Task[Any]] = set()
        self.number = number

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.add(asyncio.get_running_loop().create_task(work))

    def kill(self) -> None:
        """The process ends: nothing of it reaches the store any more."""
        self.wire.dead = True
        flights = [flight for room in self.cache._rooms for flight in room.flights._open]
        for task in (*self.tasks, *(flight.task for flight in flights if flight.task)):
            task.cancel()


class World:
    """One trial."""

    def __init__(self, seed: int, clock: VirtualClock) -> None:
        self.luck = random.Random(seed)
        self.clock = clock
        self.seed = seed
        self.store = MemoryStore(clock=clock)
        self.length = self.luck.randrange(1, 40)
        self.calls = 0
        self.heard: list[Heard] = []

    def call(self) -> Callable[[], Awaitable[AsyncIterator[Any]]]:
        async def items(generation: int, pace: float) -> AsyncIterator[Any]:
            for index in range(self.length):
                await asyncio.sleep(self.luck.random() * pace)
                yield [generation, index]

        async def call() -> AsyncIterator[Any]:
            self.calls += 1
            return items(self.calls, 0.1)

        return call

    async def consume(self, process: Process, begin: float) -> None:
        heard = Heard(process=process.number)
        await asyncio.sleep(begin)
        if process.wire.dead:
            return
        self.heard.append(heard)
        heard.began = self.clock.now()
        stream = process.cache.stream("k", self.call())
        try:
            async for generation, index in stream:
                heard.items.append((generation, index))
                if self.luck.random() < 0.1:
                    await asyncio.sleep(self.luck.random() * 0.1)
        except Exception as error:  # noqa: BLE001 - judged later
            heard.error = error
        heard.ended = self.clock.now()

    async def play(self) -> Trial:
        processes = [Process(self, number) for number in range(4)]
        for process in processes:
            first = 0.0 if process.number == 0 else 0.02 + self.luck.random() * 2
            for extra in range(self.luck.randrange(1, 4)):
                process.start(self.consume(process, first + extra * self.luck.random()))
        await asyncio.sleep(self.luck.random() * 0.06 * self.length)
        died = self.clock.now()
        processes[0].kill()
        await asyncio.gather(*(task for one in processes[1:] for task in one.tasks))
        for process in processes[1:]:
            await process.cache.aclose()
        heard = [one for one in self.heard if one.process != 0]
        lossy = any(process.wire.loss for process in processes)
        return Trial(self.seed, self.length, died, self.calls, heard, lossy=lossy)


def play(seed: int) -> Trial:
    """One trial in virtual time."""
    done: list[Trial] = []

    async def main(clock: VirtualClock) -> None:
        done.append(await World(seed, clock).play())

    run_virtual(main)
    return done[0]
