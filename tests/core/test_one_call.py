"""Identical calls in one process are one call, whoever leaves."""

from __future__ import annotations

import asyncio
import gc
import random
from typing import Any

import pytest
from core_support import World, outcomes, spawn, virtual

from samecall import Entry, Payload, Policy, ReentrantCall, WaitTimeout
from samecall._entry import Kind, new_stamp
from samecall._key import key_from


@virtual
async def test_ten_thousand_callers_make_one_call(w: World) -> None:
    """All get an equal answer, each an object of its own."""
    cache, provider = w.cache(), w.provider()
    tasks = spawn(10_000, lambda: cache.get_or_call("k", provider))
    await provider.until_waiting(1)
    assert cache.statistics().callers_waiting == 10_000
    provider.answer({"x": [1]})
    answers = await asyncio.gather(*tasks)
    assert provider.calls == 1
    assert all(answer == {"x": [1]} for answer in answers)
    assert len({id(answer) for answer in answers}) == 10_000
    assert cache.statistics().coalesced_local == 9_999


@virtual
async def test_a_cancelled_leader_harms_no_follower(w: World) -> None:
    """The flight is nobody's own."""
    cache, provider = w.cache(), w.provider()
    leader, *followers = spawn(5, lambda: cache.get_or_call("k", provider))
    await provider.until_waiting(1)
    leader.cancel()
    await w.turns()
    assert leader.cancelled()
    provider.answer("yes")
    assert await asyncio.gather(*followers) == ["yes"] * 4
    assert provider.calls == 1
    assert provider.cancelled == 0


@virtual
async def test_a_cancelled_follower_harms_nobody(w: World) -> None:
    """It leaves, and is counted out."""
    cache, provider = w.cache(), w.provider()
    leader, follower = spawn(2, lambda: cache.get_or_call("k", provider))
    await provider.until_waiting(1)
    follower.cancel()
    await w.turns()
    assert cache.statistics().callers_waiting == 1
    provider.answer("yes")
    assert await leader == "yes"


@pytest.mark.parametrize("on_abandon", ["finish", "abandon"])
@virtual
async def test_the_last_one_out(w: World, on_abandon: Any) -> None:
    """Policy "finish" keeps the answer, "abandon" ends the call and frees the lease."""
    cache, provider = w.cache(Policy(on_abandon=on_abandon)), w.provider()
    tasks = spawn(3, lambda: cache.get_or_call("k", provider))
    await provider.until_waiting(1)
    for task in tasks:
        task.cancel()
    await w.turns()
    if on_abandon == "finish":
        assert (provider.cancelled, w.memory.statistics().leases) == (0, 1)
        provider.answer("yes")
        await w.turns()
        assert await cache.peek("k") == "yes"
    else:
        assert (provider.cancelled, w.memory.statistics().leases) == (1, 0)
        provider.answer("again")
        assert await cache.get_or_call("k", provider) == "again"


@virtual
async def test_only_the_last_one_out_abandons(w: World) -> None:
    """While one waits, the call goes on."""
    cache, provider = w.cache(Policy(on_abandon="abandon")), w.provider()
    tasks = spawn(3, lambda: cache.get_or_call("k", provider))
    await provider.until_waiting(1)
    tasks[0].cancel()
    tasks[1].cancel()
    await w.turns()
    assert (provider.waiting, provider.cancelled) == (1, 0)
    provider.answer("yes")
    assert await tasks[2] == "yes"


@virtual
async def test_abandoned_in_its_first_step(w: World) -> None:
    """The call has set out, and nothing watches over it yet: it ends all the same."""
    cache, ended, provider = w.cache(), asyncio.Event(), w.provider()
    provider.answer("yes")

    async def call() -> str:
        for flight in cache._rooms.here().flights._all():
            flight.give_up()  # as the last caller does that goes
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ended.set()
            raise
        return "late"

    asked = asyncio.ensure_future(cache.get_or_call("k", call))
    await ended.wait()
    asked.cancel()
    assert await cache.get_or_call("k", provider) == "yes"


