"""A world for one test: virtual time, one store, caches on it, and a look around at the end."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from samecall import Cache, Policy
from samecall._codec import PlainCodec
from samecall._entry import Entry
from samecall._memory import MemoryStore
from samecall._ports import CallAnswered, ErrorRecord, Event, Failure, Reach
from samecall.testing import FaultyStore, GatedProvider, VirtualClock, run_virtual
from samecall.testing._prompt import PromptStore

LONGEST = 100_000.0
"""Seconds of virtual time after which a test counts as one that hangs."""


class Ears:
    """An observer that writes everything down."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.heard.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.heard if isinstance(event, kind)]


class FleetCodec(PlainCodec):
    """Plain data; every error of the call travels as far as it is told to."""

    def __init__(self, reach: Reach = Reach.FLEET, retry_after: float | None = None) -> None:
        self.reach, self.retry_after = reach, retry_after

    def explain(self, error: BaseException) -> Failure:
        record = ErrorRecord(type(error).__name__, str(error), None, self.retry_after)
        return Failure(self.reach, record)


class World:
    """One store with faults to order, and what every test must leave behind: nothing."""

    def __init__(self, clock: VirtualClock, *, prompt: bool = False) -> None:
        self.clock = clock
        self.prompt = prompt
        self.memory = MemoryStore(clock=clock)
        self.store = FaultyStore(self.memory)
        self.ears: list[Ears] = []
        self.caches: list[Cache] = []
        self.complaints: list[dict[str, Any]] = []
        self.leases_may_remain = False
        asyncio.get_running_loop().set_exception_handler(lambda _, c: self.complaints.append(c))

    def cache(self, policy: Policy | None = None, **more: Any) -> Cache:
        """Another process's cache on the same store."""
        ears = Ears()
        store = more.pop("store", PromptStore(self.store) if self.prompt else self.store)
        observers = (ears, *more.pop("observers", ()))
        cache = Cache(store, policy=policy, clock=self.clock, observers=observers, **more)
        self.caches.append(cache)
        self.ears.append(ears)
        return cache

    def provider(self) -> GatedProvider[Any]:
        return GatedProvider()

    async def of_now(self, entry: Entry) -> Entry:
        """The entry as one that no `forget_tag` or `clear` has outdated."""
        tags = ("", *entry.tags)
        generations = await self.memory.generations("default", tags, 60.0)
        return msgspec.structs.replace(entry, generations=generations)

    async def turns(self, count: int = 60) -> None:
        """Let everything run that can run, and no time pass."""
        for _ in range(count):
            await asyncio.sleep(0)

    async def close(self) -> None:
        for cache in self.caches:
            await cache.aclose()
        await self.turns()
        self.look_around()

    def look_around(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        assert not tasks, tasks
        held = self.memory.statistics()
        assert held.listeners == 0
        assert self.memory.recording_listeners == 0
        assert self.leases_may_remain or held.leases == 0
        assert not self.complaints, self.complaints
        for cache, ears in zip(self.caches, self.ears, strict=True):
            now = cache.statistics()
            assert now.flights == now.callers_waiting == 0
            ways = now.l1_hits, now.l2_hits, now.coalesced_local, now.coalesced_remote, now.led
            assert now.calls == sum(ways) + now.errors, now
            answered = ears.of(CallAnswered)
            assert len(answered) == now.calls
            assert sum(event.error is not None for event in answered) == now.errors


def virtual(
    test: Callable[..., Awaitable[None]] | None = None, *, prompt: bool | None = None
) -> Any:
    """Run an async test in virtual time; its first argument is a `World`.

    It runs with a store that has to be asked by tasks, and with one that is `prompt`, unless one
    of them is named.
    """
    if test is None:
        return functools.partial(virtual, prompt=prompt)

    @functools.wraps(test)
    def run(prompt: bool = prompt is True, **arguments: Any) -> None:
        async def main(clock: VirtualClock) -> None:
            world = World(clock, prompt=prompt)
            async with asyncio.timeout(LONGEST):  # where nothing else is due, it is over at once
                await test(world, **arguments)
            await world.close()

        # what other tests left is not to be collected in this loop: an SDK's client that was not
        # closed begins a task in whichever loop runs just then, and that would count as ours
        gc.disable()
        try:
            run_virtual(main)
        finally:
            gc.enable()

    of_test = list(inspect.signature(test).parameters.values())[1:]
    both = [inspect.Parameter("prompt", inspect.Parameter.KEYWORD_ONLY)] if prompt is None else []
    run.__signature__ = inspect.Signature([*of_test, *both])  # type: ignore[attr-defined]
    del run.__wrapped__
    if prompt is not None:
        return run
    return pytest.mark.parametrize("prompt", [False, True], ids=["tasks", "prompt"])(run)


async def outcomes(*calls: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


def spawn(count: int, call: Callable[[], Awaitable[Any]]) -> list[asyncio.Task[Any]]:
    return [asyncio.ensure_future(call()) for _ in range(count)]
