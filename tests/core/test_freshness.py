"""Answers that are stale: given, renewed in the background, kept for bad times; and who stores."""

from __future__ import annotations

import asyncio
import math
import random
from datetime import timedelta
from typing import Any

import pytest
from core_support import FleetCodec, World, outcomes, spawn, virtual

from samecall import (
    CacheMiss,
    ConfigurationError,
    Policy,
    RemoteCallError,
    WaitTimeout,
)
from samecall._entry import Entry, Kind, Payload
from samecall._errors import StoreUnreachable
from samecall._freshness import is_due, usable
from samecall._key import key_from
from samecall._ports import EntryRefreshed

SWR = Policy(ttl=10, stale_while_revalidate=100)
SIE = Policy(ttl=10, stale_if_error=100)
_ALL = "acquire", "renew", "commit", "release", "ping", "wait", "generations"
L1 = [pytest.param({}, id="l1"), pytest.param({"l1": None}, id="l2")]


async def fill(w: World, cache: Any, policy: Policy, value: Any = "old") -> None:
    async def call() -> Any:
        return value

    assert await cache.get_or_call("k", call, policy=policy) == value
    await w.turns()


async def led_and_followed(
    w: World, leads: Any, led: Any, follows: Any, followed: Any, **more: Any
) -> tuple[asyncio.Task[Any], asyncio.Task[Any]]:
    """One process calls for what is stale, and another, which has put that by, waits for it."""
    await fill(w, leads, SIE)
    await asyncio.sleep(11)
    leading = asyncio.ensure_future(leads.get_or_call("k", led, **more))
    await led.until_waiting(1)
    following = asyncio.ensure_future(follows.get_or_call("k", followed, **more))
    await w.turns()
    assert followed.calls == 0
    return leading, following


# --- stale_while_revalidate -----------------------------------------------------------------------


@pytest.mark.parametrize("more", L1)
@virtual
async def test_a_stale_answer_comes_at_once_and_one_refresh_in_the_fleet(
    w: World, more: dict[str, Any]
) -> None:
    """Twenty callers in two processes have the old answer while one call is in the air."""
    one, two, provider = w.cache(SWR, **more), w.cache(SWR, **more), w.provider()
    await fill(w, one, SWR)
    await asyncio.sleep(11)
    before = w.clock.now()
    asked = [cache.get_or_call("k", provider) for cache in (one, two) for _ in range(10)]
    assert await asyncio.gather(*asked) == ["old"] * 20
    assert w.clock.now() == before
    await w.turns()
    assert provider.calls == 1
    assert one.statistics().stale == two.statistics().stale == 10
    provider.answer("new")
    await asyncio.sleep(3)
    assert [await cache.get_or_call("k", provider) for cache in (one, two)] == ["new", "new"]
    assert provider.calls == 1
    assert one.statistics().refresh_errors == two.statistics().refresh_errors == 0


@virtual
async def test_a_slow_refresh_blocks_nobody(w: World) -> None:
    """For as long as the stale answer may be given."""
    cache, provider = w.cache(SWR), w.provider()
    await fill(w, cache, SWR)
    for _ in range(9):
        await asyncio.sleep(11)
        before = w.clock.now()
        assert await cache.get_or_call("k", provider) == "old"
        assert w.clock.now() == before
        await w.turns()
        assert provider.calls == cache.statistics().refreshes == 1
    provider.answer("new")
    await w.turns()
    assert await cache.get_or_call("k", provider) == "new"


@pytest.mark.parametrize("error", [ValueError("shared"), OSError("stays here")])
@virtual
async def test_a_failing_refresh_poisons_nothing(w: World, error: Exception) -> None:
    """It is counted and told, and the key rests for `error_ttl` before it is tried again."""
    cache, provider = w.cache(SWR), w.provider()
    await fill(w, cache, SWR)
    provider.fail(error)
    await asyncio.sleep(11)
    for _ in range(5):
        assert await cache.get_or_call("k", provider) == "old"
        await w.turns()
    assert provider.calls == 1
    told = [event.error for event in w.ears[0].of(EntryRefreshed)]
    assert told == [type(error).__name__]
    assert cache.statistics().refresh_errors == 1
    await asyncio.sleep(2.1)
    assert await cache.get_or_call("k", provider) == "old"
    await w.turns()
    assert provider.calls == 2
    await asyncio.sleep(2.1)
    provider.answer("new")
    assert await cache.get_or_call("k", provider) == "old"
    await w.turns()
    assert await cache.get_or_call("k", provider) == "new"
    assert cache.statistics().errors == 0


