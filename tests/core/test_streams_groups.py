"""Chunks in groups: with which chunk a group ends, and who hears of groups only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from core_streams import Consumer, Source
from core_support import World, virtual

from samecall import Cache
from samecall._stream.groups import Groups


async def told(gaps: list[float], *, size: int = 10, followed: bool = True) -> list[float]:
    """When groups of a stream with these pauses ended, in seconds since its first chunk."""
    loop, ends = asyncio.get_running_loop(), list[float]()
    groups = Groups(lambda: ends.append(loop.time()))
    groups.follow(followed=followed)
    began, total = loop.time(), 0
    for gap in gaps:
        await asyncio.sleep(gap)
        total += size
        groups.came(total)
    await asyncio.sleep(1)
    groups.close()
    return [round(end - began, 4) for end in ends]


@virtual
async def test_a_steady_stream_is_told_of_with_its_own_chunks(w: World) -> None:
    """No timer wakes the loop between two chunks, and no chunk waits longer than 25 ms."""
    ends = await told([0.0] + [0.01] * 30)
    assert ends[:-1] == [0.0] + [round(0.03 * n, 4) for n in range(1, len(ends) - 1)]
    assert await told([0.0] + [0.02] * 6) == [0.0, 0.04, 0.08, 0.12]
    assert await told([0.0] + [0.03] * 3) == [0.0, 0.03, 0.06, 0.09]
    unfollowed = await told([0.0] + [0.012] * 30, followed=False)
    assert unfollowed[:3] == [0.0, 0.06, 0.12]


@virtual
async def test_a_chunk_after_which_nothing_comes_waits_for_a_window(w: World) -> None:
    assert await told([0.0, 0.01]) == [0.0, 0.035]
    assert await told([0.0, 0.01, 0.001]) == [0.0, 0.035]
    assert await told([0.0, 0.001], size=9_000) == [0.0, 0.001]


@virtual
async def test_who_begins_to_follow_waits_no_longer_than_a_follower(w: World) -> None:
    loop, ends = asyncio.get_running_loop(), list[float]()
    groups = Groups(lambda: ends.append(loop.time()))
    groups.follow(followed=False)
    groups.came(1)
    await asyncio.sleep(0.001)
    groups.came(2)
    due = loop.time() + 0.025
    groups.follow(followed=True)
    await asyncio.sleep(1)
    assert ends[1] == pytest.approx(due)


def steady(count: int) -> Callable[[], Awaitable[AsyncIterator[int]]]:
    """A provider of so many items, one each 10 ms."""

    async def items() -> AsyncIterator[int]:
        for number in range(count):
            await asyncio.sleep(0.01)
            yield number

    async def call() -> AsyncIterator[int]:
        return items()

    return call


async def wakes(cache: Cache, key: str, consumers: int) -> int:
    """In how many turns the second of so many consumers got the items of a stream."""
    loop, moments = asyncio.get_running_loop(), set[float]()
    call = steady(60)

    async def second() -> list[int]:
        got = list[int]()
        async for item in cache.stream(key, call):
            moments.add(loop.time())
            got.append(item)
        return got

    leader = Consumer(cache.stream(key, call))
    await asyncio.sleep(0)
    rest = [Consumer(cache.stream(key, call)) for _ in range(consumers - 2)]
    assert await second() == list(range(60))
    for each in (leader, *rest):
        assert await each.task == list(range(60))
    return len(moments)


@virtual
async def test_a_crowd_in_the_leaders_process_hears_of_groups(w: World) -> None:
    """Two hundred tasks that wake at each chunk would make the provider's reader late."""
    cache = w.cache()
    assert await wakes(cache, "few", 5) == 60
    assert await wakes(cache, "many", 200) <= 22


@virtual
async def test_a_crowd_needs_no_store_that_answers(w: World) -> None:
    """What the leader's process hears of its own stream does not wait for a frame."""
    cache, source = w.cache(), Source()
    w.store.hold("record")
    consumers = [Consumer(cache.stream("k", source)) for _ in range(50)]
    for number in range(5):
        source.put(number)
        await asyncio.sleep(0.06)
        assert [each.got for each in consumers] == [list(range(number + 1))] * 50
    w.store.heal()
    source.put(None)
    for each in consumers:
        await each.task


@virtual
async def test_the_leaders_consumer_hears_of_each_chunk(w: World) -> None:
    cache, source = w.cache(), Source()
    leader = Consumer(cache.stream("k", source))
    crowd = [Consumer(cache.stream("k", source)) for _ in range(50)]
    source.put(0)
    await w.turns()
    for number in range(1, 4):
        source.put(number)
        await w.turns()
        assert leader.got == list(range(number + 1))
        assert {len(each.got) for each in crowd} == {1}
    source.put(None)
    for each in (leader, *crowd):
        assert await each.task == [0, 1, 2, 3]
