"""Streams of two processes (two caches on one store): one leads, the other follows it live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from core_streams import Consumer, Source
from core_support import FleetCodec, World, outcomes, virtual

from samecall import Policy, RemoteCallError, StreamInterrupted
from samecall._codec import PlainCodec
from samecall._entry import Payload
from samecall._errors import StoreUnreachable
from samecall._key import key_from
from samecall._ports import Lead, Reach, Wait
from samecall._stream import PlainStreamCodec

EVERYTHING: Any = (
    "acquire", "commit", "generations", "get", "listen", "ping", "record", "release", "renew",
)  # fmt: skip


async def flush(w: World) -> None:
    """Let the window of a flush go by, and what follows happen."""
    await w.turns()
    await asyncio.sleep(0.03)
    await w.turns()


async def lead(w: World, *items: Any, policy: Policy | None = None) -> tuple[Any, Consumer, Source]:
    """A leader in a process of its own, which has these items."""
    cache, source = w.cache(policy), Source()
    consumer = Consumer(cache.stream("k", source))
    await w.turns()
    source.put(*items)
    await flush(w)
    assert consumer.got == list(items)
    return cache, consumer, source


@virtual
async def test_a_follower_elsewhere_has_items_while_the_stream_runs(w: World) -> None:
    one, leader, source = await lead(w, "a", "b")
    two = w.cache()
    followers = [Consumer(two.stream("k", source)) for _ in range(10)]
    await flush(w)
    assert [each.got for each in followers] == [["a", "b"]] * 10
    source.put({"c": 1})
    await flush(w)
    assert [each.got for each in followers] == [["a", "b", {"c": 1}]] * 10
    late = Consumer(two.stream("k", source))
    source.put("d", None)
    for each in (leader, *followers, late):
        assert await each.task == ["a", "b", {"c": 1}, "d"]
    assert source.calls == 1
    assert two.statistics().coalesced_remote == 11
    assert one.statistics().led == 1
    await w.turns()
    assert w.store.calls["follow"] == 1
    assert [item async for item in two.stream("k", source)] == ["a", "b", {"c": 1}, "d"]
    assert two.statistics().l1_hits == 1


@virtual
async def test_a_stream_waits_for_a_call_and_a_call_for_a_stream(w: World) -> None:
    """Whoever holds the lease leads, streaming or not."""
    one, two, provider, source = w.cache(), w.cache(), w.provider(), Source()
    call = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    stream = Consumer(two.stream("k", source))
    here = Consumer(one.stream("k", source))
    await flush(w)
    provider.answer([1, 2])
    assert await call == await stream.task == await here.task == [1, 2]
    assert source.calls == 0

    class Listing(PlainCodec):
        def decode(self, payload: Payload) -> Any:
            items = PlainStreamCodec()
            return [items.decode(chunk) for chunk in items.unpack(payload)[0]]

    leading = Consumer(one.stream("j", source))
    await w.turns()
    source.put(3)
    calls = [
        asyncio.ensure_future(c.get_or_call("j", provider, codec=Listing())) for c in (one, two)
    ]
    await flush(w)
    source.put(4, None)
    assert await leading.task == await calls[0] == await calls[1] == [3, 4]
    assert provider.calls == 1


@virtual
async def test_an_error_comes_after_the_same_items(w: World) -> None:
    _, leader, source = await lead(w, 1)
    follower = Consumer(w.cache().stream("k", source))
    await flush(w)
    source.put(2, ValueError("no"))
    got = await outcomes(leader.task, follower.task)
    assert [type(error) for error in got] == [ValueError, RemoteCallError]
    assert got[1].class_name == "ValueError"
    assert leader.got == follower.got == [1, 2]
    assert source.calls == 1
    await w.turns()
    assert await w.memory.get(key_from("k", "default", None)) is None
    assert w.caches[0].statistics().stored == 0
    await asyncio.sleep(2.1)  # of the error's window
    again = Source()
    again.put(1, 2, 3, None)
    assert await Consumer(w.caches[0].stream("k", again)).task == [1, 2, 3]


@virtual
async def test_an_error_before_the_first_item(w: World) -> None:
    _, leader, source = await lead(w)
    follower = Consumer(w.cache().stream("k", source))
    await flush(w)
    source.put(ValueError("no"))
    got = await outcomes(leader.task, follower.task)
    assert [type(error) for error in got] == [ValueError, RemoteCallError]
    assert source.calls == 1


@virtual
async def test_the_leaders_own_limit(w: World) -> None:
    """Who has items is interrupted, with them; who has none leads."""
    _, leader, source = await lead(w, 1)
    two = w.cache()
    follower = Consumer(two.stream("k", source))
    await flush(w)
    source.put(TimeoutError("mine"))
    got = await outcomes(leader.task, follower.task)
    assert [type(error) for error in got] == [TimeoutError, StreamInterrupted]
    assert got[1].items == (1,)
    source.put(5, None)
    assert await Consumer(two.stream("k", source)).task == [5]
    assert source.calls == 2


@virtual
async def test_a_follower_without_items_leads_after_the_leaders_own_limit(w: World) -> None:
    _, leader, source = await lead(w)
    follower = Consumer(w.cache().stream("k", source))
    await flush(w)
    source.put(TimeoutError("mine"), 5, None)
    got = await outcomes(leader.task, follower.task)
    assert type(got[0]) is TimeoutError
    assert got[1] == [5]
    assert source.calls == 2


@pytest.mark.parametrize("items", [[], [1, 2]])
@virtual
async def test_the_leader_dies(w: World, items: list[int]) -> None:
    """Its lease runs out: with nothing in hand a follower leads, else it is told what it has."""
    w.leases_may_remain = True
    _, leader, source = await lead(w, *items)
    two, again = w.cache(), Source()
    follower = Consumer(two.stream("k", again))
    await flush(w)
    assert follower.got == items
    w.store.raise_on("record", "renew", "commit", "release")  # as far as the store can see
    await asyncio.sleep(5.5)
    w.store.heal()
    again.put(7, None)
    if items:
        got = (await outcomes(follower.task))[0]
        assert type(got) is StreamInterrupted
        assert got.items == (1, 2)
        assert again.calls == 0
    else:
        assert await follower.task == [7]
    source.put(None)
    assert await leader.task == items


@virtual
async def test_bound_and_unbound_followers_part(w: World) -> None:
    """One who joins after the death leads; the bound one gets nothing of the new generation."""
    _, leader, source = await lead(w, 1)
    two, again = w.cache(), Source()
    bound = Consumer(two.stream("k", again))
    await flush(w)
    w.store.raise_on("record", "renew", "commit", "release")
    await asyncio.sleep(1)
    w.store.hold("replay", "follow")
    three = w.cache()
    unbound = Consumer(three.stream("k", again))
    await asyncio.sleep(4.5)
    w.store.heal()
    await w.turns()
    again.put(8, 9, None)
    assert type((await outcomes(bound.task))[0]) is StreamInterrupted
    assert await unbound.task == [8, 9]
    source.put(None)
    await leader.task


@virtual
async def test_abandon_waits_for_followers_elsewhere(w: World) -> None:
    policy = Policy(on_abandon="abandon")
    cache, source = w.cache(policy), Source()
    leader = cache.stream("k", source)
    source.put(1)
    assert await anext(leader) == 1
    two = w.cache(policy)
    follower = Consumer(two.stream("k", source))
    await flush(w)
    await leader.aclose()
    source.put(2)
    await flush(w)
    assert follower.got == [1, 2]
    follower.task.cancel()
    await outcomes(follower.task)
    await asyncio.sleep(2)
    assert (source.calls, source.closed) == (1, 1)


@virtual
async def test_the_recording_overflows(w: World) -> None:
    """Past its bound a recording stops, and followers finish from the stored value."""
    _, leader, source = await lead(w, "x" * 1_500_000)
    follower = Consumer(w.cache().stream("k", source))
    await flush(w)
    assert len(follower.got) == 1
    source.put("y" * 1_500_000, "z" * 1_500_000, "!")
    await flush(w)
    assert len(follower.got) == 2
    source.put(None)
    assert await follower.task == await leader.task


@virtual
async def test_an_overflow_that_is_not_stored_interrupts(w: World) -> None:
    policy = Policy(max_entry=1_000)
    _, leader, source = await lead(
        w, *(bytes([n]) * 20 + b"%d" % n for n in range(10)), policy=policy
    )
    follower = Consumer(w.cache().stream("k", source))
    await flush(w)
    source.put(*(bytes(range(256)) * 4 * 1_500 for _ in range(3)))
    await flush(w)
    source.put(None)
    with pytest.warns(UserWarning, match="too long to keep"):
        await leader.task
    assert len(leader.got) == 13
    got = (await outcomes(follower.task))[0]
    assert type(got) is StreamInterrupted
    assert list(got.items) == follower.got == leader.got[: len(follower.got)]


@virtual
async def test_the_store_goes_away(w: World) -> None:
    """The leader's consumer notices nothing; a follower ends in bounded time."""
    _, leader, source = await lead(w, 1)
    follower = Consumer(w.cache().stream("k", source))
    await flush(w)
    w.store.raise_on("record", "replay", "acquire", "commit", "renew", "wait", "release", "get")
    source.put(2)
    await flush(w)
    assert leader.got == [1, 2]
    got = (await outcomes(follower.task))[0]
    assert type(got) is StreamInterrupted
    source.put(3, None)
    assert await leader.task == [1, 2, 3]
    w.store.heal()
    w.leases_may_remain = True
    assert source.calls == 1