@pytest.mark.parametrize(
    "rule",
    [
        {"should_store": lambda _, answer: answer == "old"},
        {"lifetime": lambda answer: 10 if answer == "old" else 0},
        {"max_entry": 200},
    ],
    ids=["should_store", "lifetime", "max_entry"],
)
@virtual
async def test_a_refresh_that_keeps_nothing_is_not_paid_for_at_every_hit(
    w: World, rule: dict[str, Any]
) -> None:
    """The stale answer goes on; the key rests as after a refresh that failed."""
    policy = SWR.replace(**rule)
    cache, provider = w.cache(policy), w.provider()
    await fill(w, cache, policy)
    provider.answer(random.randbytes(1_000).hex())
    await asyncio.sleep(11)
    for calls in (1, 2):
        for _ in range(5):
            assert await cache.get_or_call("k", provider) == "old"
            await w.turns()
        assert provider.calls == calls
        await asyncio.sleep(2.1)
    assert cache.statistics().refresh_errors == 0


@virtual
async def test_past_its_window_a_stale_answer_is_none(w: World) -> None:
    """And `max_age` bounds the window of the reader that has one."""
    cache, provider = w.cache(SWR), w.provider()
    await fill(w, cache, SWR)
    provider.answer("new")
    await asyncio.sleep(50)
    assert await cache.get_or_call("k", provider, policy=SWR.replace(max_age=40)) == "new"
    await fill(w, cache, SWR, "new")
    await asyncio.sleep(111)
    assert await cache.get_or_call("k", provider) == "new"
    assert provider.calls == 2


@virtual
async def test_only_gives_a_stale_answer_and_calls_nobody(w: World) -> None:
    """Neither now nor in the background."""
    for more in ({}, {"l1": None}):
        cache, provider = w.cache(SWR, **more), w.provider()
        await fill(w, cache, SWR)
        await asyncio.sleep(11)
        assert await cache.get_or_call("k", provider, mode="only") == "old"
        await w.turns()
        assert provider.calls == 0
        await asyncio.sleep(100)
        with pytest.raises(CacheMiss):
            await cache.get_or_call("k", provider, mode="only")


@virtual
async def test_a_refresh_in_the_air_is_released_when_the_cache_closes(w: World) -> None:
    """No lease of it remains."""
    cache, provider = w.cache(SWR), w.provider()
    await fill(w, cache, SWR)
    await asyncio.sleep(11)
    assert await cache.get_or_call("k", provider) == "old"
    await provider.until_waiting(1)
    await cache.aclose()
    assert (provider.cancelled, w.memory.statistics().leases) == (1, 0)


@virtual
async def test_who_asks_inside_its_own_refresh_has_the_stale_answer(w: World) -> None:
    """A refresh begins no other refresh of its key."""
    cache = w.cache(SWR)
    await fill(w, cache, SWR)
    await asyncio.sleep(11)
    inner: list[str] = []

    async def call() -> str:
        inner.append(await cache.get_or_call("k", call))
        return "new"

    assert await cache.get_or_call("k", call) == "old"
    await w.turns()
    assert inner == ["old"]
    assert await cache.get_or_call("k", call) == "new"


@virtual
async def test_a_stale_stream_is_played_and_renewed(w: World) -> None:
    """Streams are refreshed too, for nobody's ears."""
    cache = w.cache(SWR)

    def call(*items: int) -> Any:
        async def items_of() -> Any:
            for item in items:
                yield item

        return items_of

    assert [item async for item in cache.stream("s", call(1, 2))] == [1, 2]
    await asyncio.sleep(11)
    assert [item async for item in cache.stream("s", call(3))] == [1, 2]
    await w.turns(300)
    assert [item async for item in cache.stream("s", call(4))] == [3]


# --- early_refresh --------------------------------------------------------------------------------


