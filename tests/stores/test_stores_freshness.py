"""Freshness as policy, and what is kept at all: the same on every store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from place_support import FleetCodec, Place, says, stored, until, until_says

from samecall import Policy, RemoteCallError, Seal, WaitTimeout
from samecall.testing import GatedProvider, ManualClock


async def filled(place: Place, policy: Policy, answer: Any = "old", **more: Any) -> tuple[Any, Any]:
    """Two processes, the first of which has stored an answer at "k"."""
    one, other = place.cache(policy, **more), place.cache(policy, **more)
    assert await one.get_or_call("k", says(answer)) == answer
    await stored(one)
    return one, other


async def test_a_stale_answer_at_once_and_one_refresh_in_the_fleet(place: Place) -> None:
    """Forty callers of two processes have the old answer while one call is in the air."""
    one, other = await filled(place, Policy(ttl=1_000, stale_while_revalidate=1_000))
    await place.age(one, 1_500)
    provider = GatedProvider[Any]()
    asked = [cache.get_or_call("k", provider) for cache in (one, other) for _ in range(20)]
    assert await asyncio.gather(*asked) == ["old"] * 40
    await provider.until_waiting(1)
    assert one.statistics().stale == other.statistics().stale == 20
    provider.answer("new")
    await until_says(one, "new", provider)
    await until_says(other, "new", provider)
    assert provider.calls == 1


async def test_a_refresh_that_fails_leaves_the_stale_answer(place: Place) -> None:
    """It is counted, and the key rests."""
    policy = Policy(ttl=1_000, stale_while_revalidate=1_000, error_ttl=1_000)
    one, other = await filled(place, policy)
    await place.age(one, 1_500)
    provider = GatedProvider[Any]()
    provider.fail(ValueError("down"))
    assert await one.get_or_call("k", provider) == "old"
    await until(lambda: one.statistics().refresh_errors == 1)
    for cache in (one, other, one):
        assert await cache.get_or_call("k", provider) == "old"
    assert one.statistics().errors == other.statistics().errors == 0


async def test_a_refresh_that_hangs_holds_up_nobody(place: Place) -> None:
    """Nor what is forgotten meanwhile; when it ends at last, nobody gets what it brings."""
    policy, hung = Policy(ttl=1_000, stale_while_revalidate=1_000), GatedProvider[Any]()
    one, other = await filled(place, policy)
    await place.age(one, 1_500)
    assert await one.get_or_call("k", hung) == "old"
    await hung.until_waiting(1)
    for cache in (one, other, one, other):
        assert await cache.get_or_call("k", says("not called")) == "old"
    await other.forget("k")
    for cache in (one, other):
        assert await cache.get_or_call("k", says("new")) == "new"
    hung.answer("late")
    await place.settled(one)
    for cache in (one, other):
        assert await cache.get_or_call("k", says("not called")) == "new"
    assert hung.calls == 1


async def test_instead_of_an_error_the_stale_answer(place: Place) -> None:
    """In the process that called, and in the one that is told of the error."""
    one, other = await filled(place, Policy(ttl=1_000, stale_if_error=2_000, error_ttl=1_000))
    await place.age(one, 2_500)
    provider = GatedProvider[Any]()
    provider.fail(ValueError("down"))
    for cache in (one, other, one, other):
        assert await cache.get_or_call("k", provider, codec=FleetCodec()) == "old"
    assert provider.calls == 1


async def test_the_end_of_a_wait(place: Place) -> None:
    """Of another process: the stale answer, else an own call if allowed, or an error."""
    waits = Policy(ttl=1_000, stale_if_error=2_000, wait=0.02)
    one, other, strange = place.cache(), place.cache(waits), place.cache(waits)
    provider, own = GatedProvider[Any](), GatedProvider[Any]()
    leading = asyncio.ensure_future(one.get_or_call("k", provider, policy=waits))
    await provider.until_waiting(1)
    with pytest.raises(WaitTimeout):
        await other.get_or_call("k", own)
    own.answer("own")
    assert await other.get_or_call("k", own, policy=waits.replace(on_timeout="call")) == "own"
    assert (provider.calls, own.calls) == (1, 1)
    provider.answer("old")
    assert await leading == "old"
    await stored(one)
    await place.age(one, 2_500)
    provider.close()
    leading = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    for cache, how in ((other, "raise"), (strange, "call")):
        again = waits.replace(on_timeout=how)
        assert await cache.get_or_call("k", own, policy=again) == "old"
    assert own.calls == 1
    provider.answer("new")
    assert await leading == "new"
    await stored(one, 2)
    assert await other.get_or_call("k", own) == "new"


@pytest.mark.parametrize("seconds", [300, 900])
async def test_early_refresh_goes_by_the_recorded_cost(
    place: Place, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call of 10 s, at the worst luck there is: 734 s before its end (beta 2), not sooner."""
    clock, policy = ManualClock(), Policy(ttl=1_000, early_refresh=2)
    one, other = place.cache(policy, clock=clock), place.cache(policy, clock=clock)

    async def slow() -> str:
        clock.advance(10)
        return "old"

    await one.get_or_call("k", slow)
    await stored(one)
    await place.age(one, 1_000 - seconds)
    monkeypatch.setattr("samecall._refreshing.random.random", lambda: 1 - 2**-53)
    provider = GatedProvider[Any]()
    provider.answer("new")
    assert await other.get_or_call("k", provider) == "old"
    if seconds == 900:
        assert other.statistics().refreshes == provider.calls == 0
    else:
        await until_says(other, "new", provider)
        assert provider.calls >= 1
    assert other.statistics().stale == 0


