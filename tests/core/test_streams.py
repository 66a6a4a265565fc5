"""Streams of one process: one call, its items for all who ask, then a hit."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from core_streams import Consumer, Source
from core_support import World, outcomes, virtual

from samecall import (
    CacheMiss,
    ConfigurationError,
    Payload,
    Policy,
    StreamInterrupted,
    Undecodable,
    WaitTimeout,
)
from samecall._entry import Entry, Kind, encode_entry
from samecall._key import key_from
from samecall._stream import PlainStreamCodec


@virtual
async def test_all_follow_one_call_live(w: World) -> None:
    """Everybody has an item while the stream still runs; who comes late has all of it."""
    cache, source = w.cache(), Source()
    consumers = [Consumer(cache.stream("k", source)) for _ in range(20)]
    source.put("a", {"b": 1})
    await w.turns()
    assert [each.got for each in consumers] == [["a", {"b": 1}]] * 20
    late = Consumer(cache.stream("k", source))
    await w.turns()
    assert late.got == ["a", {"b": 1}]
    source.put("c", None)
    for each in (*consumers, late):
        assert await each.task == ["a", {"b": 1}, "c"]
    assert len({id(each.got[1]) for each in consumers}) == 20
    assert source.calls == 1
    now = cache.statistics()
    assert (now.calls, now.streams, now.led, now.coalesced_local) == (21, 21, 1, 20)


@virtual
async def test_the_leader_has_the_providers_own_items(w: World) -> None:
    cache, source = w.cache(), Source()
    item = {"a": 1}
    consumer = Consumer(cache.stream("k", source))
    source.put(item, None)
    assert (await consumer.task)[0] is item


@virtual
async def test_a_later_stream_is_a_hit(w: World) -> None:
    """From L1 here, from the store elsewhere; the same items."""
    one, two, source = w.cache(), w.cache(), Source()
    source.put("a", "b", None)
    assert [item async for item in one.stream("k", source)] == ["a", "b"]
    assert [item async for item in one.stream("k", source)] == ["a", "b"]
    await w.turns()
    assert [item async for item in two.stream("k", source)] == ["a", "b"]
    assert source.calls == 1
    assert (one.statistics().l1_hits, two.statistics().l2_hits) == (1, 1)


@virtual
async def test_a_call_and_a_stream_share_an_entry(w: World) -> None:
    """A list that a call gave comes back item by item, and a stream as a list."""
    cache, source = w.cache(), Source()

    async def call() -> list[int]:
        return [1, 2, 3]

    await cache.get_or_call("k", call)
    assert [item async for item in cache.stream("k", source)] == [1, 2, 3]
    assert source.calls == 0
    source.put(4, {"five": 6}, None)
    assert [item async for item in cache.stream("j", source)] == [4, {"five": 6}]
    assert await cache.get_or_call("j", call) == [4, {"five": 6}]


@virtual
async def test_an_error_comes_after_the_same_items(w: World) -> None:
    cache, source = w.cache(), Source()
    consumers = [Consumer(cache.stream("k", source)) for _ in range(3)]
    source.put(1, 2, ZeroDivisionError("no"))
    got = await outcomes(*(each.task for each in consumers))
    assert [type(error) for error in got] == [ZeroDivisionError] * 3
    assert len({id(error) for error in got}) == 3
    assert [each.got for each in consumers] == [[1, 2]] * 3
    assert source.calls == source.closed == 1


@virtual
async def test_an_own_timeout_interrupts_followers_with_items(w: World) -> None:
    """The leader's own limits are its own: who has nothing leads again, who has some is told."""
    cache, source = w.cache(), Source()
    leader = Consumer(cache.stream("k", source))
    source.put(1)
    await w.turns()
    follower = Consumer(cache.stream("k", source))
    await w.turns()
    source.put(TimeoutError("mine"))
    got = await outcomes(leader.task, follower.task)
    assert [type(error) for error in got] == [TimeoutError, StreamInterrupted]
    assert follower.got == [1]


@virtual
async def test_finish_goes_on_when_all_have_left(w: World) -> None:
    cache, source = w.cache(), Source()
    stream = cache.stream("k", source)
    source.put(1)
    assert await anext(stream) == 1
    await stream.aclose()
    source.put(2, None)
    await w.turns()
    assert [item async for item in cache.stream("k", source)] == [1, 2]
    assert source.calls == source.closed == 1


@pytest.mark.parametrize("how", ["aclose", "cancel", "collect"])
@virtual
async def test_abandon_closes_the_providers_stream(w: World, how: str) -> None:
    cache, source = w.cache(Policy(on_abandon="abandon")), Source()
    source.put(1)
    if how == "cancel":
        consumer = Consumer(cache.stream("k", source))
        await w.turns()
        consumer.task.cancel()
        await outcomes(consumer.task)
    else:
        stream = cache.stream("k", source)
        assert await anext(stream) == 1
        if how == "aclose":
            await stream.aclose()
        del stream
    await w.turns()
    assert source.closed == 1
    assert cache.statistics().flights == 0


@virtual
async def test_abandon_waits_for_the_last_one(w: World) -> None:
    """A consumer that stops early does not end the stream for the others."""
    cache, source = w.cache(Policy(on_abandon="abandon")), Source()
    leader = cache.stream("k", source)
    source.put(1)
    assert await anext(leader) == 1
    follower = Consumer(cache.stream("k", source))
    await w.turns()
    await leader.aclose()
    source.put(2, None)
    assert await follower.task == [1, 2]


