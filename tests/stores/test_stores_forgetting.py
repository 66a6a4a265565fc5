"""What is forgotten is forgotten everywhere: the same on every store, and in every L1."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from place_support import Place, says, stored, until, until_says

from samecall import L1, Cache, Policy
from samecall._key import key_from
from samecall.testing import GatedProvider

WAYS = ["key", "tag", "namespace"]


async def forget(cache: Cache, way: str) -> None:
    match way:
        case "key":
            await cache.forget("k")
        case "tag":
            await cache.forget_tag("invoice")
        case _:
            await cache.clear()


@pytest.mark.parametrize("way", WAYS)
async def test_by_one_process_for_the_other(place: Place, way: str) -> None:
    """And what bears another tag stays, unless the whole namespace goes."""
    one, other = place.cache(), place.cache()
    for name, tags in (("k", ("invoice", "a b:{c}*")), ("stays", ("receipt",))):
        await one.get_or_call(name, says("old"), tags=tags)
    await stored(one, 2)
    assert [await other.peek(name) for name in ("k", "stays")] == ["old", "old"]
    await forget(one, way)
    for cache in (one, other):
        assert await cache.peek("k") is None
        assert await cache.peek("stays") == (None if way == "namespace" else "old")
    assert await other.get_or_call("k", says("new"), tags=("invoice",)) == "new"
    await stored(other)
    assert await one.get_or_call("k", says("not called")) == "new"


@pytest.mark.parametrize("way", WAYS)
async def test_in_the_other_processes_memory(place: Place, way: str) -> None:
    """What it has copies of in L1, it asks for anew within a second."""
    one, other = place.cache(l1=L1()), place.cache(l1=L1())
    provider = GatedProvider[Any]()
    provider.answer("old")
    await one.get_or_call("k", provider, tags=("invoice",))
    await stored(one)
    async with asyncio.timeout(60):
        while not other.statistics().l1_hits:
            assert await other.get_or_call("k", provider, tags=("invoice",)) == "old"
    await forget(one, way)
    provider.answer("new")
    assert await one.get_or_call("k", provider, tags=("invoice",)) == "new"
    await until_says(other, "new", provider, tags=("invoice",))
    assert provider.calls <= 3


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_begun_before_comes_back_after(place: Place, way: str) -> None:
    """The leader in the other process ends after it; its own caller alone has that answer."""
    one, other, provider = place.cache(), place.cache(), GatedProvider[Any]()
    old = asyncio.ensure_future(one.get_or_call("k", provider, tags=("invoice",)))
    await provider.until_waiting(1)
    await forget(other, way)
    new = asyncio.ensure_future(other.get_or_call("k", provider, tags=("invoice",)))
    if way == "key":  # its lease is gone as well
        await provider.until_waiting(2)
    provider.answer_one("old")
    assert await old == "old"
    await provider.until_waiting(1)
    provider.answer("new")
    assert await new == "new"
    await stored(other)
    # a process that nobody has told of it gives its own flight's answer until that has ended
    await one._rooms.here().flights.settled(key_from("k", place.namespace))
    assert await one.get_or_call("k", provider) == "new"
    assert provider.calls == 2


@pytest.mark.parametrize("way", WAYS)
async def test_a_refresh_begun_before_brings_nothing_back(place: Place, way: str) -> None:
    """In the background, of what the other process has forgotten meanwhile."""
    policy = Policy(ttl=1_000, stale_while_revalidate=2_000)
    one, other, provider = place.cache(policy), place.cache(policy), GatedProvider[Any]()
    await one.get_or_call("k", says("old"), tags=("invoice",))
    await stored(one)
    await place.age(one, 1_500)
    assert await one.get_or_call("k", provider, tags=("invoice",)) == "old"
    await provider.until_waiting(1)
    await forget(other, way)
    provider.answer_one("refreshed")
    await until(lambda: one.statistics().flights == 0)
    await place.settled(one)
    for cache in (one, other):
        assert await cache.peek("k") is None
        assert await cache.get_or_call("k", says(id(cache)), mode="bypass") == id(cache)
    assert await other.get_or_call("k", says("new"), tags=("invoice",)) == "new"
    await stored(other)
    assert await one.get_or_call("k", says("not called")) == "new"


async def test_a_stale_answer_is_forgotten_too(place: Place) -> None:
    """Nothing is given instead of an error, or while it would be renewed."""
    policy = Policy(ttl=1_000, stale_while_revalidate=2_000, stale_if_error=2_000, error_ttl=0)
    one, other = place.cache(policy), place.cache(policy)
    for way in WAYS:
        await one.get_or_call("k", says("old"), tags=("invoice",))
        await stored(one, WAYS.index(way) + 1)
        await place.age(one, 1_500)
        await forget(other, way)
        with pytest.raises(ValueError, match="down"):
            await other.get_or_call("k", says(ValueError("down")))


async def test_what_another_version_has_written_is_a_miss(place: Place) -> None:
    """Of another layout, cut off, or nothing that anybody knows: replaced, and never an error."""
    one, other = place.cache(), place.cache()
    key = key_from("k", place.namespace)
    await one.get_or_call("k", says("old"))
    await stored(one)
    (data,) = (await place.values(one)).values()
    for number, odd in enumerate((data[:2] + b"\x09" + data[3:], data[:-1], data[:10], b"", b"x")):
        await place.store(one).set(key, odd, 600.0)
        assert await other.peek("k") is None
        assert await other.get_or_call("k", says(number)) == number
        await stored(other, number + 1)
        assert await one.get_or_call("k", says("not called")) == number
    assert other.statistics().errors == 0


async def test_space_is_given_back(place: Place) -> None:
    """`clear` lets entries be nobody's answer; `reclaim=True` takes them away, here alone."""
    cache, elsewhere = place.cache(), place.cache(namespace=f"{place.namespace}-2")
    for name in "abc":
        await cache.get_or_call(name, says(name))
    await elsewhere.get_or_call("a", says("there"))
    await stored(cache, 3)
    await stored(elsewhere)
    await cache.clear()
    assert len(await place.values(cache)) == 3
    await cache.clear(reclaim=True)
    assert await place.values(cache) == {}
    assert await elsewhere.peek("a") == "there"