@virtual
async def test_an_early_refresh_by_the_dice(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost that was recorded picks the moment; the caller has a fresh answer all the same."""
    policy = Policy(ttl=100, early_refresh=1.0)
    cache, provider = w.cache(policy), w.provider()

    async def slow() -> str:
        await asyncio.sleep(5)
        return "old"

    assert await cache.get_or_call("k", slow) == "old"
    luck = [0.5]
    monkeypatch.setattr(random, "random", lambda: luck[0])
    await asyncio.sleep(90)
    assert await cache.get_or_call("k", provider) == "old"  # 5 s * ln 2 = 3.5 s ahead: not yet
    await w.turns()
    assert provider.calls == 0
    luck[0] = 0.9
    assert await cache.get_or_call("k", provider) == "old"  # 5 s * ln 10 = 11.5 s ahead
    await w.turns()
    assert provider.calls == 1
    assert cache.statistics().stale == 0
    provider.answer("new")
    await w.turns()
    luck[0] = 0.0
    assert await cache.get_or_call("k", provider) == "new"


def test_the_moment_of_an_early_refresh_is_that_of_the_paper() -> None:
    """XFetch: the time to go before expiry is exponential with mean cost times beta."""
    entry = Entry(Kind.VALUE, Payload("t", b""), b"s" * 16, 100.0, 100.0, cost=5.0, born=0.0)
    policy, dice = Policy(early_refresh=2.0), random.Random(7)
    for ahead in (1.0, 10.0, 30.0):
        due = sum(is_due(entry, policy, 100 - ahead, 1 - dice.random()) for _ in range(20_000))
        assert due / 20_000 == pytest.approx(math.exp(-ahead / 10), abs=0.015)


# --- stale_if_error -------------------------------------------------------------------------------


@pytest.mark.parametrize("more", L1)
@virtual
async def test_instead_of_an_error_the_stale_answer(w: World, more: dict[str, Any]) -> None:
    """For the leader and for all who wait for it, here and in another process."""
    one, two, provider = w.cache(SIE, **more), w.cache(SIE, **more), w.provider()
    await fill(w, one, SIE)
    await asyncio.sleep(11)
    asked = [
        asyncio.ensure_future(cache.get_or_call("k", provider, codec=FleetCodec()))
        for cache in (one, two)
        for _ in range(3)
    ]
    await provider.until_waiting(1)
    await w.turns()
    provider.fail(ValueError("down"))
    assert await asyncio.gather(*asked) == ["old"] * 6
    assert provider.calls == 1
    assert one.statistics().stale + two.statistics().stale == 6
    assert one.statistics().errors == two.statistics().errors == 0
    assert one.statistics().provider_errors + two.statistics().provider_errors == 1


@virtual
async def test_what_was_forgotten_while_it_waited_is_no_answer(w: World) -> None:
    """Another led when it found the stale one; a `forget` ends that, and its own call fails."""
    leads, follows, forgets = w.cache(SIE), w.cache(SIE), w.cache(SIE)
    first, second = w.provider(), w.provider()
    codec = FleetCodec()
    leading, following = await led_and_followed(w, leads, first, follows, second, codec=codec)
    await forgets.forget("k")
    await second.until_waiting(1)
    second.fail(ValueError("down"))
    with pytest.raises(Exception, match="down"):
        await following
    first.answer("new")
    assert await leading == "new"


@virtual
async def test_what_was_only_evicted_is_an_answer(w: World) -> None:
    """The store lost it meanwhile, and nobody forgot it."""
    leads, follows = w.cache(SIE.replace(on_abandon="abandon")), w.cache(SIE)
    first, second = w.provider(), w.provider()
    leading, following = await led_and_followed(w, leads, first, follows, second)
    w.memory.drop(key_from("k", "default", None))
    leading.cancel()
    await second.until_waiting(1)
    second.fail(ValueError("down"))
    assert await following == "old"


@virtual
async def test_an_error_is_an_error_where_nothing_is_kept(w: World) -> None:
    """Or what is kept is too old for this reader, or it is a mistake of the caller's own."""
    cache, provider = w.cache(SIE), w.provider()
    provider.fail(ValueError("down"))
    with pytest.raises(ValueError):
        await cache.get_or_call("k", provider)
    await asyncio.sleep(3)
    await fill(w, cache, SIE)
    await asyncio.sleep(50)
    with pytest.raises(ValueError):
        await cache.get_or_call("k", provider, policy=SIE.replace(max_age=40))
    await asyncio.sleep(3)
    assert await cache.get_or_call("k", provider) == "old"
    await asyncio.sleep(3)

    async def mistaken() -> str:
        raise ConfigurationError("no such model")

    with pytest.raises(ConfigurationError):
        await cache.get_or_call("k", mistaken)
    await asyncio.sleep(60)
    with pytest.raises(ValueError):
        await cache.get_or_call("k", provider)


@virtual
async def test_no_refresh_by_name_is_answered_with_what_it_was_to_replace(w: World) -> None:
    """Who says "refresh" wants to know that it failed."""
    cache, provider = w.cache(SIE), w.provider()
    await fill(w, cache, SIE)
    provider.fail(ValueError("down"))
    with pytest.raises(ValueError):
        await cache.get_or_call("k", provider, mode="refresh")


@pytest.mark.parametrize("more", L1)
@pytest.mark.parametrize("first", ["strict", "lax"])
@virtual
async def test_readers_of_one_flight_go_each_by_its_own_policy(
    w: World, first: str, more: dict[str, Any]
) -> None:
    """Whoever began it: the stale answer is for who takes one, and not for who says "refresh"."""
    cache, provider, own = w.cache(SIE, **more), w.provider(), w.provider()
    own.answer("own")
    await fill(w, cache, SIE)
    await asyncio.sleep(11)
    strict, young = SIE.replace(stale_if_error=0), SIE.replace(max_age=5)
    policies = [strict, SIE] if first == "strict" else [SIE, strict]

    def ask(policy: Policy, mode: Any = "use") -> asyncio.Task[Any]:
        return asyncio.ensure_future(cache.get_or_call("k", provider, policy=policy, mode=mode))

    asked = [ask(policy) for policy in (*policies, young)]
    await provider.until_waiting(1)
    asked.append(ask(SIE, "refresh"))
    for policy, on_timeout, answer in (
        (SIE, "call", "old"), (strict, "call", "own"), (strict, "raise", "")
    ):  # fmt: skip
        waits = policy.replace(wait=1, on_timeout=on_timeout)
        late = cache.get_or_call("k", own, policy=waits)
        if answer:
            assert await late == answer
        else:
            with pytest.raises(WaitTimeout):
                await late
    provider.fail(ValueError("down"))
    told = [each if isinstance(each, str) else type(each) for each in await outcomes(*asked)]
    mine = [ValueError, "old"] if first == "strict" else ["old", ValueError]
    assert told == [*mine, ValueError, ValueError]
    assert (provider.calls, own.calls) == (1, 1)


@pytest.mark.parametrize("way", ["clear", "tag", "forget", "patient"])
@virtual
async def test_what_was_forgotten_meanwhile_is_no_stale_answer(w: World, way: str) -> None:
    """The call was begun before, and joined after, in a process that hears of it on the way."""
    one, two, provider = w.cache(SIE), w.cache(SIE), w.provider()
    provider.answer("old")

    def ask() -> asyncio.Task[Any]:
        policy = SIE.replace(wait=50) if way == "patient" else SIE
        return asyncio.ensure_future(two.get_or_call("k", provider, policy=policy, tags=("t",)))

    assert await ask() == "old"
    await w.turns()
    provider.close()
    await asyncio.sleep(11)
    asked = [ask()]
    await provider.until_waiting(1)
    if way in ("forget", "patient"):
        await one.forget("k")
    else:
        await (one.clear() if way == "clear" else one.forget_tag("t"))
    asked.append(ask())
    await asyncio.sleep(4)
    provider.fail(ValueError("down"))
    assert [type(each) for each in await outcomes(*asked)] == [ValueError, ValueError]
    assert provider.calls == 2


@virtual
async def test_a_call_that_fails_after_a_clear_brings_nothing_back(w: World) -> None:
    """Who follows elsewhere, is told of an error of before, and calls in vain."""
    one, two = w.cache(SIE), w.cache(SIE)
    leading, following = w.provider(), w.provider()
    await fill(w, one, SIE)
    await asyncio.sleep(11)

    def ask() -> asyncio.Task[Any]:
        return asyncio.ensure_future(two.get_or_call("k", following, codec=FleetCodec()))

    first = asyncio.ensure_future(one.get_or_call("k", leading, codec=FleetCodec()))
    await leading.until_waiting(1)
    asked = [ask()]
    await w.turns()
    await one.clear()
    asked.append(ask())
    await asyncio.sleep(4)
    leading.fail(ValueError("down"))
    await following.until_waiting(1)
    following.fail(ValueError("down, too"))
    told = await outcomes(first, *asked)
    assert not any(isinstance(each, str) for each in told), told
    assert (leading.calls, following.calls) == (1, 1)


@pytest.mark.parametrize("on_timeout", ["raise", "call"])
@virtual
async def test_the_end_of_a_wait_brings_back_nothing_that_was_forgotten(
    w: World, on_timeout: Any
) -> None:
    """Who follows another process learns nothing of a clear by itself: it asks."""
    policy = SIE.replace(wait=3, on_timeout=on_timeout)
    one, two, provider, own = w.cache(SIE), w.cache(policy), w.provider(), w.provider()
    own.answer("own")
    leading, first = await led_and_followed(w, one, provider, two, own)
    await one.clear()
    told = await outcomes(first, asyncio.ensure_future(two.get_or_call("k", own)))
    if on_timeout == "call":
        assert told == ["own", "own"]
    else:
        assert [type(each) for each in told] == [WaitTimeout, WaitTimeout]
    provider.answer("new")
    assert await leading == "new"


@pytest.mark.parametrize("known", [True, False])
@virtual
async def test_a_store_that_is_silent_takes_no_stale_answer_away(w: World, *, known: bool) -> None:
    """Unless this process knows that it was forgotten: by another call, while this one waited."""
    one, two, leading, own = w.cache(SIE), w.cache(SIE), w.provider(), w.provider()
    await fill(w, one, SIE)
    await asyncio.sleep(11)
    first = asyncio.ensure_future(one.get_or_call("k", leading))
    await leading.until_waiting(1)
    follows = asyncio.ensure_future(two.get_or_call("k", own))
    await w.turns()
    if known:
        await one.clear()
        await asyncio.sleep(1.1)
    own.answer("another")
    assert await two.get_or_call("another", own) == "another"
    own.close()
    w.store.raise_on(*_ALL, error=StoreUnreachable("gone"))
    w.leases_may_remain = True
    await own.until_waiting(1)
    await asyncio.sleep(4)  # no copy of a generation is believed for as long
    own.fail(ValueError("down"))
    [told] = await outcomes(follows)
    assert isinstance(told, ValueError) if known else told == "old"
    w.store.heal()
    leading.answer("new")
    assert await first == "new"


@virtual
async def test_a_close_cancels_nobody_who_is_about_to_have_a_stale_answer(w: World) -> None:
    cache, provider = w.cache(SIE), w.provider()
    await fill(w, cache, SIE)
    await asyncio.sleep(11)
    asked = asyncio.ensure_future(cache.get_or_call("k", provider))
    await provider.until_waiting(1)
    w.store.hold("generations", times=1)
    await asyncio.sleep(1.2)
    provider.fail(ValueError("down"))
    await w.turns()
    assert not asked.done()
    await cache.aclose()
    assert await asked == "old"
    w.store.heal()
    await w.turns()


def test_what_may_be_used_in_which_window() -> None:
    """A window never reaches past the life of the entry, nor past the reader's `max_age`."""
    entry = Entry(Kind.VALUE, Payload("t", b""), b"s" * 16, 10.0, 40.0, born=0.0)
    policy = Policy()
    ages = (5, 15, 35, 45)
    assert [usable(entry, policy, age, 0) for age in ages] == [True, False, False, False]
    assert [usable(entry, policy, age, 10) for age in ages] == [True, True, False, False]
    assert [usable(entry, policy, age, 99) for age in ages] == [True, True, True, False]
    strict = Policy(max_age=12)
    assert [usable(entry, strict, age, 99) for age in ages] == [True, False, False, False]


# --- waiters --------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["here", "elsewhere"])
@virtual
async def test_the_end_of_a_wait(w: World, where: str) -> None:
    """The stale answer if one is kept; else an own call if the policy allows; else an error."""
    policy = SIE.replace(wait=3)
    one = w.cache(policy)
    two = one if where == "here" else w.cache(policy)
    provider, own = w.provider(), w.provider()
    own.answer("own")
    leading = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    with pytest.raises(WaitTimeout):
        await two.get_or_call("k", own)
    assert await two.get_or_call("k", own, policy=policy.replace(on_timeout="call")) == "own"
    assert own.calls == 1
    provider.answer("old")
    assert await leading == "old"
    await w.turns()
    provider.close()
    await asyncio.sleep(11)
    leading = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    before = w.clock.now()
    for on_timeout in ("raise", "call"):
        asked = two.get_or_call("k", own, policy=policy.replace(on_timeout=on_timeout))
        assert await asked == "old"
    assert w.clock.now() - before == pytest.approx(6)
    assert own.calls == 1
    provider.answer("new")
    assert await leading == "new"


@virtual
async def test_one_slow_key_delays_no_other(w: World) -> None:
    """A thousand waiters at one key, here and elsewhere, and the next key takes no time at all."""
    one, two, slow, quick = w.cache(), w.cache(), w.provider(), w.provider()
    tasks = [*spawn(500, lambda: one.get_or_call("slow", slow))]
    await slow.until_waiting(1)
    tasks += spawn(500, lambda: two.get_or_call("slow", slow))
    await w.turns()
    quick.answer("yes")
    before = w.clock.now()
    for cache in (one, two):
        asked = [cache.get_or_call(f"quick {number}", quick) for number in range(50)]
        assert await asyncio.gather(*asked) == ["yes"] * 50
    assert w.clock.now() == before
    slow.answer("late")
    assert await asyncio.gather(*tasks) == ["late"] * 1_000
    assert slow.calls == 1


# --- decided by the answer ------------------------------------------------------------------------


@virtual
async def test_a_lifetime_by_the_answer(w: World) -> None:
    """Seconds or a timedelta; None is `ttl`; 0 is not stored."""
    lives = {"short": 5, "long": timedelta(seconds=500), "usual": None, "never": 0}
    policy = Policy(ttl=50, lifetime=lambda answer: lives[answer])
    for answer, life in (("short", 5), ("long", 500), ("usual", 50)):
        cache, provider = w.cache(policy), w.provider()
        provider.answer(answer)
        assert await cache.get_or_call(answer, provider) == answer
        await asyncio.sleep(life - 0.1)
        assert await cache.peek(answer) == answer
        await asyncio.sleep(0.2)
        assert await cache.peek(answer) is None
    cache, provider = w.cache(policy), w.provider()
    provider.answer("never")
    for calls in (1, 2):
        assert await cache.get_or_call("never", provider) == "never"
        await w.turns()
        assert provider.calls == calls
    assert (cache.statistics().unwanted, cache.statistics().stored) == (2, 0)


@virtual
async def test_who_is_stored(w: World) -> None:
    """`should_store` hears request and answer; who waits for the call has it all the same."""
    heard: list[tuple[Any, Any]] = []

    def rule(request: Any, answer: Any) -> bool:
        heard.append((request, answer))
        return bool(answer != "no")

    cache, provider = w.cache(Policy(should_store=rule)), w.provider()
    tasks = spawn(3, lambda: cache.get_or_call("k", provider, asked={"model": "m"}))
    await provider.until_waiting(1)
    provider.answer("no")
    assert await asyncio.gather(*tasks) == ["no"] * 3
    await w.turns()
    assert await cache.peek("k") is None
    provider.answer("yes")
    assert await cache.get_or_call("k", provider) == "yes"
    await w.turns()
    assert await cache.peek("k") == "yes"
    assert heard == [({"model": "m"}, "no"), ("k", "yes")]
    assert (provider.calls, cache.statistics().unwanted) == (2, 1)


@pytest.mark.filterwarnings("always::samecall.SamecallWarning")
@pytest.mark.parametrize("error", [KeyError, asyncio.CancelledError])
@pytest.mark.parametrize("name", ["should_store", "lifetime"])
@virtual
async def test_a_rule_that_fails_costs_no_answer(
    w: World, name: str, error: type[BaseException]
) -> None:
    """It is told, and nothing is stored; whatever it raises, the call is made once."""

    def rule(*_: Any) -> Any:
        raise error("bug")

    cache, provider = w.cache(Policy(**{name: rule})), w.provider()  # type: ignore[arg-type]
    provider.answer("yes")
    with pytest.warns(match=error.__name__):
        assert await cache.get_or_call("k", provider) == "yes"
    assert provider.calls == 1
    await w.turns()
    assert await cache.peek("k") is None
    assert cache.statistics().uncached == 1


class Rule:
    """An object that is called, and has to be awaited."""

    async def __call__(self, *_: Any) -> bool:
        return False


@pytest.mark.filterwarnings("always::samecall.SamecallWarning")
@pytest.mark.parametrize("gives", ["a coroutine", "a future"])
@virtual
async def test_a_rule_that_has_to_be_awaited_says_no(w: World, gives: str) -> None:
    """Nobody awaits it, and what it gives at once would be a yes to everything."""

    def rule(*_: Any) -> Any:
        return Rule()() if gives == "a coroutine" else asyncio.get_running_loop().create_future()

    cache, provider = w.cache(Policy(should_store=rule)), w.provider()
    provider.answer("yes")
    with pytest.warns(match="plain function"):
        assert await cache.get_or_call("k", provider) == "yes"
    await w.turns()
    assert await cache.peek("k") is None


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("stale_while_revalidate", -1),
        ("stale_if_error", "long"),
        ("early_refresh", -0.1),
        ("early_refresh", True),
        ("early_refresh", math.nan),
        ("lifetime", 5),
        ("should_store", "yes"),
        ("should_store", Rule()),
        ("variants", 0),
        ("variants", 1.5),
        ("variants", 10_000),
        ("pick", "turn"),
        ("on_timeout", "wait"),
    ],
)
def test_a_policy_refuses_by_name(field: str, bad: Any) -> None:
    """The message says which argument and what it takes."""
    with pytest.raises(ConfigurationError, match=rf"^{field} takes"):
        Policy(**{field: bad})


