"""Whatever ends a flight, and wherever: no lease, task or listener stays, callers are answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from core_support import World, outcomes, spawn, virtual

from samecall import Policy
from samecall._errors import StoreError, StoreRefused, StoreUnreachable
from samecall._room import Room

OPERATIONS = ("acquire", "renew", "commit", "fail", "release", "listen", "wait")
ERRORS = (StoreError("e"), StoreUnreachable("u"), StoreRefused("r"), TypeError("bug"))


async def story(w: World, one: Any, two: Any, *, fails: bool) -> list[Any]:
    """Two processes ask; the call takes longer than a renewal; it answers or raises."""

    async def call() -> Any:
        await asyncio.sleep(3)
        if fails:
            raise ZeroDivisionError
        return "yes"

    tasks = [
        *spawn(2, lambda: one.get_or_call("k", call)),
        *spawn(2, lambda: two.get_or_call("k", call)),
    ]
    got = await outcomes(*tasks)
    await w.turns()
    return got


def well(got: list[Any], *, fails: bool) -> None:
    names = {getattr(one, "class_name", type(one).__name__) for one in got}
    assert names == ({"ZeroDivisionError"} if fails else {"str"}), got


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("operation", OPERATIONS)
@virtual
async def test_each_operation_fails(w: World, operation: Any, error: Any, fails: bool) -> None:
    """A store in trouble at any point costs money, never an answer."""
    one, two, seed = w.cache(Policy(lease=4)), w.cache(Policy(lease=4)), w.provider()
    seed.answer("seed")
    for cache in (one, two):  # the first contact went well
        await cache.get_or_call(f"seed{id(cache)}", seed)
    await w.turns()
    w.store.raise_on(operation, error=error)
    well(await story(w, one, two, fails=fails), fails=fails)
    w.store.heal()
    await asyncio.sleep(5)  # a release that was refused is made good by the lease's end


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("operation", OPERATIONS[:-2])
@virtual
async def test_each_reply_is_lost(w: World, operation: Any, fails: bool) -> None:
    """Done, but nobody knows."""
    one, two = w.cache(Policy(lease=4)), w.cache(Policy(lease=4))
    w.store.lose_reply(operation, error=StoreUnreachable("lost"))
    well(await story(w, one, two, fails=fails), fails=fails)
    await asyncio.sleep(5)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("operation", OPERATIONS)
@virtual
async def test_each_operation_hangs(w: World, operation: Any, fails: bool) -> None:
    """Silence is bounded."""
    one, two = w.cache(Policy(lease=4)), w.cache(Policy(lease=4))
    w.store.hold(operation)
    before = w.clock.now()
    well(await story(w, one, two, fails=fails), fails=fails)
    assert w.clock.now() - before < 12
    w.store.heal()
    await asyncio.sleep(10)


class Step:
    """Counts the suspensions of a coroutine, and cancels its task some turns after the n-th."""

    def __init__(self, n: int, turns: int) -> None:
        self.n = n
        self.turns = turns
        self.seen = 0
        self.struck = False

    def wrap(self, coroutine: Any) -> Any:
        return _Stepping(self, coroutine)


def _after(turns: int, do: Any) -> None:
    loop = asyncio.get_running_loop()
    if turns:
        loop.call_soon(_after, turns - 1, do)
    else:
        loop.call_soon(do)


class _Stepping:
    def __init__(self, step: Step, coroutine: Any) -> None:
        self._step, self._coroutine = step, coroutine

    def __await__(self) -> Any:
        inner = self._coroutine.__await__()
        value, error = None, None
        while True:
            try:
                out = inner.send(value) if error is None else inner.throw(error)
            except StopIteration as stop:
                return stop.value
            self._step.seen += 1
            if self._step.seen == self._step.n:
                self._step.struck = True
                task = asyncio.current_task()
                assert task is not None
                _after(self._step.turns, task.cancel)
            value, error = None, None
            try:
                value = yield out
            except BaseException as caught:  # noqa: BLE001 - handed on to the coroutine
                error = caught


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize(("place", "least"), [(0, 2), (1, 5)], ids=["leader", "follower"])
@virtual
async def test_the_flight_is_cancelled_at_every_suspension(
    w: World,
    place: int,
    least: int,
    turns: int,
    fails: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For each of them, until there is none more: callers are answered, nothing stays behind."""
    fly = Room.fly
    at = 0
    while True:
        at += 1
        step, flown = Step(at, turns), 0

        async def stepping(room: Room, flight: Any, request: Any, begun: Any) -> None:
            nonlocal flown
            flown += 1  # the first flight of either process
            flying = fly(room, flight, request, begun)
            await (step.wrap(flying) if flown - 1 == place else flying)  # noqa: B023 - of this turn

        monkeypatch.setattr(Room, "fly", stepping)
        one, two = (w.cache(Policy(lease=4), namespace=f"at {at}") for _ in range(2))
        well(await story(w, one, two, fails=fails), fails=fails)
        if not step.struck:
            break
    assert at > least


@pytest.mark.parametrize("turns", range(0, 40, 2))
@virtual
async def test_closed_at_every_moment(w: World, turns: int) -> None:
    """Closing in the middle of anything frees the lease; callers still get their answer."""
    one, two, provider = w.cache(), w.cache(), w.provider()
    tasks = [*spawn(2, lambda: one.get_or_call("k", provider))]
    await w.turns(turns)
    closing = asyncio.ensure_future(one.aclose())
    await w.turns(5)
    provider.answer("yes")
    await closing
    asked = w.store.calls["acquire"]
    assert await asyncio.gather(*tasks) == ["yes", "yes"]
    assert w.store.calls["acquire"] == asked
    assert w.memory.statistics().leases == 0
    assert await two.get_or_call("k", provider) == "yes"