@virtual
async def test_abandoned_in_its_first_step_it_fails(w: World) -> None:
    """Nobody is left to raise it for, and the loop is told of nothing that nobody retrieved."""
    cache, failed = w.cache(), asyncio.Event()

    async def call() -> str:
        for flight in cache._rooms.here().flights._all():
            flight.give_up()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            failed.set()
            raise ZeroDivisionError from None
        return "late"

    asked = asyncio.ensure_future(cache.get_or_call("k", call))
    await failed.wait()
    asked.cancel()
    await w.turns()
    gc.collect()  # what was not retrieved complains as it goes, and `World` looks for it


@virtual
async def test_a_call_that_takes_one_step(w: World) -> None:
    """It has ended before anything watches over it."""
    cache = w.cache(Policy(error_ttl=0))

    async def fails() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await cache.get_or_call("k", fails)
    provider = w.provider()
    provider.answer("yes")
    assert await cache.get_or_call("k", provider) == "yes"


@virtual
async def test_abandoned_before_its_first_step(w: World) -> None:
    """A flight cancelled before it ran at all leaves nothing, and the next one flies."""
    cache, provider = w.cache(Policy(on_abandon="abandon")), w.provider()
    task = asyncio.ensure_future(cache.get_or_call("k", provider))
    await asyncio.sleep(0)  # the caller has started its flight; the flight has not run
    task.cancel()
    await w.turns()
    assert provider.calls == 0
    assert cache.statistics().flights == 0
    provider.answer("yes")
    assert await cache.get_or_call("k", provider) == "yes"


@virtual
async def test_closed_before_its_first_step(w: World) -> None:
    """Callers of a flight that never ran are answered all the same."""
    cache, provider = w.cache(), w.provider()
    provider.answer("yes")
    task = asyncio.ensure_future(cache.get_or_call("k", provider))
    await asyncio.sleep(0)
    await cache.aclose()
    assert await task == "yes"


@virtual
async def test_cancelled_as_it_lands(w: World) -> None:
    """A caller cancelled in the tick of the landing is cancelled, and the answer is kept."""
    cache, provider = w.cache(Policy(on_abandon="abandon")), w.provider()
    for ticks in range(12):
        provider.close()
        key = f"k{ticks}"
        tasks = spawn(2, lambda key=key: cache.get_or_call(key, provider))
        await provider.until_waiting(1)
        provider.answer("yes")
        await w.turns(ticks)
        tasks[0].cancel()
        got = await outcomes(*tasks)
        assert got[1] == "yes"
        assert got[0] == "yes" or isinstance(got[0], asyncio.CancelledError)
        await w.turns()
        assert await cache.peek(key) == "yes"


@pytest.mark.parametrize("seed", range(5))
@virtual
async def test_a_thousand_random_cancels(w: World, seed: int) -> None:
    """Whatever the order, who is not cancelled is answered, and nothing is left."""
    chance = random.Random(seed)
    caches, provider = [w.cache(), w.cache(Policy(on_abandon="abandon"))], w.provider()
    alive: set[asyncio.Task[Any]] = set()
    cancelled = 0
    while cancelled < 1_000:
        for _ in range(chance.randrange(1, 8)):
            cache, key = chance.choice(caches), f"k{chance.randrange(20)}"
            alive.add(asyncio.ensure_future(cache.get_or_call(key, provider)))
        for task in chance.sample(sorted(alive, key=id), chance.randrange(len(alive))):
            alive.discard(task)
            cancelled += not task.done() and task.cancel()
        await w.turns(chance.randrange(4))
        if provider.waiting and chance.random() < 0.3:
            provider.answer_one("yes")
        if chance.random() < 0.2:
            await caches[0].forget(f"k{chance.randrange(20)}")
    provider.answer("yes")
    assert await asyncio.gather(*alive) == ["yes"] * len(alive)