@virtual
async def test_an_unstorable_item_is_the_leaders_alone(w: World) -> None:
    cache, source = w.cache(), Source()
    leader = Consumer(cache.stream("k", source))
    source.put(1)
    await w.turns()
    follower = Consumer(cache.stream("k", source))
    await w.turns()
    thing = object()
    source.put(thing, 2, None)
    with pytest.warns(UserWarning, match="no stored form"):
        assert await leader.task == [1, thing, 2]
    assert type((await outcomes(follower.task))[0]) is StreamInterrupted
    assert cache.statistics().uncached == 1


@virtual
async def test_a_deadline_ends_a_stream(w: World) -> None:
    cache, source = w.cache(Policy(deadline=5)), Source()
    leader, follower = (Consumer(cache.stream("k", source)) for _ in range(2))
    source.put(1)
    got = await outcomes(leader.task, follower.task)
    assert [type(error).__name__ for error in got] == ["DeadlineExceeded"] * 2
    assert source.closed == 1
    await w.turns()
    assert await w.memory.get(key_from("k", "default", None)) is None
    assert cache.statistics().stored == 0


@virtual
async def test_wait_bounds_a_follower(w: World) -> None:
    cache, source = w.cache(), Source()
    leader = Consumer(cache.stream("k", source))
    await w.turns()
    follower = Consumer(cache.stream("k", source, policy=Policy(wait=1)))
    got = await outcomes(follower.task)
    assert type(got[0]) is WaitTimeout
    source.put(1, None)
    assert await leader.task == [1]


@pytest.mark.parametrize("where", ["here", "there"])
@virtual
async def test_at_the_end_of_its_wait_a_follower_may_call_for_itself(w: World, where: str) -> None:
    """Before its first item; once it has one, another call would say something else."""
    cache, source, own = w.cache(), Source(), Source()
    other = cache if where == "here" else w.cache()
    leader = Consumer(cache.stream("k", source))
    await w.turns()
    own.put("own", None)
    policy = Policy(wait=1, on_timeout="call")
    assert [item async for item in other.stream("k", own, policy=policy)] == ["own"]
    source.put(1)
    follower = other.stream("k", own, policy=policy)
    assert await anext(follower) == 1
    with pytest.raises(WaitTimeout):
        await anext(follower)
    assert own.calls == own.closed == 1
    source.put(None)
    assert await leader.task == [1]


@virtual
async def test_modes(w: World) -> None:
    cache, source = w.cache(), Source()
    with pytest.raises(CacheMiss):
        await anext(cache.stream("k", source, mode="only"))
    source.put(1, None, 2, None, 3, None)
    assert [item async for item in cache.stream("k", source)] == [1]
    assert [item async for item in cache.stream("k", source, mode="bypass")] == [2]
    assert [item async for item in cache.stream("k", source, mode="only")] == [1]
    assert [item async for item in cache.stream("k", source, mode="refresh")] == [3]
    assert [item async for item in cache.stream("k", source)] == [3]
    assert source.calls == source.closed == 3


@virtual
async def test_replay_keeps_the_rhythm(w: World) -> None:
    cache = w.cache()

    async def call() -> AsyncIterator[int]:
        async def items() -> AsyncIterator[int]:
            for item in range(4):
                await asyncio.sleep(1)
                yield item

        return items()

    took: list[float] = []
    for policy in (None, Policy(), Policy(replay="paced"), Policy(replay=4)):
        began = w.clock.now()
        assert [item async for item in cache.stream("k", call, policy=policy)] == [0, 1, 2, 3]
        took.append(round(w.clock.now() - began, 3))
    assert took == [4, 0, 4, 1]


@pytest.mark.parametrize("replay", ["slow", 0, -1, True, float("nan"), None])
def test_replay_takes(replay: Any) -> None:
    with pytest.raises(ConfigurationError, match="replay takes"):
        Policy(replay=replay)


@virtual
async def test_a_closed_cache_ends_streams(w: World) -> None:
    cache, source = w.cache(), Source()
    consumer = Consumer(cache.stream("k", source))
    source.put(1)
    await w.turns()
    await cache.aclose()
    assert type((await outcomes(consumer.task))[0]) is StreamInterrupted
    assert source.closed == 1


@virtual
async def test_a_stored_stream_is_compact(w: World) -> None:
    """At most 1.3 times its text, pauses included."""
    cache, source = w.cache(), Source()
    words = open(__file__, encoding="utf-8").read().split(" ")  # noqa: ASYNC230, PTH123, SIM115
    source.put(*words, None)
    assert [word async for word in cache.stream("k", source)] == words
    await w.turns()
    assert w.memory.statistics().bytes < 1.3 * len(" ".join(words))


@virtual
async def test_garbage_at_the_key_is_a_miss(w: World) -> None:
    cache, source = w.cache(l1=None), Source()
    codec = PlainStreamCodec()
    for payload in (
        Payload("items", b"no zlib"),
        Payload("items", codec.pack([b"\x01"], [0.0]).data[:-3]),
        Payload("plain", b"\x01"),
        Payload("other", b""),
    ):
        with pytest.raises(Undecodable):
            codec.unpack(payload)
        key = key_from("k", "default", None)
        entry = Entry(Kind.VALUE, payload, os.urandom(16), 60.0, 60.0)
        await w.memory.set(key, encode_entry(key, await w.of_now(entry)), 60.0)
        source.put(1, None)
        assert [item async for item in cache.stream("k", source)] == [1]
        await w.turns()
    assert source.calls == 4
