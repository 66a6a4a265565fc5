"""Event loops that end, several at once, threads, and forks: in real time."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

import pytest

from samecall import Cache, Policy, ReentrantCall
from samecall._key import key_from
from samecall._memory import MemoryStore
from samecall.testing import GatedProvider

KEY = key_from("k", "default", None)


async def yes() -> str:
    return "yes"


class Lazy:
    """A store each of whose answers takes a turn of the loop, as a socket does."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        if name not in ("acquire", "commit", "fail", "release"):
            return found

        async def lazy(*args: Any) -> Any:
            for _ in range(3):
                await asyncio.sleep(0)
            return await found(*args)

        return lazy


def test_the_commit_arrives_when_the_loop_ends_with_the_answer() -> None:
    """asyncio.run returns at once; the answer is stored all the same, and the lease is free."""
    memory = MemoryStore()
    cache = Cache(Lazy(memory))
    assert asyncio.run(cache.get_or_call("k", yes)) == "yes"
    assert memory.statistics().leases == 0
    assert memory.look(KEY) is not None


def test_a_flight_that_is_open_when_the_loop_ends_is_released() -> None:
    """Its call is cancelled with the loop."""
    memory = MemoryStore()
    cache = Cache(Lazy(memory))
    provider: GatedProvider[str] = GatedProvider()

    async def main() -> None:
        task = asyncio.ensure_future(cache.get_or_call("k", provider))
        await provider.until_waiting(1)
        del task

    asyncio.run(main())
    assert provider.cancelled == 1
    assert memory.statistics().leases == 0


def test_a_cache_lives_in_many_loops() -> None:
    """One after the other: what one stored the next finds; counts are kept, loops are not."""
    memory = MemoryStore()
    cache = Cache(memory)
    for number in range(20):
        assert asyncio.run(cache.get_or_call(f"k{number // 2}", yes)) == "yes"
    now = cache.statistics()
    assert (now.calls, now.provider_calls, now.l1_hits + now.l2_hits) == (20, 10, 10)
    assert len(cache._rooms._counters) == 1


def test_two_threads_at_once() -> None:
    """One call for both loops; forgetting in one detaches the flights of the other."""
    memory = MemoryStore()
    cache = Cache(memory)
    calls: list[int] = []
    go = threading.Event()

    async def call() -> str:
        calls.append(1)
        await asyncio.to_thread(go.wait, 30)
        return "old"

    got: list[str] = []

    def one() -> None:
        async def main() -> None:
            got.extend(await asyncio.gather(*(cache.get_or_call("k", call) for _ in range(5))))
            await cache.aclose()

        asyncio.run(main())

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(10_000):
        if cache.statistics().callers_waiting == 15:
            break
        time.sleep(0.001)
    assert cache.statistics().callers_waiting == 15
    asyncio.run(cache.forget("k"))
    go.set()
    for thread in threads:
        thread.join(30)
    assert got == ["old"] * 15
    # three loops are three flights: the forgotten lease let another lead, and what was begun
    # before the forgetting is not kept by anybody
    assert memory.look(KEY) is None
    assert memory.statistics().leases == 0
    assert cache.statistics().calls == 15


def test_many_threads_make_and_end_loops() -> None:
    """Rooms come and go under each other's feet; nothing is lost in the counts."""
    cache = Cache(MemoryStore())
    faults: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for number in range(15):
                key = f"k{(seed + number) % 7}"
                assert asyncio.run(cache.get_or_call(key, yes)) == "yes"
                cache.statistics()
        except BaseException as error:  # noqa: BLE001 - told to the main thread
            faults.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
    now = cache.statistics()
    ways = now.l1_hits, now.l2_hits, now.coalesced_local, now.coalesced_remote, now.led
    assert now.calls == sum(ways) == 120


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_in_mid_flight() -> None:
    """The child has a clean start and the entries; the parent's flight goes on."""
    memory = MemoryStore()
    cache = Cache(memory)
    provider: GatedProvider[str] = GatedProvider()

    def child() -> int:
        try:
            assert cache.statistics().calls == 0
            assert asyncio.run(cache.get_or_call("k", yes)) == "yes"
            assert asyncio.run(cache.get_or_call("before", provider)) == "yes"
            assert cache.statistics().led == 1
        except BaseException:  # noqa: BLE001 - told to the parent
            return 1
        return 0

    async def main() -> str:
        await cache.get_or_call("before", yes)
        task = asyncio.ensure_future(cache.get_or_call("k", provider))
        await provider.until_waiting(1)
        cache._rooms._lock.acquire()  # as another thread may hold it
        pid = os.fork()
        if pid == 0:
            os._exit(_in_thread(child))
        cache._rooms._lock.release()
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        provider.answer("parent")
        return await task

    assert asyncio.run(main()) == "parent"
    assert cache.statistics().provider_calls == 2


def _in_thread(work: Any) -> int:
    # the child's main thread stands inside the parent's loop: run the child's own one beside it
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(work()))
    thread.start()
    thread.join(20)
    return codes[0] if codes else 2


async def test_closing_in_good_order() -> None:
    """Closing stores what has been answered; a ready store stays open; a later call starts anew."""
    memory = MemoryStore()
    closed: list[int] = []

    class Ready(Lazy):
        async def aclose(self) -> None:
            closed.append(1)

    async with Cache(Ready(memory)) as cache:
        await cache.get_or_call("k", yes)
    assert memory.look(KEY) is not None
    assert closed == []
    assert await cache.get_or_call("k", yes) == "yes"
    await cache.aclose()
    await cache.aclose()


def test_a_flight_that_asks_for_itself_in_another_loop_raises() -> None:
    """Its thread would wait for the lease that its own flight holds."""
    cache = Cache("memory://")

    async def inner() -> Any:
        return await cache.get_or_call("k", call, policy=Policy(wait=1))

    async def call() -> Any:
        return await asyncio.to_thread(lambda: asyncio.run(inner()))

    with pytest.raises(ReentrantCall):
        asyncio.run(cache.get_or_call("k", call))