# --- variants -------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", L1)
@virtual
async def test_several_answers_to_one_call(
    w: World, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    """Each missing one leads its own call; all are handed out; forgotten and refreshed together."""
    policy, numbers = Policy(variants=3), iter([0, 1, 1, 2, 0, 2, 1, 1, 0, 2, 0])
    monkeypatch.setattr(random, "randrange", lambda _: next(numbers))
    cache = w.cache(policy, **more)
    made = 0

    async def call() -> int:
        nonlocal made
        made += 1
        return made

    async def ask(**more: Any) -> int:
        answer = await cache.get_or_call("k", call, **more)
        await w.turns()
        return answer

    assert [await ask() for _ in range(6)] == [1, 2, 2, 3, 1, 3]
    assert await cache.peek("k") == 1
    assert await ask(mode="refresh") == 4
    assert [await ask() for _ in range(3)] == [4, 5, 6]
    await cache.forget("k")
    assert await cache.peek("k") is None
    assert await ask() == 7
    await cache.forget("k", policy=Policy(variants=1))
    assert await cache.peek("k", policy=Policy(variants=1)) is None


@virtual
async def test_errors_of_another_process_are_no_stale_answer_without_the_policy(w: World) -> None:
    """The plain default: an error is told as it was."""
    one, two, provider = w.cache(), w.cache(), w.provider()
    tasks = [
        asyncio.ensure_future(cache.get_or_call("k", provider, codec=FleetCodec()))
        for cache in (one, two)
    ]
    await provider.until_waiting(1)
    await w.turns()
    provider.fail(ValueError("down"))
    errors = await outcomes(*tasks)
    assert sorted(type(error).__name__ for error in errors) == ["RemoteCallError", "ValueError"]
    assert any(isinstance(error, RemoteCallError) for error in errors)