async def test_a_readers_max_age(place: Place) -> None:
    """An answer that is good for others is none for who takes no older one."""
    one, other = await filled(place, Policy(ttl=1_000))
    await place.age(one, 100)
    provider = GatedProvider[Any]()
    provider.answer("new")
    assert await other.get_or_call("k", provider, policy=Policy(max_age=500)) == "old"
    assert await other.get_or_call("k", provider, policy=Policy(max_age=50)) == "new"
    await stored(other)
    assert await one.get_or_call("k", provider, policy=Policy(max_age=50)) == "new"
    assert provider.calls == 1


async def test_an_error_is_told_for_its_window(place: Place) -> None:
    """The other process raises the same without a call of its own."""
    policy = Policy(error_ttl=1_000)
    one, other = place.cache(policy), place.cache(policy)
    provider = GatedProvider[Any]()
    provider.fail(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await one.get_or_call("k", provider, codec=FleetCodec())
    await until(lambda: not one._rooms.here().flights.statistics().flights)
    with pytest.raises(RemoteCallError, match="no"):
        await other.get_or_call("k", provider, codec=FleetCodec())
    assert provider.calls == 1


async def test_the_answer_says_how_long_it_is_good(place: Place) -> None:
    """A lifetime of its own, none, and the policy's; each with jitter."""
    policy = Policy(ttl=1_000, ttl_jitter=0.5, lifetime=lambda answer: answer["life"])
    one, other = place.cache(policy), place.cache(policy)
    for name, life in (("short", 60), ("not", 0), ("as ever", None)):
        await one.get_or_call(name, says({"life": life}))
    await stored(one, 2)
    short, none, long = [await place.held(other, name) for name in ("short", "not", "as ever")]
    assert none is None
    assert short is not None
    assert long is not None
    assert 0 < short.left <= 60
    assert 60 < long.left <= 1_000
    assert one.statistics().unwanted == 1


async def test_a_rule_says_what_is_stored(place: Place) -> None:
    """What it does not want is answered, and nobody else's answer."""
    policy = Policy(should_store=lambda asked, answer: asked == "k" and answer != "refused")
    one, other = place.cache(policy), place.cache(policy)
    assert await one.get_or_call("k", says("refused")) == "refused"
    assert await other.get_or_call("k", says("fine")) == "fine"
    await stored(other)
    assert await one.get_or_call("k", says("not called")) == "fine"
    assert (one.statistics().unwanted, other.statistics().unwanted) == (1, 0)


async def test_several_answers_to_one_call(place: Place) -> None:
    """Two processes give the same three, made by three calls, and forget all of them at once."""
    policy = Policy(variants=3)
    one, other = place.cache(policy), place.cache(policy)
    made = 0

    async def call() -> int:
        nonlocal made
        made += 1
        return made

    async with asyncio.timeout(60):
        while made < 3:
            await one.get_or_call("k", call)
    await stored(one, 3)
    assert {await other.get_or_call("k", call) for _ in range(60)} == {1, 2, 3}
    assert made == 3
    await other.forget("k")
    assert await one.peek("k") is None
    assert await place.values(other) == {}


async def test_several_answers_in_turn(place: Place) -> None:
    """Each process gives all of them before it gives one again; "only" gives what there is."""
    policy = Policy(variants=3, pick="in_turn")
    one, other = place.cache(policy), place.cache(policy)
    provider = GatedProvider[Any]()
    provider.answer("first")
    await one.get_or_call("k", provider)
    await stored(one)
    for _ in range(3):
        assert await other.get_or_call("k", provider, mode="only") == "first"
    for number in (2, 3):
        provider.answer(number)
        assert await one.get_or_call("k", provider) == number
        await stored(one, number)
    for cache in (one, other):
        for _ in range(3):
            asked = [await cache.get_or_call("k", provider) for _ in range(3)]
            assert sorted(map(str, asked)) == ["2", "3", "first"]
    assert provider.calls == 3


async def test_what_is_too_large_is_answered_and_not_stored(place: Place) -> None:
    """Counted, with one warning; everybody calls for it."""
    policy = Policy(max_entry=500, compress_over=None)
    one, other = place.cache(policy), place.cache(policy)
    for cache in (one, other):
        with pytest.warns(match=r"over max_entry \(500\)"):
            assert await cache.get_or_call("k", says("x" * 1_000)) == "x" * 1_000
        assert (cache.statistics().uncached, cache.statistics().stored) == (1, 0)
    assert await place.values(one) == {}


async def test_what_is_large_is_stored_small(place: Place) -> None:
    """And read by a process that would not make it small."""
    text = "the same words again and again; " * 100
    one, other = place.cache(Policy(compress_over=100)), place.cache(Policy(compress_over=None))
    await one.get_or_call("k", says(text))
    await stored(one)
    assert await other.get_or_call("k", says("not called")) == text
    (data,) = (await place.values(one)).values()
    assert len(data) < len(text) / 4


@pytest.mark.parametrize("seal", [None, Seal({"a": bytes(32)}, "a")], ids=["open", "sealed"])
async def test_generations_outlast_what_bears_them(place: Place, seal: Seal | None) -> None:
    """Also an answer that is kept for longer than its policy's `ttl`, or than its neighbour's."""
    cache = place.cache(Policy(ttl=10, deadline=20), seal=seal)
    await cache.get_or_call("short", says(1), tags=("t",))
    longer = Policy(ttl=10, deadline=20, lifetime=lambda _: 5_000)
    await cache.get_or_call("long", says(2), tags=("t",), policy=longer)
    await stored(cache, 2)
    await place.settled(cache, "long")
    for tag in ("", "t"):
        assert await place.generation_lasts(cache, tag) > 5_000
    other = place.cache(Policy(ttl=10, deadline=20), seal=seal)  # of one that asks for less
    await other.get_or_call("longest", says(3), tags=("t",), policy=Policy(ttl=1e6, deadline=20))
    await stored(other)
    await place.settled(other, "longest")
    for tag in ("", "t"):
        assert await place.generation_lasts(other, tag) > 1e6
