"""Streams that are stale, forgotten, refused or several: as calls are, on every store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from place_support import Place, stored, until

from samecall import Cache, Policy

WAYS = ["key", "tag", "namespace"]


class Source:
    """A provider of streams; each call gives its number, and waits at the gate for the rest."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> AsyncIterator[Any]:
        self.calls += 1
        return self._items(self.calls)

    async def _items(self, number: int) -> AsyncIterator[Any]:
        if self.error is not None:
            raise self.error
        yield [number, 0]
        await self.gate.wait()
        yield [number, 1]


def whole(number: int) -> list[Any]:
    return [[number, 0], [number, 1]]


async def take(cache: Cache, source: Source, **more: Any) -> list[Any]:
    return [item async for item in cache.stream("k", source, **more)]


async def filled(place: Place, source: Source, policy: Policy) -> tuple[Cache, Cache]:
    one, other = place.cache(policy), place.cache(policy)
    assert await take(one, source, tags=("t",)) == whole(1)
    await stored(one)
    return one, other


async def test_a_stale_stream_at_once_and_one_refresh_in_the_fleet(place: Place) -> None:
    """For the callers of two processes."""
    source = Source()
    one, other = await filled(place, source, Policy(ttl=1_000, stale_while_revalidate=1_000))
    await place.age(one, 1_500)
    source.gate.clear()
    asked = [take(cache, source) for cache in (one, other) for _ in range(5)]
    assert await asyncio.gather(*asked) == [whole(1)] * 10
    assert one.statistics().stale == other.statistics().stale == 5
    source.gate.set()
    await until(lambda: one.statistics().stored + other.statistics().stored == 2)
    for cache in (one, other):
        assert await take(cache, source) == whole(2)
    assert source.calls == 2


async def test_instead_of_an_error_the_stale_stream(place: Place) -> None:
    """Before the first item."""
    source = Source()
    policy = Policy(ttl=1_000, stale_if_error=1_000, error_ttl=0)
    one, other = await filled(place, source, policy)
    await place.age(one, 1_500)
    source.error = OSError("down")
    for cache in (one, other):
        assert await take(cache, source) == whole(1)
    assert one.statistics().stale == other.statistics().stale == 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_stream_begun_before_is_followed_by_nobody_after(place: Place, way: str) -> None:
    """Its consumers have all of it; who asks then, in either process, hears another one."""
    source, one, other = Source(), place.cache(), place.cache()
    source.gate.clear()
    items = one.stream("k", source, tags=("t",))
    assert await anext(items) == [1, 0]
    match way:
        case "key":
            await one.forget("k")
        case "tag":
            await one.forget_tag("t")
        case _:
            await one.clear()
    later = [asyncio.ensure_future(take(cache, source, tags=("t",))) for cache in (one, other)]
    if way == "key":  # its lease is gone as well
        await until(lambda: source.calls == 2)
    source.gate.set()
    assert [item async for item in items] == [[1, 1]]
    assert await asyncio.gather(*later) == [whole(2)] * 2
    await until(lambda: one.statistics().stored + other.statistics().stored >= 1)
    for cache in (one, other):
        assert await take(cache, source) == whole(2)
    assert source.calls == 2


async def test_several_streams_in_turn(place: Place) -> None:
    """Three calls for two processes, which both hear all of them."""
    source, policy = Source(), Policy(variants=3, pick="in_turn")
    one, other = place.cache(policy), place.cache(policy)
    first = [await take(one, source) for _ in range(3)]
    await stored(one, 3)
    assert sorted(first) == [whole(1), whole(2), whole(3)]
    assert sorted([await take(other, source) for _ in range(3)]) == sorted(first)
    assert await take(other, source, mode="only") in first
    await other.forget("k")
    assert await one.peek("k") is None
    assert source.calls == 3


async def test_a_rule_and_a_readers_age(place: Place) -> None:
    """`should_store` hears the items; who takes nothing that old hears a new stream."""
    source = Source()
    picky = Policy(should_store=lambda _, items: items != whole(1))
    cache = place.cache(picky)
    assert await take(cache, source) == whole(1)
    assert cache.statistics().unwanted == 1
    await place.settled(cache)  # until then its recording is one to follow
    assert await take(cache, source) == whole(2)
    await stored(cache)
    await place.age(cache, 600)
    assert await take(cache, source) == whole(2)
    assert await take(cache, source, policy=picky.replace(max_age=300)) == whole(3)
