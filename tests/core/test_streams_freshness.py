"""Freshness, rules and variants of streams: as of calls that do not stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from core_streams import Consumer, Source
from core_support import World, outcomes, virtual

from samecall import CacheMiss, Policy

SIE = Policy(ttl=10, stale_if_error=100, error_ttl=0)
L1 = [pytest.param({}, id="l1"), pytest.param({"l1": None}, id="l2")]


async def take(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


@pytest.mark.parametrize("more", L1)
@virtual
async def test_instead_of_an_error_the_stale_stream(w: World, more: dict[str, Any]) -> None:
    """For the leader and for all who wait for it."""
    cache, source = w.cache(SIE, **more), Source()
    source.put("a", "b", None)
    assert await take(cache.stream("k", source)) == ["a", "b"]
    await w.turns()
    await asyncio.sleep(11)
    consumers = [Consumer(cache.stream("k", source)) for _ in range(3)]
    await w.turns()
    source.put(ZeroDivisionError("down"))
    assert await outcomes(*(each.task for each in consumers)) == [["a", "b"]] * 3
    assert source.calls == 2
    assert cache.statistics().stale == 3


@pytest.mark.parametrize("first", ["strict", "lax"])
@virtual
async def test_readers_of_one_flight_go_each_by_its_own_policy(w: World, first: str) -> None:
    """The stale stream is for who takes one, and not for who says "refresh"."""
    cache, source = w.cache(SIE), Source()
    source.put("a", "b", None)
    await take(cache.stream("k", source))
    await w.turns()
    await asyncio.sleep(11)
    strict = SIE.replace(stale_if_error=0)
    policies = [strict, SIE] if first == "strict" else [SIE, strict]
    consumers = [Consumer(cache.stream("k", source, policy=policy)) for policy in policies]
    await w.turns()
    consumers.append(Consumer(cache.stream("k", source, mode="refresh")))
    await w.turns()
    source.put(ZeroDivisionError("down"))
    told = await outcomes(*(each.task for each in consumers))
    told = [each if isinstance(each, list) else type(each) for each in told]
    own = {strict: ZeroDivisionError, SIE: ["a", "b"]}
    assert told == [*(own[policy] for policy in policies), ZeroDivisionError]
    assert source.calls == 2


@virtual
async def test_who_may_not_have_the_stale_stream_calls_at_the_end_of_its_wait(w: World) -> None:
    cache, source, own = w.cache(SIE), Source(), Source()
    source.put("a", None)
    own.put("own", None)
    await take(cache.stream("k", source))
    await w.turns()
    await asyncio.sleep(11)
    leads = Consumer(cache.stream("k", source))
    await w.turns()
    patient = SIE.replace(wait=1, on_timeout="call")
    assert await take(cache.stream("k", own, policy=patient)) == ["a"]
    strict = patient.replace(stale_if_error=0)
    assert await take(cache.stream("k", own, policy=strict)) == ["own"]
    source.put("b", None)
    await leads.task
    assert leads.got == ["b"]


@virtual
async def test_what_was_forgotten_meanwhile_is_played_to_nobody(w: World) -> None:
    """The call was begun before, and joined after, in a process that hears of it on the way."""
    one, two, source = w.cache(SIE), w.cache(SIE), Source()
    source.put("a", None)
    await take(two.stream("k", source))
    await w.turns()
    await asyncio.sleep(11)
    consumers = [Consumer(two.stream("k", source))]
    await w.turns()
    await one.forget("k")
    consumers.append(Consumer(two.stream("k", source)))
    await asyncio.sleep(4)
    source.put(ZeroDivisionError("down"))
    told = await outcomes(*(each.task for each in consumers))
    assert [type(each) for each in told] == [ZeroDivisionError, ZeroDivisionError]
    assert source.calls == 2


@virtual
async def test_no_stale_stream_after_a_first_item(w: World) -> None:
    """What broke off is not gone on with by another generation."""
    cache, source = w.cache(SIE), Source()
    source.put("a", "b", None)
    await take(cache.stream("k", source))
    await asyncio.sleep(11)
    consumer = Consumer(cache.stream("k", source))
    source.put("new", ZeroDivisionError("down"))
    assert [type(error) for error in await outcomes(consumer.task)] == [ZeroDivisionError]
    assert consumer.got == ["new"]


@virtual
async def test_should_store_hears_what_was_asked(w: World) -> None:
    heard: list[Any] = []

    def rule(request: Any, answer: Any) -> bool:
        heard.append((request, answer))
        return False

    cache, source = w.cache(Policy(should_store=rule)), Source()
    source.put("a", None, "b", None)
    await take(cache.stream("k", source, asked={"question": 1}))
    await take(cache.stream("k", source))
    assert heard == [({"question": 1}, ["a"]), ("k", ["b"])]


@virtual
async def test_only_gives_whichever_variant_is_kept(w: World) -> None:
    """And a miss where none is."""
    policy = Policy(variants=20)
    cache, source = w.cache(policy), Source()
    with pytest.raises(CacheMiss):
        await take(cache.stream("k", source, mode="only"))
    source.put("a", "b", None)
    await take(cache.stream("k", source))
    await w.turns()
    for _ in range(5):
        assert await take(cache.stream("k", source, mode="only")) == ["a", "b"]
    assert source.calls == 1


@pytest.mark.parametrize("whole", [True, False])
@virtual
async def test_a_refresh_forgets_the_other_variants(w: World, whole: bool) -> None:
    """Also where its consumer has enough after one item."""
    cache, source = w.cache(Policy(variants=3)), Source()

    async def all_variants() -> int:
        for _ in range(60):
            source.put("a", "b", None)
            await take(cache.stream("k", source))
            await w.turns()
            source.queue = asyncio.Queue()
        return source.calls

    assert await all_variants() == 3
    source.put("a", "b", None)
    items = cache.stream("k", source, mode="refresh")
    assert await anext(items) == "a"
    if whole:
        assert await take(items) == ["b"]
    else:
        await items.aclose()
    await w.turns()
    assert source.calls == 4
    source.queue = asyncio.Queue()
    assert await all_variants() == 6
