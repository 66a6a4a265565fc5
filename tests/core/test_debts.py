"""Leases that nobody holds any more are given back, however the RELEASE and the ACQUIRE fared."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from core_support import World, virtual

from samecall import Cache, Policy
from samecall._debts import Debts
from samecall._entry import Key
from samecall._errors import NodeUnreachable, StoreError, StoreUnreachable
from samecall._ports import Acquired, Lead
from samecall.testing import FaultyStore, GatedProvider

POLICY = Policy(lease=600, on_abandon="abandon")


class SlowRoad(FaultyStore):
    """An ACQUIRE sets out, its connection is given up, and it arrives when `arrive` is called."""

    def __init__(self, store: Any, error: StoreError) -> None:
        super().__init__(store)
        self.error = error
        self.under_way: list[tuple[Key, bytes, bytes, float]] = []

    async def acquire(self, key: Key, token: bytes, seen: bytes, lease: float) -> Acquired:
        self.calls["acquire"] += 1
        self.under_way.append((key, token, seen, lease))
        raise self.error

    async def arrive(self) -> None:
        for each in self.under_way:
            await self.store.acquire(*each)


async def abandon(w: World, cache: Cache) -> None:
    """Ask, lead, and walk away."""
    provider: GatedProvider[str] = w.provider()
    asking = asyncio.ensure_future(cache.get_or_call("k", provider))
    await provider.until_waiting(1)
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    await w.turns()


def leases(w: World) -> int:
    return w.memory.statistics().leases


@virtual
async def test_a_release_that_is_not_sent_is_owed(w: World) -> None:
    """The breaker is open when the leader gives up; its lease is freed once the store is back."""
    cache, provider = w.cache(POLICY), w.provider()
    asking = asyncio.ensure_future(cache.get_or_call("k", provider))
    await provider.until_waiting(1)
    w.store.raise_on("acquire", "ping", "release", error=StoreUnreachable("gone"))
    await abandon_other(w, cache)  # opens the breaker
    sent = w.store.calls["release"]
    asking.cancel()
    await asyncio.wait({asking})
    await w.turns()
    assert (w.store.calls["release"], leases(w)) == (sent, 1)
    w.store.heal()
    await asyncio.sleep(2)
    assert leases(w) == 0


async def abandon_other(w: World, cache: Cache) -> None:
    provider: GatedProvider[str] = w.provider()
    provider.answer("other")
    assert await cache.get_or_call("other", provider) == "other"
    await w.turns()


@pytest.mark.parametrize("fault", ["raise", "lose"])
@virtual
async def test_a_release_that_is_lost_is_sent_again(w: World, fault: str) -> None:
    """Its first sending came to nothing, or nobody knows what it came to."""
    cache, provider = w.cache(POLICY), w.provider()
    asking = asyncio.ensure_future(cache.get_or_call("k", provider))
    await provider.until_waiting(1)
    if fault == "raise":
        w.store.raise_on("release", times=3)
    else:
        w.store.lose_reply("release")
    asking.cancel()
    await asyncio.wait({asking})
    await asyncio.sleep(10)
    assert leases(w) == 0
    assert w.store.calls["release"] == (4 if fault == "raise" else 2)


@pytest.mark.parametrize(
    "error", [StoreUnreachable("silent"), NodeUnreachable("silent")], ids=["store", "node"]
)
@virtual
async def test_an_acquire_that_comes_after_its_release(w: World, error: StoreError) -> None:
    """Given up, released in vain, and only then carried out: its lease is freed all the same."""
    road = SlowRoad(w.memory, error)
    await abandon(w, w.cache(POLICY, store=road))
    await asyncio.sleep(0.3)  # of virtual time, in which the breaker closes again
    assert (road.calls["release"] > 0, leases(w)) == (True, 0)
    await road.arrive()
    assert leases(w) == 1
    await asyncio.sleep(5)
    assert leases(w) == 0


@virtual
async def test_an_acquire_that_comes_after_an_error_was_told(w: World) -> None:
    """Nothing of that error is kept, so that nothing else would stop the lease."""
    road = SlowRoad(w.memory, NodeUnreachable("silent"))
    cache, provider = w.cache(POLICY, store=road), w.provider()
    provider.fail(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await cache.get_or_call("k", provider)
    await w.turns()
    await road.arrive()
    await asyncio.sleep(5)
    assert leases(w) == 0


@virtual
async def test_an_acquire_whose_caller_has_gone(w: World) -> None:
    """Cancelled while the ACQUIRE was on its way, which was done and whose reply was then lost."""
    cache, provider = w.cache(POLICY), w.provider()
    gate = asyncio.Event()
    acquire = w.memory.acquire

    async def slow(*args: Any) -> Acquired:
        await gate.wait()
        await acquire(*args)
        raise StoreUnreachable("lost")

    w.memory.acquire = slow  # type: ignore[method-assign]
    asking = asyncio.ensure_future(cache.get_or_call("k", provider))
    await w.turns()
    asking.cancel()
    await asyncio.wait({asking})
    await w.turns()
    assert w.store.calls["release"] == 1  # too early
    gate.set()
    await w.turns()
    assert leases(w) == 1
    await asyncio.sleep(5)
    assert leases(w) == 0


@virtual
async def test_an_acquire_that_is_heard_of_before_its_release(w: World) -> None:
    """The RELEASE was carried out first, in vain; of the two replies the ACQUIRE's comes first."""
    cache, provider = w.cache(POLICY), w.provider()
    acquired, released = asyncio.Event(), asyncio.Event()
    acquire, release = w.memory.acquire, w.memory.release

    async def slow_there(*args: Any) -> Acquired:
        await acquired.wait()
        return await acquire(*args)

    async def slow_back(*args: Any) -> bool:
        freed = await release(*args)
        await released.wait()
        return freed

    w.memory.acquire, w.memory.release = slow_there, slow_back  # type: ignore[method-assign]
    asking = asyncio.ensure_future(cache.get_or_call("k", provider))
    await w.turns()
    asking.cancel()
    await asyncio.wait({asking})
    await w.turns()
    acquired.set()
    await w.turns()
    assert (w.store.calls["release"], leases(w)) == (1, 1)
    released.set()
    await asyncio.sleep(1)
    assert leases(w) == 0