@virtual
async def test_a_stream_ends_while_the_store_takes_nothing(w: World) -> None:
    """For less than a lease: a follower waits for the rest, and the stream is stored."""
    cache, leader, source = await lead(w, 1)
    follower = Consumer(w.cache().stream("k", source))
    await flush(w)
    w.store.raise_on("record", "commit", "renew", "release")
    source.put(2, None)
    assert await leader.task == [1, 2]
    await asyncio.sleep(3)
    w.store.heal()
    assert await follower.task == [1, 2]
    await cache.aclose()
    assert cache.statistics().stored == 1
    assert source.calls == 1


@virtual
async def test_a_stream_ends_while_the_store_is_away_for_good(w: World) -> None:
    """Its flight is over as soon as its lease is."""
    cache, leader, source = await lead(w, 1)
    w.store.raise_on("record", "commit", "renew", "release")
    source.put(2, None)
    assert await leader.task == [1, 2]
    await asyncio.sleep(7)
    assert cache._rooms.here().flights.storing() == []
    w.store.heal()
    w.leases_may_remain = True


@virtual
async def test_who_wants_a_new_stream_waits_for_no_store_that_is_away(w: World) -> None:
    """The last one has ended, and is still to be told to a store whose breaker is open."""
    cache, leader, source = await lead(w, 1)
    w.store.raise_on(*EVERYTHING, error=StoreUnreachable("gone"))
    source.put(2, None)
    assert await leader.task == [1, 2]
    await asyncio.sleep(1)
    began = w.clock.now()
    source.put(3, None)
    assert [item async for item in cache.stream("k", source, mode="refresh")] == [3]
    assert w.clock.now() == began
    w.store.heal()
    w.leases_may_remain = True