@virtual
async def test_a_flight_that_asks_for_itself_raises(w: World) -> None:
    """It would wait for itself; also under another slot of the same key."""
    cache = w.cache()

    async def again() -> Any:
        return await cache.get_or_call("k", again)

    async def refresh() -> Any:
        return await cache.get_or_call("k", refresh, mode="refresh")

    for call in (again, refresh):
        with pytest.raises(ReentrantCall):
            await cache.get_or_call("k", call)
        await w.turns()


@virtual
async def test_another_cache_may_ask_for_the_same_key(w: World) -> None:
    """A cache behind a cache is no reentrance."""
    outer, inner, provider = w.cache(store="memory://"), w.cache(), w.provider()
    provider.answer("yes")
    assert await outer.get_or_call("k", lambda: inner.get_or_call("k", provider)) == "yes"


@virtual
async def test_wait_is_the_followers_limit(w: World) -> None:
    """A follower gives up; the owner, whose call it is, waits on."""
    cache, provider = w.cache(Policy(wait=3)), w.provider()
    owner, follower = spawn(2, lambda: cache.get_or_call("k", provider))
    with pytest.raises(WaitTimeout):
        await follower
    await asyncio.sleep(10)
    provider.answer("yes")
    assert await owner == "yes"


@virtual
async def test_wait_bounds_an_owner_that_follows(w: World) -> None:
    """Who started a flight that waits for another process is a follower too."""
    one, two, provider = w.cache(), w.cache(Policy(wait=3)), w.provider()
    leading = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    with pytest.raises(WaitTimeout):
        await two.get_or_call("k", provider)
    provider.answer("yes")
    assert await leading == "yes"
    assert provider.calls == 1


@virtual
async def test_no_wait_at_all_is_no_obstacle_for_the_owner(w: World) -> None:
    """wait=0 and a store that takes its time: the owner's call is made."""
    cache, provider = w.cache(Policy(wait=0, op_timeout=9)), w.provider()
    provider.answer("yes")
    w.store.hold("acquire")
    task = asyncio.ensure_future(cache.get_or_call("k", provider))
    await w.store.until_held("acquire")
    await asyncio.sleep(1)
    w.store.heal()
    assert await task == "yes"


@virtual
async def test_a_flight_that_ends_late_leaves_the_next_one_in_the_table(w: World) -> None:
    """What was forgotten takes away its own place, and not that of its successor."""
    cache, provider = w.cache(), w.provider()
    old = asyncio.ensure_future(cache.get_or_call("k", provider))
    await provider.until_waiting(1)
    await cache.forget("k")
    new = asyncio.ensure_future(cache.get_or_call("k", provider))
    await provider.until_waiting(2)
    provider.answer_one("old")
    assert await old == "old"
    await w.turns()
    late = spawn(1, lambda: cache.get_or_call("k", provider))
    await w.turns()
    assert cache.statistics().flights == 1
    late += spawn(1, lambda: cache.get_or_call("k", provider, mode="refresh"))
    await w.turns()
    assert cache.statistics().flights == 1
    provider.answer("new")
    assert await asyncio.gather(new, *late) == ["new"] * 3
    assert provider.calls == 2


@virtual(prompt=False)
async def test_a_flight_looks_into_l1_again(w: World) -> None:
    """Another thread's loop may have put the answer there between the look and the take-off."""
    cache, provider = w.cache(), w.provider()
    l1 = cache._rooms.l1
    assert l1 is not None
    asking = asyncio.ensure_future(cache.get_or_call("k", provider))
    await asyncio.sleep(0)  # it has looked, and its flight has not begun
    assert cache.statistics().flights == 1
    payload = Payload("plain", b"\xa3yes")
    entry = Entry(Kind.VALUE, payload, new_stamp(), 60.0, 60.0, born=w.clock.now())
    l1.keep(key_from("k", "default"), entry, 100, w.clock.now() + 60, l1.era)
    assert await asking == "yes"
    assert provider.calls == w.store.calls["acquire"] == 0
    assert cache.statistics().l1_hits == 1