@virtual
async def test_an_acquire_that_is_answered_much_later(w: World) -> None:
    """After a minute, when nobody tries any more, its reply tells of a lease that nobody wants."""
    w.store.hold("acquire")
    await abandon(w, w.cache(POLICY))
    await asyncio.sleep(60)
    w.store.heal()
    await w.turns()
    assert leases(w) == 0
    assert w.store.calls["acquire"] == 1


@virtual
async def test_closing_pays_what_is_owed(w: World) -> None:
    """Without waiting for its turn."""
    cache, provider = w.cache(POLICY), w.provider()
    asking = asyncio.ensure_future(cache.get_or_call("k", provider))
    await provider.until_waiting(1)
    w.store.raise_on("release", times=1)
    asking.cancel()
    await asyncio.wait({asking})
    await w.turns()
    assert leases(w) == 1
    before = w.clock.now()
    await cache.aclose()
    assert (leases(w), w.clock.now()) == (0, before)


@virtual
async def test_what_was_never_sent_is_not_owed(w: World) -> None:
    """While the store is away nobody asks it, and its return brings no flood of RELEASEs."""
    cache, provider = w.cache(POLICY), w.provider()
    provider.answer("yes")
    w.store.raise_on("acquire", "commit", "ping", "release", error=StoreUnreachable("gone"))
    for number in range(20):
        assert await cache.get_or_call(f"k{number}", provider) == "yes"
    w.store.heal()
    await asyncio.sleep(10)
    assert w.store.calls["acquire"] == 1
    assert w.store.calls["release"] <= 6  # of the first one, whose fate is in doubt


async def test_a_claim_that_asked_nobody_owes_nothing() -> None:
    """Whatever its end says of a lease; one that was sent, and of which nobody knows, is owed."""

    async def nobody(_key: Key, _token: bytes) -> None:
        raise AssertionError("nobody is to be asked")

    debts, key = Debts(nobody, asyncio.ensure_future, lambda: False), Key(b"k" * 32)
    for freed in (None, False):
        for doubted in (False, True):
            debts.settled(key, b"never sent", freed=freed, doubted=doubted)
    assert len(debts) == 0
    debts.sent(b"sent")
    debts.settled(key, b"sent", freed=None, doubted=True)
    assert len(debts) == 1
    await debts.aclose(0)


@virtual
async def test_a_call_that_went_well_owes_nothing(w: World) -> None:
    """Neither a hit, nor a follower, nor a leader sends a RELEASE."""
    one, two, provider = w.cache(), w.cache(), w.provider()
    led = asyncio.ensure_future(one.get_or_call("k", provider))
    await provider.until_waiting(1)
    followed = asyncio.ensure_future(two.get_or_call("k", provider))
    await w.turns()
    provider.answer("yes")
    assert [await led, await followed, await two.get_or_call("k", provider)] == ["yes"] * 3
    await asyncio.sleep(10)
    assert w.store.calls["release"] == 0


@virtual
async def test_each_acquire_under_a_token_is_in_doubt_by_itself(w: World) -> None:
    """A lost lease is asked for again; the reply to the second time says nothing of the first."""
    key, token = Key(bytes(32), "default"), b"t" * 16
    lead = await w.memory.acquire(key, token, b"", 60)
    freed: list[bytes] = []

    async def release(_: Key, token: bytes) -> bool:
        freed.append(token)
        return len(freed) == 2  # the first comes before the ACQUIRE that is under way

    debts = Debts(release, asyncio.ensure_future, lambda: True)
    debts.sent(token)
    debts.heard(key, token, lead)
    debts.sent(token)  # its connection falls silent
    debts.sent(token)
    debts.heard(key, token, lead)
    assert debts.doubts(token)
    debts.settled(key, token, freed=False, doubted=True)
    await asyncio.sleep(10)
    assert freed == [token, token]
    assert len(debts) == 0
    await w.memory.release(key, token)


@virtual
async def test_what_ends_after_the_store_was_closed_owes_nothing(w: World) -> None:
    """A call that outlives its cache: no timer waits for a store that answers no more."""
    key, token = Key(bytes(32), "default"), b"t" * 16
    may, asked = True, list[bytes]()

    async def release(_: Key, token: bytes) -> None:
        asked.append(token)

    debts = Debts(release, asyncio.ensure_future, lambda: may)
    debts.sent(token)
    await debts.aclose(1.0)
    may = False
    debts.settled(key, token, freed=None, doubted=True)
    assert (debts._timer, len(debts)) == (None, 0)
    debts.heard(key, token, Lead(b""))  # it answers: what came late is given back, in one try
    await w.turns()
    assert (debts._timer, len(debts), asked) == (None, 0, [token])