@virtual
async def test_a_lost_reply_appends_nothing_twice(w: World) -> None:
    _, leader, source = await lead(w, 1)
    follower = Consumer(w.cache().stream("k", source))
    await flush(w)
    w.store.lose_reply("record", times=2)
    source.put(2)
    for _ in range(20):
        await flush(w)
    source.put(3, None)
    assert await follower.task == await leader.task == [1, 2, 3]


@virtual
async def test_an_evicted_recording_ends_in_the_value(w: World) -> None:
    _, leader, source = await lead(w, 1)
    follower = Consumer(w.cache().stream("k", source))
    await flush(w)
    w.memory._reels.clear()
    source.put(2)
    await flush(w)
    late = Consumer(w.cache().stream("k", source))
    await flush(w)
    source.put(3, None)
    assert await late.task == await follower.task == await leader.task == [1, 2, 3]
    assert source.calls == 1


@virtual
async def test_damaged_frames_are_never_read(w: World) -> None:
    _, _, source = await lead(w, "right")
    for reel in w.memory._reels.values():
        reel.frames[0] = reel.frames[0].replace(b"right", b"wrong")
    two = w.cache()
    follower = Consumer(two.stream("k", source))
    await flush(w)
    assert follower.got == []
    source.put(2, None)
    assert await follower.task == ["right", 2]
    assert two.statistics().undecodable > 0


