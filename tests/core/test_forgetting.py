"""What is forgotten by a tag or a namespace: everywhere, in one step, and for good."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from core_support import FleetCodec, World, virtual

from samecall import Cache, CacheMiss, ConfigurationError, StoreError
from samecall._entry import Entry, Key, Kind, Payload, encode_entry, new_stamp
from samecall._key import key_from
from samecall._ports import SEEN_ANY
from samecall._waiting import SHARE

WAYS = ["tag", "clear"]


async def forget(cache: Cache, way: str) -> None:
    await (cache.forget_tag("invoice") if way == "tag" else cache.clear())


async def ask(cache: Cache, provider: Any, key: str = "k", **more: Any) -> Any:
    return await cache.get_or_call(key, provider, tags=more.pop("tags", ("invoice",)), **more)


@pytest.mark.parametrize("way", WAYS)
@virtual
async def test_a_tag_is_forgotten_in_every_process(w: World, way: str) -> None:
    """A second later nobody gives the old answer any more, nor a hundred seconds later."""
    one, two, provider = w.cache(), w.cache(), w.provider()
    provider.answer("old")
    for cache in (one, two):
        assert await ask(cache, provider) == "old"
        await w.turns()
    assert provider.calls == 1
    await forget(one, way)
    provider.answer("new")
    assert await ask(one, provider) == "new"
    await w.turns()
    await asyncio.sleep(1)
    assert await ask(two, provider) == "new"
    assert provider.calls == 2
    await asyncio.sleep(100)
    assert [await ask(cache, provider) for cache in (one, two)] == ["new", "new"]
    assert provider.calls == 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("private", [True, False], ids=["memory", "shared"])
@virtual
async def test_l1_obeys_at_once_in_its_own_process(w: World, way: str, *, private: bool) -> None:
    """Where nobody else writes, and where L1 lies before another store."""
    cache = w.cache(store="memory://") if private else w.cache()
    provider = w.provider()
    provider.answer("old")
    assert [await ask(cache, provider) for _ in range(2)] == ["old", "old"]
    assert cache.statistics().l1_hits == 1
    await w.turns()
    await forget(cache, way)
    provider.answer("new")
    assert await ask(cache, provider) == "new"
    await w.turns()
    assert await ask(cache, provider) == "new"
    assert (provider.calls, cache.statistics().l1_hits) == (2, 2)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", ["here", "elsewhere"])
@virtual
async def test_a_flight_begun_before_does_not_outlive_it(w: World, way: str, where: str) -> None:
    """Its callers have its answer, and those who come later one of their own."""
    one = w.cache()
    two = one if where == "here" else w.cache()
    provider = w.provider()
    old = asyncio.ensure_future(ask(one, provider))
    await provider.until_waiting(1)
    await forget(two, way)
    new = asyncio.ensure_future(ask(two, provider))
    await w.turns()
    provider.answer_one("old")
    assert await old == "old"
    await provider.until_waiting(1)
    provider.answer("new")
    assert await new == "new"
    await w.turns()
    await asyncio.sleep(1)
    assert [await ask(cache, provider) for cache in (one, two)] == ["new", "new"]
    assert provider.calls == 2


@virtual
async def test_others_stay(w: World) -> None:
    """Another tag, no tag, another namespace; and a tag of an entry with several."""
    cache, provider = w.cache(), w.provider()
    elsewhere = w.cache(namespace="elsewhere")
    provider.answer("old")
    kept = [("a", ()), ("b", ("receipt",))]
    gone = [("c", ("receipt", "invoice")), ("d", ["invoice"]), ("e", {"invoice", "x"})]
    for key, tags in (*kept, *gone):
        await ask(cache, provider, key, tags=tags)
    await ask(elsewhere, provider, "c")
    await w.turns()
    await cache.forget_tag("invoice")
    assert [await cache.peek(key) for key, _ in kept] == ["old"] * 2
    assert [await cache.peek(key) for key, _ in gone] == [None] * 3
    assert await elsewhere.peek("c") == "old"
    await cache.forget_tag("invoice", namespace="elsewhere")
    await asyncio.sleep(1)
    assert await elsewhere.peek("c") is None
    await cache.clear("elsewhere")
    assert [await cache.peek(key) for key, _ in kept] == ["old"] * 2
    await cache.clear(reclaim=True)
    assert [await cache.peek(key) for key, _ in kept] == [None] * 2
    assert w.memory.statistics().entries == 1  # what lies elsewhere


@virtual
async def test_an_error_of_before_is_forgotten_too(w: World) -> None:
    """Who asks after a `clear` is not told of a failure before it."""
    from core_support import FleetCodec

    cache, provider = w.cache(), w.provider()
    provider.fail(ValueError("down"))
    with pytest.raises(ValueError):
        await ask(cache, provider, codec=FleetCodec())
    await w.turns()
    await cache.clear()
    provider.answer("new")
    assert await ask(cache, provider, codec=FleetCodec()) == "new"


@virtual
async def test_an_evicted_generation_is_a_new_one(w: World) -> None:
    """What bore it answers nobody: it may have been forgotten."""
    cache, provider = w.cache(), w.provider()
    provider.answer("old")
    await ask(cache, provider)
    await w.turns()
    await w.memory.renew_generation("default", "invoice")  # what an eviction does
    await asyncio.sleep(1.1)
    provider.answer("new")
    assert await ask(cache, provider) == "new"


def put_back(w: World, tag: str, generation: bytes) -> None:
    w.memory._generations["default", tag] = generation


@pytest.mark.parametrize("who", ["forgets", "hears"])
@pytest.mark.parametrize("tag", ["invoice", ""])
@virtual
async def test_a_generation_that_comes_back_is_not_believed(w: World, who: str, tag: str) -> None:
    """A failover lost the forgetting, or somebody put it back: it is made good for the fleet."""
    one, two, late = (w.cache(l1=None) for _ in range(3))
    provider = w.provider()
    provider.answer("old")
    assert [await ask(cache, provider) for cache in (one, two)] == ["old", "old"]
    await w.turns()
    (before,) = await w.memory.generations("default", (tag,), 60.0)
    await forget(one, "tag" if tag else "clear")
    remembers = one if who == "forgets" else two
    await asyncio.sleep(1.1)
    assert await remembers.peek("k") is None
    put_back(w, tag, before)
    await asyncio.sleep(1.1)
    assert await remembers.peek("k") is None
    provider.answer("new")
    assert await ask(late, provider) == "new"
    await w.turns()
    assert [await ask(cache, provider) for cache in (one, two, late)] == ["new"] * 3
    assert provider.calls == 2


@pytest.mark.parametrize("way", WAYS)
@virtual
async def test_who_asks_while_a_forgetting_is_on_its_way_does_not_forget_again(
    w: World, way: str
) -> None:
    """The store tells the old generation until then: that is none that came back."""
    cache, provider = w.cache(), w.provider()
    provider.answer("old")
    await ask(cache, provider)
    await w.turns()
    w.store.hold("renew_generation")
    forgetting = asyncio.ensure_future(forget(cache, way))
    await w.store.until_held("renew_generation")
    provider.answer("new")
    told = w.store.calls["generations"]
    asking = asyncio.ensure_future(ask(cache, provider))
    await w.turns()
    # asked twice, of the namespace and the tag: a prompt store is asked for each by itself
    assert w.store.calls["generations"] == told + (4 if w.prompt else 2)
    w.store.heal()
    await forgetting
    assert await asking == "new"
    assert w.store.calls["renew_generation"] == 1


@virtual
async def test_replies_that_overtake_each_other_end_no_generation(w: World) -> None:
    """Asked at one time and told two things, nobody knows which is over: ask again."""
    cache = w.cache()
    copies, now = cache._rooms.copies, w.clock.now
    assert copies.learn("default", ("",), (b"1" * 16,), 0, now())
    asked = now()
    await asyncio.sleep(0.5)
    assert copies.learn("default", ("",), (b"2" * 16,), 0, now())
    assert not copies.learn("default", ("",), (b"1" * 16,), 0, asked)
    assert not copies.learn("default", ("", "t"), (b"3" * 16, b"4" * 16), 0, asked)
    assert copies.of("default", ("",)) == (b"2" * 16,)
    assert copies.over("default", ("",), (b"3" * 16,)) == ()
    assert copies.over("default", ("",), (b"1" * 16,)) == ("",)


@virtual
async def test_a_store_that_cannot_forget_a_tag_says_so(w: World) -> None:
    """This process asks the store for the next ones all the same."""
    cache, provider = w.cache(), w.provider()
    provider.answer("old")
    await ask(cache, provider)
    await w.turns()
    w.store.raise_on("renew_generation")
    for way in WAYS:
        with pytest.raises(StoreError, match="renew_generation: fault"):
            await forget(cache, way)


@virtual
async def test_generations_that_cannot_be_read_cost_money_and_no_answer(w: World) -> None:
    """What this process knows counts for a few seconds more; then every answer is its own."""
    one, cold, provider = w.cache(l1=None), w.cache(l1=None), w.provider()
    provider.answer("old")
    await ask(one, provider)
    await w.turns()
    w.store.raise_on("generations")
    provider.answer("new")
    await asyncio.sleep(2)
    assert await ask(one, provider) == "old"
    assert await ask(cold, provider) == "new"
    await w.turns()
    await asyncio.sleep(10)
    assert await ask(one, provider) == "new"
    w.store.heal()
    assert await ask(cold, provider) == await ask(one, provider)
    assert cold.statistics().errors == one.statistics().errors == 0


@virtual
async def test_generations_on_a_lost_node(w: World) -> None:
    """While other nodes answer they count until a replica has surely taken over, not for ever."""
    w.store.in_parts = True  # type: ignore[attr-defined]
    cache, provider = w.cache(l1=None), w.provider()
    provider.answer("old")
    await ask(cache, provider)
    await w.turns()
    w.store.raise_on("generations")
    for _ in range(3):
        await asyncio.sleep(9)
        assert await ask(cache, provider) == "old"
        assert provider.calls == 1
    await asyncio.sleep(9)
    provider.answer("new")
    assert await ask(cache, provider) == "new"


@virtual
async def test_silence_about_generations_is_waited_for_once(w: World) -> None:
    """Not by every hit: for a second what is known will do, and then the store is asked again."""
    cache, provider = w.cache(l1=None), w.provider()
    provider.answer("old")
    await ask(cache, provider)
    await asyncio.sleep(2)
    w.store.hold("generations")
    begun = w.clock.now()
    for _ in range(3):
        assert await ask(cache, provider) == "old"
        assert w.clock.now() - begun == pytest.approx(0.2 * SHARE)
    w.store.heal()
    await forget(w.cache(l1=None), "tag")
    await asyncio.sleep(1)
    provider.answer("new")
    assert await ask(cache, provider) == "new"
    assert w.clock.now() - begun == pytest.approx(1 + 0.2 * SHARE)


@virtual
async def test_no_tags_cost_nothing(w: World) -> None:
    """Hits in L1 ask nobody; for the rest, one question a second is for the namespace."""
    cache, provider = w.cache(), w.provider()
    provider.answer("yes")
    for number in range(50):
        await cache.get_or_call(f"k{number}", provider)
    await w.turns()
    assert w.store.calls["generations"] == 1
    for number in range(50):
        await cache.get_or_call(f"k{number}", provider)
    assert w.store.calls["generations"] == 1
    assert cache.statistics().l1_hits == 50


@pytest.mark.parametrize(
    "tags", ["invoice", b"invoice", 5, None, ("",), (5,), ("x" * 201,), [str(n) for n in range(33)]]
)
@virtual
async def test_tags_are_refused_by_name(w: World, tags: Any) -> None:
    """A string is no collection of tags."""
    cache = w.cache()
    if tags is None:
        with pytest.raises(ConfigurationError, match=r"^tags takes"):
            await cache.forget_tag(tags)
        return
    with pytest.raises(ConfigurationError, match=r"^tags takes"):
        await cache.get_or_call("k", w.provider(), tags=tags)


@virtual
async def test_an_entry_without_generations_is_a_miss(w: World) -> None:
    """One of before there were any: nobody knows what was forgotten since."""
    key, cache, provider = key_from("k", "default"), w.cache(), w.provider()
    payload = Payload("plain", b"\xa3old")
    entry = Entry(Kind.VALUE, payload, new_stamp(), 60.0, 60.0)
    await w.memory.set(key, encode_entry(key, entry), 60.0)
    provider.answer("new")
    assert await cache.peek("k") is None
    assert await cache.get_or_call("k", provider) == "new"
    await w.turns()
    assert await cache.peek("k") == "new"


@virtual
async def test_in_its_own_flight_and_many_at_once(w: World) -> None:
    """A hundred calls with a tag, forgotten in between each two of them."""
    cache = w.cache()
    made = 0

    async def call() -> int:
        nonlocal made
        made += 1
        mine = made
        await cache.forget_tag("invoice")  # of itself: it is answered, and not kept
        return mine

    for expected in (1, 2):
        assert await ask(cache, call) == expected
        await w.turns()
    tasks = [asyncio.ensure_future(ask(cache, call, str(number))) for number in range(100)]
    assert sorted(await asyncio.gather(*tasks)) == list(range(3, 103))


def test_a_key_keeps_its_namespace_in_a_variant() -> None:
    """Variants are keys like others; the first one is the key itself."""
    from samecall._key import variant_of

    key = Key(b"k" * 32, "space")
    keys = {variant_of(key, number) for number in range(50)}
    assert len(keys) == 50
    assert variant_of(key, 0) == key
    assert {each.namespace for each in keys} == {"space"}


@virtual
async def test_what_was_forgotten_in_flight_is_kept_nowhere_for_no_moment(w: World) -> None:
    """Not in L1 while the store still thinks about the commit: there is no commit."""
    cache, provider = w.cache(), w.provider()
    old = asyncio.ensure_future(cache.get_or_call("k", provider))
    await provider.until_waiting(1)
    await cache.forget("k")
    w.store.hold("commit")
    provider.answer_one("old")
    assert await old == "old"
    with pytest.raises(CacheMiss):
        await cache.get_or_call("k", provider, mode="only")
    await w.turns()
    assert w.store.calls["commit"] == 0
    w.store.heal()


@virtual
async def test_an_error_of_before_a_clear_is_waited_past(w: World) -> None:
    """It answers nobody, lies there for its time, and hides neither a leader nor its answer."""
    one, two, three = (w.cache() for _ in range(3))
    failing, answering, spare = w.provider(), w.provider(), w.provider()
    first = asyncio.ensure_future(one.get_or_call("k", failing, codec=FleetCodec()))
    await failing.until_waiting(1)
    await two.clear()
    failing.fail(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await first
    await w.turns()
    leads = asyncio.ensure_future(two.get_or_call("k", answering, codec=FleetCodec()))
    await answering.until_waiting(1)
    follows = asyncio.ensure_future(three.get_or_call("k", spare, codec=FleetCodec()))
    await asyncio.sleep(0.5)  # of virtual time: less than the error is kept for
    answering.answer("yes")
    assert [await leads, await follows] == ["yes", "yes"]
    assert (failing.calls, answering.calls, spare.calls) == (1, 1, 0)


@virtual
async def test_a_value_that_came_while_an_error_was_refused(w: World) -> None:
    """Between the ACQUIRE that meets the error and the one that asks past it."""
    one, two, three = (w.cache(l1=None) for _ in range(3))
    failing, answering, spare = w.provider(), w.provider(), w.provider()
    first = asyncio.ensure_future(one.get_or_call("k", failing, codec=FleetCodec()))
    await failing.until_waiting(1)
    await two.clear()
    failing.fail(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await first
    await w.turns()
    leads = asyncio.ensure_future(two.get_or_call("k", answering, codec=FleetCodec()))
    await answering.until_waiting(1)
    acquire, asked = w.memory.acquire, 0

    async def between(key: Any, token: bytes, seen: bytes, lease: float) -> Any:
        nonlocal asked
        if seen == SEEN_ANY:
            asked += 1
            answering.answer("yes")
            assert await leads == "yes"
            await w.turns()
        return await acquire(key, token, seen, lease)

    w.memory.acquire = between  # type: ignore[method-assign]
    assert await three.get_or_call("k", spare, codec=FleetCodec()) == "yes"
    assert (asked, spare.calls) == (1, 0)
