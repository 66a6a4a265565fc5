"""A leader that loses its lease, or whose answer is forgotten elsewhere, is joined by nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from core_streams import Consumer, Source
from core_support import FleetCodec, World, virtual

from samecall import Cache, Entry, Payload, Policy, RemoteCallError
from samecall._entry import Kind, encode_entry, new_stamp
from samecall._errors import StoreError, StoreUnreachable
from samecall._key import key_from
from samecall._ports import Lead, Wait
from samecall._stamps import new_token

KEY = key_from("k", "default", None)
STRANGER = new_token(KEY)
TICK = 5.0 / 3
"""Seconds between two renewals of a lease of 5 s."""

WAYS: dict[str, Callable[[Cache], Awaitable[object]]] = {
    "key": lambda cache: cache.forget("k"),
    "tag": lambda cache: cache.forget_tag("t"),
    "clear": lambda cache: cache.clear(),
}


def ask(cache: Cache, provider: Any, **more: Any) -> asyncio.Task[Any]:
    return asyncio.ensure_future(cache.get_or_call("k", provider, tags=("t",), **more))


async def renewed(w: World) -> None:
    """Until the leader has looked after its lease once more."""
    await asyncio.sleep(TICK + 0.01)
    await w.turns()


async def each_has_its_own(
    w: World, old: Any, before: list[asyncio.Task[Any]], new: Any, after: asyncio.Task[Any]
) -> None:
    """Who asked before a `forget` has the old answer, and who asked after it the new one."""
    await w.turns()
    old.answer("old")
    assert [await each for each in before] == ["old"] * len(before)
    await w.turns()
    assert new.waiting == 1
    new.answer("new")
    assert await after == "new"
    await w.turns()


def keeping() -> int:
    """How many tasks keep a lease."""
    coros = (task.get_coro() for task in asyncio.all_tasks())
    return sum(getattr(coro, "__qualname__", "") == "Hold._keep" for coro in coros)


@virtual
async def test_a_lease_takes_no_task_before_there_is_something_to_do(w: World) -> None:
    """Most calls are over by then: a timer is enough, and ends with them."""
    cache = w.cache()
    for wait in (TICK / 2, TICK * 1.5):
        provider = w.provider()
        leads = ask(cache, provider, mode="refresh")
        await provider.until_waiting(1)
        await asyncio.sleep(wait)
        assert keeping() == (wait > TICK)
        assert w.store.calls["renew"] == (wait > TICK)
        provider.answer("yes")
        assert await leads == "yes"
        await asyncio.sleep(TICK * 2)
        assert keeping() == 0
        assert w.store.calls["renew"] == (wait > TICK)


@pytest.mark.parametrize("way", WAYS)
@virtual
async def test_who_asks_after_a_forget_elsewhere_has_a_call_of_its_own(w: World, way: str) -> None:
    """In the process that makes the old call, too, as soon as that has looked after its lease."""
    one, two, old, new = w.cache(), w.cache(), w.provider(), w.provider()
    leads = ask(one, old)
    await old.until_waiting(1)
    joined = ask(one, old)
    await WAYS[way](two)
    await renewed(w)
    after = ask(one, new)
    await each_has_its_own(w, old, [leads, joined], new, after)
    assert await one.peek("k") == await two.peek("k") == "new"
    assert await ask(one, old) == "new"
    assert (old.calls, new.calls) == (1, 1)


@virtual
async def test_a_lease_that_came_back_unheard_is_asked_about_again(w: World) -> None:
    """RENEW says that it is ours; only the reply that was lost would have told of the `forget`."""
    one, two, old, new = w.cache(), w.cache(), w.provider(), w.provider()
    leads = ask(one, old)
    await old.until_waiting(1)
    await two.forget("k")
    w.store.lose_reply("acquire", error=StoreUnreachable("lost"))
    await renewed(w)
    await renewed(w)
    after = ask(one, new)
    await each_has_its_own(w, old, [leads], new, after)


@pytest.mark.parametrize("way", WAYS)
@virtual
async def test_who_asks_for_a_stream_after_a_forget_elsewhere_has_one_of_its_own(
    w: World, way: str
) -> None:
    """And who had asked before has all of the old one, where its recording was not forgotten."""
    one, two, old, new = w.cache(), w.cache(), Source(), Source()
    leads = Consumer(one.stream("k", old, tags=("t",)))
    await w.turns()
    old.put("old")
    await asyncio.sleep(0.06)
    joined = Consumer(one.stream("k", old, tags=("t",)))
    await w.turns()
    assert joined.got == ["old"]
    await WAYS[way](two)
    await renewed(w)
    after = Consumer(one.stream("k", new, tags=("t",)))
    await asyncio.sleep(0.06)
    assert after.got == []
    old.put("old too", None)
    assert await leads.task == await joined.task == ["old", "old too"]
    new.put("new", None)
    assert await after.task == ["new"]
    assert (old.calls, new.calls) == (1, 1)


@pytest.mark.parametrize("way", ["key", "clear"])
@virtual
async def test_what_is_told_of_is_looked_into_at_once(w: World, way: str) -> None:
    """Where the server tells of changes, no time goes by."""
    one, two, old, new = w.cache(), w.cache(), w.provider(), w.provider()
    leads = ask(one, old)
    await old.until_waiting(1)
    await WAYS[way](two)
    trust = one._rooms.here().trust
    if way == "key":
        trust.changed(key_from("another", "default", None), b"")
        trust.changed(KEY, b"")
    else:
        trust.renewed("default", "")
    before = w.clock.now()
    await w.turns()
    assert w.store.calls["renew"] == 1
    after = ask(one, new)
    await w.turns()
    old.answer("old")
    new.answer("new")
    assert [await leads, await after] == ["old", "new"]
    assert w.clock.now() == before


@virtual
async def test_a_change_of_what_a_call_does_not_bear_costs_it_nothing(w: World) -> None:
    """Many tags change while few calls are in the air."""
    one, provider = w.cache(), w.provider()
    leads = ask(one, provider)
    await provider.until_waiting(1)
    trust = one._rooms.here().trust
    for namespace, tag, renewals in (
        ("default", "u", 0), ("another", "", 0), ("default", "t", 1), ("default", "", 2)
    ):  # fmt: skip
        trust.renewed(namespace, tag)
        await w.turns()
        assert w.store.calls["renew"] == renewals
    provider.answer("yes")
    assert await leads == "yes"


@virtual
async def test_a_change_that_was_no_forget_costs_a_renewal(w: World) -> None:
    """Callers still join, and the answer is stored."""
    one, provider = w.cache(), w.provider()
    leads = ask(one, provider)
    await provider.until_waiting(1)
    for _ in range(3):
        one._rooms.here().trust.changed(KEY, b"")
        await w.turns()
    assert w.store.calls["renew"] == 3
    joins = ask(one, provider)
    await w.turns()
    provider.answer("yes")
    assert [await leads, await joins] == ["yes", "yes"]
    await w.turns()
    assert await one.peek("k") == "yes"
    assert provider.calls == 1


@pytest.mark.parametrize("kind", ["call", "stream"])
@virtual
async def test_a_lease_that_had_run_out_is_taken_again(w: World, kind: str) -> None:
    """Nobody has led meanwhile: who asks here joins, who asks elsewhere waits, for one call."""
    one, provider, source = w.cache(), w.provider(), Source()
    if kind == "call":
        leads = ask(one, provider)
        await provider.until_waiting(1)
    else:
        leads = Consumer(one.stream("k", source)).task
        await w.turns()
        source.put("a")
        await asyncio.sleep(0.06)
    w.memory._leases.free_all()
    await renewed(w)
    assert isinstance(await w.memory.acquire(KEY, STRANGER, b"", 5.0), Wait)
    await asyncio.sleep(30)
    assert isinstance(await w.memory.acquire(KEY, STRANGER, b"", 5.0), Wait)
    two = w.cache()
    if kind == "call":
        joined = [ask(one, provider), ask(two, provider)]
        await w.turns()
        provider.answer("yes")
        assert await asyncio.gather(leads, *joined) == ["yes"] * 3
        assert provider.calls == 1
    else:
        here, there = (Consumer(cache.stream("k", source)) for cache in (one, two))
        await asyncio.sleep(0.06)
        source.put("b", None)
        assert await asyncio.gather(leads, here.task, there.task) == [["a", "b"]] * 3
        assert source.calls == 1
    await w.turns()
    assert one.statistics().stored == 1


@virtual
async def test_what_another_has_answered_meanwhile_answers(w: World) -> None:
    """The lease was lost, somebody led and committed: who asks here has that, and L1 as well."""
    one, old, new = w.cache(), w.provider(), w.provider()
    leads = ask(one, old)
    await old.until_waiting(1)
    w.memory._leases.free_all()
    assert isinstance(await w.memory.acquire(KEY, STRANGER, b"", 5.0), Lead)
    names = ("", "t")
    made = Entry(
        Kind.VALUE, Payload("plain", b"\xa6theirs"), new_stamp(), 60.0, 60.0, tags=("t",),
        generations=await w.memory.generations("default", names, 60.0),
    )  # fmt: skip
    assert await w.memory.commit(KEY, STRANGER, b"", encode_entry(KEY, made), 60.0)
    await renewed(w)
    assert await ask(one, new) == "theirs"
    old.answer("ours")
    assert await leads == "ours"
    await w.turns()
    assert await ask(one, new) == "theirs"
    assert (one.statistics().stored, new.calls) == (0, 0)


@pytest.mark.parametrize("ends", ["answers", "fails"])
@virtual
async def test_who_asks_here_follows_the_new_leader(w: World, ends: str) -> None:
    """The lease was lost and another leads: nobody here makes a call of its own."""
    one, two, old, new = w.cache(), w.cache(), w.provider(), w.provider()
    codec = FleetCodec()
    leads = ask(one, old)
    await old.until_waiting(1)
    w.memory._leases.free_all()
    theirs = ask(two, new, codec=codec)
    await new.until_waiting(1)
    await renewed(w)
    after = ask(one, old, codec=codec)
    await w.turns()
    if ends == "answers":
        new.answer("theirs")
        assert [await theirs, await after] == ["theirs", "theirs"]
    else:
        new.fail(ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            await theirs
        with pytest.raises(RemoteCallError):
            await after
    old.answer("ours")
    assert await leads == "ours"
    assert (old.calls, new.calls) == (1, 1)


@virtual
async def test_an_answer_to_the_second_question_that_does_not_come(w: World) -> None:
    """RENEW tells whether it was carried out."""
    one, provider = w.cache(), w.provider()
    leads = ask(one, provider)
    await provider.until_waiting(1)
    w.memory._leases.free_all()
    w.store.hold("acquire", times=1)
    await renewed(w)
    await w.store.until_held("acquire")
    await asyncio.sleep(0.3)
    w.store.heal()
    await renewed(w)
    await renewed(w)
    assert isinstance(await w.memory.acquire(KEY, STRANGER, b"", 5.0), Wait)
    provider.answer("yes")
    assert await leads == "yes"
    await w.turns()
    assert one.statistics().stored == 1


@pytest.mark.parametrize("ends", ["answers", "fails", "leaves"])
@pytest.mark.parametrize("forgotten", [True, False], ids=["forgotten", "lapsed"])
@virtual
async def test_a_call_that_ends_while_it_asks_again_leaves_no_lease(
    w: World, ends: str, forgotten: bool
) -> None:
    """The ACQUIRE may be carried out after whatever ended the call."""
    policy = Policy(on_abandon="abandon")
    one, provider = w.cache(policy), w.provider()
    leads = ask(one, provider, codec=FleetCodec())
    await provider.until_waiting(1)
    if forgotten:
        await w.memory.forget(KEY, 60.0)
    w.memory._leases.free_all()
    w.store.hold("acquire", times=1)
    await asyncio.sleep(TICK + 0.01)
    await w.store.until_held("acquire")
    if ends == "answers":
        provider.answer("yes")
        assert await leads == "yes"
    elif ends == "fails":
        provider.fail(ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            await leads
    else:
        leads.cancel()
        await asyncio.wait([leads])
    await w.turns()
    w.store.heal()
    await w.turns()
    await asyncio.sleep(10)
    assert w.memory.statistics().leases == 0


@virtual
async def test_while_the_store_is_away_callers_join(w: World) -> None:
    """Nobody knows of a forget, nor of generations: a process takes what it has."""
    one, provider = w.cache(l1=None), w.provider()
    leads = ask(one, provider)
    await provider.until_waiting(1)
    w.store.raise_on("renew", "generations", "acquire")
    await asyncio.sleep(20)
    joins = ask(one, provider)
    await w.turns()
    w.store.heal()
    provider.answer("yes")
    assert [await leads, await joins] == ["yes", "yes"]
    assert provider.calls == 1


@virtual
async def test_a_lease_taken_by_a_forgotten_call_is_given_back(w: World) -> None:
    """To find out about a `forget` it has to take the lease: nobody waits for that."""
    one, two, old, new = w.cache(), w.cache(), w.provider(), w.provider()
    leads = ask(one, old)
    await old.until_waiting(1)
    await w.memory.forget(KEY, 60.0)
    await renewed(w)
    before = w.clock.now()
    new.answer("new")
    assert await ask(two, new) == "new"
    assert w.clock.now() == before
    old.answer("old")
    assert await leads == "old"


@virtual
async def test_a_commit_that_takes_long_is_not_asked_for_again(w: World) -> None:
    """It has freed its lease, and its answer has only not come yet."""
    one, provider = w.cache(), w.provider()
    provider.answer("yes")
    w.store.hold("commit", times=1)
    assert await ask(one, provider) == "yes"
    await w.store.until_held("commit")
    w.memory._leases.free_all()
    asked = w.store.calls["acquire"]
    await asyncio.sleep(4)
    assert w.store.calls["acquire"] == asked
    w.store.heal()
    await w.turns()


@virtual
async def test_no_copy_is_made_of_what_was_overtaken(w: World) -> None:
    """The newer answer stays in memory, also while the COMMIT that is refused is on its way."""
    one, two, old, new = w.cache(), w.cache(), w.provider(), w.provider()
    leads = ask(one, old)
    await old.until_waiting(1)
    w.memory._leases.free_all()
    new.answer("theirs")
    assert await ask(two, new) == "theirs"
    await renewed(w)
    assert await ask(one, new) == "theirs"
    w.store.hold("commit", times=1)
    old.answer("ours")
    await w.store.until_held("commit")
    assert one.at_hand(KEY, FleetCodec()) == "theirs"
    w.store.heal()
    assert await leads == "ours"


async def away(w: World, cache: Cache, provider: Any) -> asyncio.Task[Any]:
    """A call that is begun without the store, by a process that has known it."""
    known = w.provider()
    known.answer("yes")
    await cache.get_or_call("other", known, tags=("t",))
    w.store.raise_on("acquire", "generations", "renew", error=StoreError("LOADING"))
    asking = ask(cache, provider)
    await provider.until_waiting(1)
    return asking


@pytest.mark.parametrize("way", WAYS)
@virtual
async def test_who_asks_after_a_forget_joins_no_call_begun_without_the_store(
    w: World, way: str
) -> None:
    """As soon as the store is back, the call looks whether it still answers anybody."""
    one, two, old, new = w.cache(), w.cache(), w.provider(), w.provider()
    leads = await away(w, one, old)
    joined = ask(one, old)
    await renewed(w)
    w.store.heal()
    await WAYS[way](two)
    await renewed(w)
    after = ask(one, new)
    await each_has_its_own(w, old, [leads, joined], new, after)
    assert await one.peek("k") == await two.peek("k") == "new"
    assert old.calls == 1


@virtual
async def test_a_call_begun_without_the_store_holds_a_lease_once_it_is_back(w: World) -> None:
    """Who asks elsewhere waits for it, and who asks here joins it."""
    one, two, provider = w.cache(), w.cache(), w.provider()
    leads = await away(w, one, provider)
    w.store.heal()
    await renewed(w)
    waits, joins = ask(two, provider), ask(one, provider)
    await asyncio.sleep(20)
    assert provider.waiting == 1
    provider.answer("yes")
    assert [await leads, await waits, await joins] == ["yes"] * 3
    await w.turns()
    assert provider.calls == 1


async def until(consumer: Consumer, *items: str) -> None:
    """Until it has had these."""
    while consumer.got != [*items]:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("way", WAYS)
@virtual
async def test_who_asks_after_a_forget_joins_no_call_that_knew_no_generations(
    w: World, way: str
) -> None:
    """Its process had never met the store: of what it makes nobody can say that it still counts."""
    one, two, old, new = w.cache(), w.cache(), w.provider(), w.provider()
    w.store.raise_on("acquire", "generations", "renew", error=StoreError("LOADING"))
    leads = ask(one, old)
    await old.until_waiting(1)
    w.store.heal()
    await WAYS[way](two)
    await renewed(w)
    await each_has_its_own(w, old, [leads], new, ask(one, new))
    assert await one.peek("k") == await two.peek("k") == "new"


async def stream_away(w: World, cache: Cache, source: Source) -> Consumer:
    """A stream that is begun without the store, by a process that has known it."""
    known = w.provider()
    known.answer("yes")
    await cache.get_or_call("other", known, tags=("t",))
    w.store.raise_on("acquire", "generations", "renew", error=StoreError("LOADING"))
    leads = Consumer(cache.stream("k", source, tags=("t",)))
    source.put("old")
    await until(leads, "old")
    return leads


@pytest.mark.parametrize("way", WAYS)
@virtual
async def test_who_asks_after_a_forget_joins_no_stream_begun_without_the_store(
    w: World, way: str
) -> None:
    """It looks as soon as the store is back, and goes on looking."""
    one, two, old, new = w.cache(), w.cache(), Source(), Source()
    leads = await stream_away(w, one, old)
    w.store.heal()
    await renewed(w)
    joined = Consumer(one.stream("k", old, tags=("t",)))
    await until(joined, "old")
    await renewed(w)
    await WAYS[way](two)
    await renewed(w)
    after = Consumer(one.stream("k", new, tags=("t",)))
    await asyncio.sleep(0.06)
    old.put(None)
    new.put("new", None)
    assert await leads.task == await joined.task == ["old"]
    assert await after.task == ["new"]
    assert (old.calls, new.calls) == (1, 1)


@virtual
async def test_a_stream_begun_without_the_store_keeps_no_lease(w: World) -> None:
    """Nobody elsewhere waits for what he could not follow; who asks here joins it."""
    one, two, old, new = w.cache(), w.cache(), Source(), Source()
    leads = await stream_away(w, one, old)
    w.store.heal()
    for _ in range(3):
        await renewed(w)
        assert w.memory.statistics().leases == 0
    joined = Consumer(one.stream("k", old, tags=("t",)))
    await until(joined, "old")
    elsewhere = Consumer(two.stream("k", new, tags=("t",)))
    new.put("new", None)
    assert await elsewhere.task == ["new"]
    old.put(None)
    assert await leads.task == await joined.task == ["old"]
    assert (old.calls, new.calls) == (1, 1)


@virtual
async def test_a_lease_that_came_late_tells_of_no_forget(w: World) -> None:
    """A RENEW finds it, and it may be younger than a `forget`: the epoch has to be asked for."""
    one, two, old, new = w.cache(), w.cache(), w.provider(), w.provider()
    w.store.hold("acquire")
    leads = ask(one, old)
    await old.until_waiting(1)
    await two.forget("k")
    w.store.heal("acquire")  # carried out only now
    await renewed(w)
    after = ask(one, new)
    await w.turns()
    assert new.waiting == 1
    old.answer("old")
    new.answer("new")
    assert [await leads, await after] == ["old", "new"]
    await w.turns()
    assert await two.peek("k") == "new"
