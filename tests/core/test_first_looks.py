"""A flight asks a prompt store before it has a task; what becomes of one that never gets one."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

from core_support import World, outcomes, spawn, virtual

from samecall import Cache, Policy
from samecall._flight import Flight, Flights
from samecall._room import Room

ABANDON = Policy(on_abandon="abandon", lease=600)
WHO: ContextVar[str] = ContextVar("who", default="nobody")


async def left(asking: asyncio.Task[Any]) -> None:
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking


@virtual(prompt=True)
async def test_a_hit_has_no_task(w: World, monkeypatch: Any) -> None:
    """However many wait for it, they are answered where the reply comes in."""
    one, two, provider = w.cache(), w.cache(), w.provider()
    provider.answer("yes")
    await one.get_or_call("k", provider)
    await w.turns()
    taken: list[Any] = []
    take_off = Flights.take_off
    monkeypatch.setattr(Flights, "take_off", lambda *a: (taken.append(a), take_off(*a)))
    assert await outcomes(*spawn(5, lambda: two.get_or_call("k", provider))) == ["yes"] * 5
    assert not taken
    assert (two.statistics().l2_hits, two.statistics().coalesced_local) == (5, 0)
    assert await two.get_or_call("other", provider) == "yes"
    assert len(taken) == 1


@virtual(prompt=True)
async def test_the_call_runs_in_the_context_of_who_asked(w: World) -> None:
    """Not in that of the reply that gave it the lease."""
    cache = w.cache()

    async def call() -> str:
        return WHO.get()

    async def asks(name: str) -> str:
        WHO.set(name)
        answer: str = await cache.get_or_call(name, call)
        return answer

    tasks = [asyncio.ensure_future(asks(name)) for name in ("ada", "grace")]
    assert await outcomes(*tasks) == ["ada", "grace"]


@virtual(prompt=True)
async def test_abandoned_while_it_asks(w: World) -> None:
    """The lease that its question may yet take is given back, and nobody calls."""
    cache, provider = w.cache(ABANDON), w.provider()
    w.store.hold("acquire", times=1)
    asking = asyncio.ensure_future(cache.get_or_call("k", provider))
    await w.store.until_held("acquire")
    await left(asking)
    assert cache.statistics().flights == 0
    w.store.heal()
    await asyncio.sleep(2)
    assert (w.memory.statistics().leases, provider.calls) == (0, 0)


@virtual(prompt=True)
async def test_abandoned_before_its_task_has_run(w: World, monkeypatch: Any) -> None:
    """It has the lease, and a task that never took a step: it is given back all the same."""
    cache, provider = w.cache(ABANDON), w.provider()
    began: list[asyncio.Task[Any]] = []
    take_off = Flights.take_off

    def cancelled_at_once(flights: Any, flight: Any, fly: Any) -> None:
        take_off(flights, flight, fly)
        began.append(flight.task)
        flight.give_up()

    monkeypatch.setattr(Flights, "take_off", cancelled_at_once)
    asking = asyncio.ensure_future(cache.get_or_call("k", provider))
    while not began:
        await asyncio.sleep(0)
    monkeypatch.undo()
    await left(asking)
    await asyncio.sleep(2)
    assert began[0].cancelled()
    assert (w.memory.statistics().leases, provider.calls) == (0, 0)


@virtual(prompt=True)
async def test_finished_for_the_cache_though_nobody_waits(w: World) -> None:
    """The default: whoever leaves, what was asked is asked to its end."""
    cache, provider = w.cache(), w.provider()
    w.store.hold("acquire", times=1)
    asking = asyncio.ensure_future(cache.get_or_call("k", provider))
    await w.store.until_held("acquire")
    await left(asking)
    w.store.heal()
    await provider.until_waiting(1)
    provider.answer("yes")
    await w.turns()
    assert await cache.get_or_call("k", provider) == "yes"
    assert provider.calls == 1


@virtual(prompt=True)
async def test_closed_while_it_asks(w: World) -> None:
    """Its callers make calls of their own, and no lease stays."""
    cache, provider = w.cache(), w.provider()
    provider.answer("yes")
    w.store.hold("acquire", times=1)
    asking = asyncio.ensure_future(cache.get_or_call("k", provider))
    await w.store.until_held("acquire")
    closing = asyncio.ensure_future(cache.aclose())
    await w.turns()
    w.store.heal()
    await closing
    assert await asking == "yes"
    assert w.memory.statistics().leases == 0


def test_a_loop_that_ends_while_it_asks(valkey_url: str) -> None:
    """Nobody begins a call when all is being cancelled: the question ends with its loop."""
    calls = 0

    async def call() -> str:
        nonlocal calls
        calls += 1
        return "yes"

    async def main(cache: Cache) -> None:
        asking = asyncio.ensure_future(cache.get_or_call("k", call))
        while not cache.statistics().flights:
            await asyncio.sleep(0)
        assert not asking.done()

    cache = Cache(valkey_url)
    flown: list[Any] = []
    fly = Room.fly

    async def noted(room: Room, *args: Any) -> None:
        flown.append(args)
        await fly(room, *args)

    asyncio.run(main(cache))
    assert calls == 0
    assert not flown
    assert cache.statistics().flights == 0


def flights() -> list[Flight[object]]:
    """All that are there in this process."""
    return [each for each in gc.get_objects() if type(each) is Flight]


@virtual
async def test_a_flight_that_has_ended_leaves_nothing(w: World) -> None:
    """No ring that only the collector would find: it would cost more than the call's own way."""
    cache, provider = w.cache(), w.provider()
    provider.answer("yes")
    assert not gc.isenabled()
    others = flights()  # of tests before this one
    assert await cache.get_or_call("k", provider) == "yes"
    await asyncio.sleep(1)
    assert not [each for each in flights() if not any(each is one for one in others)]