@virtual
async def test_a_store_without_recordings(w: World) -> None:
    """Followers elsewhere have it all at the end."""

    class Plain:
        def __init__(self, store: Any) -> None:
            self._store = store

        def __getattr__(self, name: str) -> Any:
            if name in ("record", "replay", "follow"):
                raise AttributeError(name)
            return getattr(self._store, name)

    one, two, source = w.cache(store=Plain(w.store)), w.cache(store=Plain(w.store)), Source()
    leader = Consumer(one.stream("k", source))
    await w.turns()
    follower = Consumer(two.stream("k", source))
    source.put(1)
    await asyncio.sleep(11)
    assert (leader.got, follower.got) == ([1], [])
    source.put(2, None)
    assert await leader.task == await follower.task == [1, 2]


@virtual
async def test_forgotten_in_the_air(w: World) -> None:
    """What began before a forget is not stored after it; its own consumers still get it."""
    one, leader, source = await lead(w, 1)
    here = Consumer(one.stream("k", source))
    await w.turns()
    await one.forget("k")
    source.put(2, None)
    assert await leader.task == await here.task == [1, 2]
    await w.turns()
    assert await one.peek("k", codec=FleetCodec(Reach.OWN)) is None
    assert w.memory.statistics().entries == 0


@virtual
async def test_a_slow_follower_holds_up_nobody(w: World) -> None:
    _, leader, source = await lead(w, 0)
    two, slow = w.cache(), []

    async def crawl() -> None:
        async for item in two.stream("k", source):
            slow.append(item)
            await asyncio.sleep(1)

    task = asyncio.ensure_future(crawl())
    quick = Consumer(two.stream("k", source))
    await flush(w)
    source.put(*range(1, 100))
    await flush(w)
    assert len(quick.got) == len(leader.got) == 100
    assert len(slow) == 1
    source.put(None)
    assert await quick.task == await leader.task == list(range(100))
    await task
    assert slow == list(range(100))


@virtual
async def test_the_lease_is_renewed_through_a_long_silence(w: World) -> None:
    _, leader, source = await lead(w, 1)
    two = w.cache()
    follower = Consumer(two.stream("k", source))
    await asyncio.sleep(60)
    source.put(2, None)
    assert await follower.task == await leader.task == [1, 2]
    assert source.calls == 1
    assert w.store.calls["renew"] == 0


@virtual
async def test_frames_are_flushed_by_time_and_size(w: World) -> None:
    """One frame for all that comes within 25 ms (50 ms if nobody follows), one for each 8 KB."""
    cache, two = w.cache(), w.cache()

    async def call() -> AsyncIterator[str]:
        async def items() -> AsyncIterator[str]:
            for _ in range(100):
                await asyncio.sleep(0.01)
                yield "x"

        return items()

    assert len([item async for item in cache.stream("k", call)]) == 100
    await w.turns()
    assert 17 <= w.store.calls["record"] <= 22
    before = w.store.calls["record"]
    leader = Consumer(cache.stream("i", call))
    await w.turns()
    follower = Consumer(two.stream("i", call))
    assert await leader.task == await follower.task == ["x"] * 100
    await w.turns()
    assert 30 <= w.store.calls["record"] - before <= 42

    source = Source()
    consumer = Consumer(cache.stream("j", source))
    await w.turns()
    source.put("a")
    await w.turns()
    before = w.store.calls["record"]
    source.put("b")
    await w.turns()
    assert w.store.calls["record"] == before
    source.put("x" * 9_000)
    await w.turns()
    assert w.store.calls["record"] == before + 1
    source.put(None)
    await consumer.task


@virtual
async def test_another_generations_value_ends_in_an_exception(w: World) -> None:
    """A value of another leader is no end of this stream, however alike the two are."""
    _, leader, source = await lead(w, 1)
    two = w.cache()
    follower = Consumer(two.stream("k", source))
    await flush(w)
    await w.memory.forget(key_from("k", "default", None), 0.0)
    w.store.hold("acquire", times=1)  # the follower asks only once another's value is there
    await w.turns()
    third = Source()
    third.put(1, 2, None)
    assert await Consumer(w.cache().stream("k", third)).task == [1, 2]
    await w.turns()
    w.store.heal()
    got = (await outcomes(follower.task))[0]
    assert type(got) is StreamInterrupted
    assert follower.got == [1]
    source.put(None)
    await leader.task


