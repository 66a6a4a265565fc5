"""One stream in several simulated processes, with what may go wrong: who follows sees one call's.

Each process is a real `Cache` in virtual time. Its wire to the store delays every operation, loses
some replies, carries some requests late and some twice. The leader may die: a dead process's wire
carries nothing any more but what it had sent, and its tasks are ended. Consumers may leave, and
the key, its tag or all may be forgotten at any moment.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any

from sim_stream_trials import LEASE, Forgotten, Heard, Made, Trial

from samecall import Cache, Policy
from samecall._errors import StoreError, StoreUnreachable
from samecall._memory import MemoryStore
from samecall._ports import Bell
from samecall.testing import VirtualClock, run_virtual
from samecall.testing._prompt import PromptStore

__all__ = ["play"]

_PROCESSES = 4
_TWICE = frozenset({"acquire", "commit", "fail", "record", "release", "renew"})
"""What a client may send again because it has heard nothing."""
_LATE = 2.0
_AFTER = 3.1
"""Seconds after a `forget` after which all have heard of it, also who began without a store."""


class Wire:
    """A process's way to the store; each chance is that of one operation."""

    def __init__(self, store: MemoryStore, luck: random.Random, *, rough: bool) -> None:
        self._store = store
        self._luck = luck
        self.loss = luck.choice((0.0, 0.0, 0.02))
        self.late = luck.choice((0.0, 0.02)) if rough else 0.0
        self.twice = luck.choice((0.0, 0.05, 0.3)) if rough else 0.0
        self.deaf = luck.choice((0.0, 0.2)) if rough else 0.0
        """Chance that a ring is lost."""
        self.again = 0
        """How often something was done twice."""
        self.silent: list[float] = []
        """When generations were asked for of which no reply came, or not in time."""
        self.cut: list[float] = []
        """When anything was not answered, upon which nobody asks for a moment."""
        self.asked: Callable[[], Awaitable[Any]] | None = None
        """The last ACQUIRE."""
        self.dead = False
        self.away = 0.0
        """Until when nothing comes through."""
        self._tasks: set[asyncio.Task[Any]] = set()

    def __getattr__(self, name: str) -> Any:
        do: Callable[..., Any] = getattr(self._store, name)
        if name in ("listen", "follow"):
            return lambda *args: self._listen(do(*args))
        return lambda *args: self._through(name, lambda: do(*args))

    async def _through(self, name: str, do: Callable[[], Awaitable[Any]]) -> Any:
        await self._way()
        if name == "acquire":
            self.asked = do
        if name in _TWICE and self._luck.random() < self.twice:
            self._start(self._once_more(do, _LATE))
        asked = asyncio.get_running_loop().time()
        if self._luck.random() < self.late:
            self._missed(name, asked)
            await asyncio.sleep(self._luck.random() * _LATE)
        done = await do()
        await self._way()
        if self._luck.random() < self.loss:
            self._missed(name, asked)
            self.cut.append(asyncio.get_running_loop().time())
            raise StoreUnreachable("the reply was lost")
        return done

    def _missed(self, name: str, asked: float) -> None:
        if name == "generations":
            self.silent.append(asked)

    def repeat(self) -> None:
        """The last ACQUIRE comes once more, any moment now."""
        if self.twice and self.asked is not None:
            self._start(self._once_more(self.asked, 0.05))

    async def _once_more(self, do: Callable[[], Awaitable[Any]], within: float) -> None:
        await asyncio.sleep(self._luck.random() * within)
        self.again += 1
        await do()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _way(self) -> None:
        await asyncio.sleep(self._luck.random() * 0.01)
        if self.dead:
            await asyncio.get_running_loop().create_future()
        if asyncio.get_running_loop().time() < self.away:
            raise StoreUnreachable("away")

    @asynccontextmanager
    async def _listen(self, listening: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
        await self._way()
        async with listening as bell:
            yield _HardOfHearing(bell, self)

    def hears(self) -> bool:
        """Whether a ring comes through."""
        return self._luck.random() >= self.deaf


class _HardOfHearing:
    """A bell of which some rings are lost."""

    def __init__(self, bell: Bell, wire: Wire) -> None:
        self._bell = bell
        self._wire = wire

    async def wait(self, timeout: float) -> bytes | None:
        now = asyncio.get_running_loop().time
        ends = now() + timeout
        while True:
            message = await self._bell.wait(max(0.0, ends - now()))
            if message is None or self._wire.hears():
                return message


class Process:
    """A cache, its wire, and the tasks that end with it."""

    def __init__(self, world: World, number: int) -> None:
        self.wire = Wire(world.store, world.luck, rough=world.rough)
        store: Any = PromptStore(self.wire) if world.luck.random() < 0.5 else self.wire
        policy = Policy(lease=LEASE, on_abandon="abandon" if world.leaving else "finish")
        self.cache = Cache(store, policy=policy, clock=world.clock, l1=None)
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

    async def until_done(self) -> None:
        """Return once its tasks have ended, those begun meanwhile too."""
        while self.tasks:
            tasks, self.tasks = self.tasks, set()
            await asyncio.gather(*tasks)


class World:
    """One trial."""

    def __init__(self, seed: int, clock: VirtualClock) -> None:
        luck = self.luck = random.Random(seed)
        self.clock = clock
        self.dying = luck.random() < 0.7
        self.forgetting = luck.choice((0, 0, 1, 2))
        self.leaving = luck.random() < 0.25
        self.rough = luck.random() < 0.5
        self.store = MemoryStore(clock=clock)
        self.length = luck.randrange(1, 40)
        apart = random.Random(f"{seed} away")  # by itself: other runs are what they were before
        self.away = 0.2 + apart.random() if apart.random() < 0.2 else 0.0
        if self.away:  # long enough for who asks once all have heard of a `forget`
            self.length = apart.randrange(80, 110)
        self.trial = Trial(seed, self.length, away=self.away)
        self.processes = [Process(self, number) for number in range(_PROCESSES)]
        for process in self.processes:
            process.wire.away = clock.now() + self.away

    def _call(self, process: Process) -> Callable[[], Awaitable[AsyncIterator[Any]]]:
        async def items(generation: int) -> AsyncIterator[Any]:
            for index in range(self.length):
                await asyncio.sleep(self.luck.random() * 0.1)
                yield [generation, index]

        async def call() -> AsyncIterator[Any]:
            self.trial.made.append(Made(self.clock.now(), process.number))
            return items(len(self.trial.made) - 1)

        return call

    async def _consume(self, process: Process, begin: float) -> None:
        await asyncio.sleep(begin)
        if process.wire.dead:
            return
        heard = Heard(self.clock.now(), process.number)
        self.trial.heard.append(heard)
        leaves = self.luck.randrange(self.length + 1) if self.leaving else -1
        stream = process.cache.stream("k", self._call(process), tags=("t",))
        try:
            async with aclosing(stream):
                async for generation, index in stream:
                    heard.items.append((generation, index))
                    if len(heard.items) == leaves:
                        heard.left = True
                        break
                    if self.luck.random() < 0.1:
                        await asyncio.sleep(self.luck.random() * 0.1)
        except Exception as error:  # noqa: BLE001 - judged later
            heard.error = error
        heard.ended = self.clock.now()

    async def _forget(self, process: Process, begin: float) -> None:
        await asyncio.sleep(begin)
        if process.wire.dead:
            return
        cache = process.cache
        way = self.luck.choice(("key", "key", "tag", "clear"))
        forgotten = Forgotten(way, self.clock.now(), process.number)
        do = {"key": lambda: cache.forget("k"), "tag": lambda: cache.forget_tag("t")}
        self.trial.forgotten.append(forgotten)
        try:
            await do.get(way, cache.clear)()
        except StoreError:  # nobody knows whether it was done
            forgotten.told = False
        forgotten.done = self.clock.now()
        self.processes[self.luck.randrange(_PROCESSES)].wire.repeat()
        for asker in {process.number, self.luck.randrange(_PROCESSES)}:  # somebody asks just after
            other = self.processes[asker]
            other.start(self._consume(other, self.luck.choice((0.001, 0.05, 1.2))))

    async def play(self) -> Trial:
        luck, trial = self.luck, self.trial
        span = 0.06 * self.length
        for process in self.processes:
            first = 0.0 if process.number == 0 else 0.02 + luck.random() * 2
            for extra in range(luck.randrange(1, 4)):
                process.start(self._consume(process, first + extra * luck.random()))
        for _ in range(self.forgetting):
            process = self.processes[luck.randrange(_PROCESSES)]
            process.start(self._forget(process, luck.random() * (span + 1)))
        if self.away:
            self.processes[1].start(self._forget(self.processes[1], self.away + 0.3))
            for process in self.processes:
                process.start(self._consume(process, self.away + 0.3 + _AFTER))
        if self.dying:
            await asyncio.sleep(luck.random() * span)
            trial.died = self.clock.now()
            self.processes[0].kill()
        living = self.processes[self.dying :]
        while any(process.tasks for process in living):
            for process in living:
                await process.until_done()
        await self._end(living)
        return trial

    async def _end(self, living: list[Process]) -> None:
        """What is stored then, and whether anything is left."""
        trial = self.trial
        for process in living:
            while process.cache.statistics().flights:
                await asyncio.sleep(0.05)
            await process.cache.aclose()
        wires = [process.wire for process in self.processes]
        trial.lossy = self.away > 0 or any(wire.loss or wire.late or wire.deaf for wire in wires)
        trial.silent = {each.number: each.wire.silent for each in self.processes}
        trial.cut = {each.number: each.wire.cut for each in self.processes}
        trial.again = sum(wire.again for wire in wires)
        trial.leaving, trial.calls = self.leaving, len(trial.made)
        await asyncio.sleep(_LATE + 2 * LEASE)
        held = self.store.statistics()
        trial.left = {"leases": held.leases}
        if not self.dying:  # a dead process leaves what it had; here nobody would free it
            trial.left["bells"] = held.listeners + self.store.recording_listeners
            trial.left["tasks"] = len(asyncio.all_tasks()) - 1
        last = Process(self, _PROCESSES)
        last.wire = Wire(self.store, random.Random(0), rough=False)
        last.cache = Cache(self.store, policy=Policy(lease=LEASE), clock=self.clock, l1=None)
        self.leaving = False
        await self._consume(last, 0.0)
        await last.cache.aclose()


def play(seed: int) -> Trial:
    """One trial in virtual time."""

    async def main(clock: VirtualClock) -> Trial:
        return await World(seed, clock).play()

    return run_virtual(main)