@virtual
async def test_what_was_recorded_unheard_comes_before_the_end(w: World) -> None:
    """Frames whose notifications were lost are read before a follower gives up."""
    w.leases_may_remain = True
    _, leader, source = await lead(w, 1)
    follower = Consumer(w.cache().stream("k", source))
    await flush(w)
    w.memory._reel_bells._bells.clear()  # nobody hears any more
    source.put(2, 3)
    await flush(w)
    assert follower.got == [1]
    w.store.raise_on("record", "renew", "commit")
    key = key_from("k", "default", None)
    held = await w.memory.acquire(key, b"?" * 16, b"", 5.0)
    assert isinstance(held, Wait)
    await w.memory.release(key, held.token)
    got = (await outcomes(follower.task))[0]
    assert type(got) is StreamInterrupted
    assert follower.got == [1, 2, 3]
    w.store.heal()
    source.put(None)
    await leader.task


@virtual
async def test_another_leader_ends_in_an_exception(w: World) -> None:
    """Its stream in the air is no sequel to this one."""
    _, leader, source = await lead(w, 1)
    two = w.cache()
    follower = Consumer(two.stream("k", source))
    await flush(w)
    await w.memory.forget(key_from("k", "default", None), 0.0)
    w.store.hold("acquire", times=1)
    await w.turns()
    third = Source()
    other = Consumer(w.cache().stream("k", third))
    third.put(5, 6)
    await flush(w)
    assert other.got == [5, 6]
    w.store.heal()
    await flush(w)
    third.put(None)
    got = (await outcomes(follower.task))[0]
    assert type(got) is StreamInterrupted
    assert follower.got == [1]
    source.put(None)
    assert await other.task == [5, 6]
    await leader.task


@virtual
async def test_the_store_is_away_for_a_while(w: World) -> None:
    """Within a lease a follower reads on where it was; nothing is paid twice."""
    _, leader, source = await lead(w, 1)
    two = w.cache()
    follower = Consumer(two.stream("k", source))
    await flush(w)
    w.store.raise_on("record", "replay", "acquire", "renew", "wait", "release", "get", "ping")
    source.put(2)
    await asyncio.sleep(3)
    assert (leader.got, follower.got) == ([1, 2], [1])
    w.store.heal()
    source.put(3)
    await asyncio.sleep(3)
    assert follower.got == [1, 2, 3]
    source.put(4, None)
    assert await leader.task == await follower.task == [1, 2, 3, 4]
    assert source.calls == 1
    assert two.statistics().coalesced_remote == 1


@virtual
async def test_a_follower_that_may_not_subscribe(w: World) -> None:
    """It looks for itself, ever more seldom: all items come, in order, if a little later."""
    w.store.raise_on("follow")
    _, leader, source = await lead(w, 1)
    follower = Consumer(w.cache().stream("k", source))
    await flush(w)
    assert follower.got == [1]
    source.put(2, 3)
    await asyncio.sleep(3)
    assert follower.got == [1, 2, 3]
    source.put(4, None)
    assert await leader.task == await follower.task == [1, 2, 3, 4]
    assert source.calls == 1
    assert w.store.calls["replay"] < 20


@pytest.mark.parametrize("how", ["break", "cancel", "collect"])
@virtual
async def test_a_follower_that_leaves_hears_no_more(w: World, how: str) -> None:
    """Its process follows no longer, and the stream goes on for the others."""
    _, leader, source = await lead(w, 1)
    two = w.cache()
    if how == "cancel":
        consumer = Consumer(two.stream("k", source))
        await flush(w)
        assert consumer.got == [1]
        consumer.task.cancel()
        await outcomes(consumer.task)
    else:
        items = two.stream("k", source)
        assert await anext(items) == 1
        if how == "break":
            await items.aclose()
        del items
    await flush(w)
    assert w.memory.recording_listeners == 0
    assert two._rooms.here().studio.statistics == (0, 0)
    source.put(2, None)
    assert await leader.task == [1, 2]
    assert await Consumer(two.stream("k", source)).task == [1, 2]
    assert source.calls == 1


@virtual
async def test_what_is_published_of_a_recording_reaches_nobody(w: World) -> None:
    """The first follower finds out by its look after 2 s; those after it look sooner."""
    for bells in (w.memory._reel_bells, w.memory._bells):
        bells.ring = lambda *_: 1  # type: ignore[method-assign]
    two, waits, streams = w.cache(), [], []
    for key in ("first", "second"):
        source = Source()
        leader = Consumer(w.cache().stream(key, source))
        source.put(1)
        await flush(w)
        follower = Consumer(two.stream(key, source))
        await flush(w)
        assert follower.got == [1]
        source.put(2)
        began = w.clock.now()
        while len(follower.got) < 2:
            await asyncio.sleep(0.01)
        waits.append(w.clock.now() - began)
        streams.append((source, leader, follower))
    for source, leader, follower in streams:
        source.put(None)
        assert await leader.task == await follower.task == [1, 2]
    assert 1.0 < waits[0] <= 2.1
    assert waits[1] <= 0.3


@virtual
async def test_what_is_refused_while_it_is_being_stored_is_not_kept(w: World) -> None:
    """By one of its consumers, while others still take it; in this process and in the store."""
    taken: list[tuple[Any, bytes]] = []

    class Noting(PlainStreamCodec):
        def taken(self, key: Any, stamp: bytes) -> None:
            taken.append((key, stamp))

    cache, source = w.cache(), Source()
    leader = Consumer(cache.stream("k", source, codec=Noting()))
    slow = cache.stream("k", source)
    source.put(1, 2)
    assert await anext(slow) == 1
    w.store.hold("commit", times=1)
    source.put(None)
    await w.store.until_held("commit")
    assert await leader.task == [1, 2]
    refusing = asyncio.ensure_future(cache.refuse(*taken[0]))
    await w.turns()
    w.store.heal()
    await refusing
    assert await w.memory.get(key_from("k", "default", None)) is None
    assert [item async for item in slow] == [2]
    source.put(3, None)
    assert await Consumer(cache.stream("k", source)).task == [3]
    assert source.calls == 2


@pytest.mark.parametrize("where", ["elsewhere", "in the leader's process"])
@pytest.mark.parametrize("way", ["tag", "clear", "key"])
@virtual
async def test_who_asks_after_a_forget_takes_no_stream_from_before(
    w: World, way: str, where: str
) -> None:
    """Not what is recorded already, nor what still comes; who asked before has no other one."""
    one, source, new = w.cache(), Source(), Source()
    leader = Consumer(one.stream("k", source, tags=("t",)))
    await w.turns()
    source.put("old")
    await flush(w)
    two = w.cache()
    before = Consumer(two.stream("k", source, tags=("t",)))
    await flush(w)
    three = one if where == "in the leader's process" else w.cache()
    forget = {"tag": lambda: three.forget_tag("t"), "clear": three.clear}
    await forget.get(way, lambda: three.forget("k"))()
    after = Consumer(three.stream("k", new, tags=("t",)))
    await flush(w)
    assert after.got == []
    source.put("old too", None)
    new.put("new", None)
    assert await after.task == ["new"]
    assert await leader.task == ["old", "old too"]
    await outcomes(before.task)
    assert before.got == (["old"] if way == "key" else ["old", "old too"])


@virtual
async def test_a_stream_begun_after_a_forget_is_recorded(w: World) -> None:
    """The tombstone stands, and the leader knows of it."""
    await w.cache().forget("k")
    _, leader, source = await lead(w, "a")
    follower = Consumer(w.cache().stream("k", source))
    await flush(w)
    assert follower.got == ["a"]
    source.put(None)
    assert await leader.task == await follower.task == ["a"]


@virtual
async def test_a_stream_of_no_items_from_before_a_forget(w: World) -> None:
    """Its end says as little to who asks after as items would."""
    one, source, new = w.cache(), Source(), Source()
    leader = Consumer(one.stream("k", source))
    await w.turns()
    two = w.cache()
    await two.clear()
    after = Consumer(two.stream("k", new))
    await flush(w)
    w.store.hold("commit", times=1)
    source.put(None)
    await flush(w)
    assert not after.task.done()
    w.store.heal()
    new.put("new", None)
    assert await after.task == ["new"]
    assert await leader.task == []


@pytest.mark.parametrize("lapsed", [False, True], ids=["lease held", "lease lapsed"])
@pytest.mark.parametrize("recorded", [True, False], ids=["frames before", "frames after"])
@virtual
async def test_a_doubled_acquire_shows_nobody_a_stream_from_before_a_forget(
    w: World, recorded: bool, lapsed: bool
) -> None:
    """The lease that it takes is younger than the call: what is recorded under it is nobody's."""
    key = key_from("k", "default", None)
    _, leader, source = await lead(w, *(["old"] if recorded else []))
    holder = await w.memory.acquire(key, b"?" * 16, b"", 5.0)
    assert isinstance(holder, Wait)
    two, new = w.cache(), Source()
    if lapsed:  # then the forget does not know whose recording to delete
        w.memory._leases.free_all()
    await two.forget("k")
    assert isinstance(await w.memory.acquire(key, holder.token, b"", 5.0), Lead)
    after = Consumer(two.stream("k", new))
    await flush(w)
    assert after.got == []
    source.put("old too")
    await flush(w)
    new.put("new", None)
    assert await after.task == ["new"]
    source.put(None)
    assert (await leader.task)[-1] == "old too"


@virtual
async def test_a_doubled_acquire_shows_nobody_the_stream_of_his_own_process(w: World) -> None:
    """Which he has forgotten, and which goes on for those who took it before."""
    key = key_from("k", "default", None)
    one, leader, source = await lead(w, "old")
    here = Consumer(one.stream("k", source))
    await w.turns()
    holder = await w.memory.acquire(key, b"?" * 16, b"", 5.0)
    assert isinstance(holder, Wait)
    new = Source()
    w.store.hold("record")  # or its leader would give the lease back at once
    await one.forget("k")
    assert isinstance(await w.memory.acquire(key, holder.token, b"", 0.1), Lead)
    after = Consumer(one.stream("k", new))
    await flush(w)
    assert after.got == []
    new.put("new", None)
    assert await after.task == ["new"]
    w.store.heal()
    source.put("old too", None)
    assert await leader.task == await here.task == ["old", "old too"]


@virtual
async def test_a_doubled_acquire_shows_nobody_a_stream_that_is_over(w: World) -> None:
    """Its recording stays for a while, and is no recording of the lease that is taken then."""
    key = key_from("k", "default", None)
    _, leader, source = await lead(w, "old")
    holder = await w.memory.acquire(key, b"?" * 16, b"", 5.0)
    assert isinstance(holder, Wait)
    source.put(None)
    assert await leader.task == ["old"]
    await w.turns()
    two, new = w.cache(), Source()
    await two.forget("k")
    assert isinstance(await w.memory.acquire(key, holder.token, b"", 5.0), Lead)
    after = Consumer(two.stream("k", new))
    await flush(w)
    assert after.got == []
    new.put("new", None)
    assert await after.task == ["new"]


@virtual
async def test_a_doubled_acquire_shows_nobody_what_others_here_still_follow(w: World) -> None:
    """Who has items of a forgotten stream keeps his place; who asks after has one of his own."""
    key = key_from("k", "default", None)
    _, leader, source = await lead(w, "old")
    two, new = w.cache(), Source()
    before = Consumer(two.stream("k", source))
    await flush(w)
    assert before.got == ["old"]
    holder = await w.memory.acquire(key, b"?" * 16, b"", 5.0)
    assert isinstance(holder, Wait)
    w.store.hold("record", "acquire")
    await two.forget("k")
    assert isinstance(await w.memory.acquire(key, holder.token, b"", 0.5), Lead)
    after = Consumer(two.stream("k", new))
    await w.turns()
    w.store.heal("acquire")
    await flush(w)
    assert after.got == []
    new.put("new", None)
    assert await after.task == ["new"]
    w.store.heal()
    source.put(None)
    assert await leader.task == ["old"]
    assert type((await outcomes(before.task))[0]) is StreamInterrupted
