"""The patience of many questions by one timer: fair to the store while the loop is busy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from samecall._vigil import OVERDUE, Vigil
from samecall._waiting import patience
from samecall.testing._virtual import VirtualClock, run_virtual


def virtual(test: Callable[[VirtualClock], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        run_virtual(test)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def asked() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


@virtual
async def test_silence_ends_on_time(clock: VirtualClock) -> None:
    """Also for one that was asked in the middle of a slice, and never much later."""
    loop, vigil = asyncio.get_running_loop(), Vigil(0.2)
    for begins in (0.0, 0.005, 0.1, 0.1):
        await asyncio.sleep(begins)
        began, silent = loop.time(), asked()
        vigil.add(silent)
        assert await silent is OVERDUE
        assert 0.1994 <= loop.time() - began <= 0.2 + 1e-6


@virtual
async def test_the_grain_of_timers_does_not_add_up(clock: VirtualClock) -> None:
    """Each is late by 1.1 ms, as they are in a loop at rest; all of them together as well."""
    loop, vigil = asyncio.get_running_loop(), Vigil(0.2)
    call_at = loop.call_at
    loop.call_at = lambda when, *rest, **more: call_at(when + 0.0011, *rest, **more)  # type: ignore[method-assign]
    for silent in (vigil_of(vigil), patience(asked(), 0.2)):
        began = loop.time()
        assert not await silent
        assert 0.2 <= loop.time() - began <= 0.2015


async def vigil_of(vigil: Vigil) -> bool:
    """Whether what nobody answers is answered."""
    silent = asked()
    vigil.add(silent)
    return await silent is not OVERDUE


@virtual
async def test_an_answer_is_left_alone(clock: VirtualClock) -> None:
    """And with nothing left to wait for the timer stops."""
    vigil = Vigil(0.2)
    first, second, third = asked(), asked(), asked()
    for each in (first, second, third):
        vigil.add(each)
    await asyncio.sleep(0.1)
    first.set_result("a")
    second.cancel()
    assert await third is OVERDUE
    assert first.result() == "a"
    assert second.cancelled()
    await asyncio.sleep(0.2)
    assert vigil._timer is None
    assert vigil._waits == []


@virtual
async def test_a_stall_of_the_loop_is_not_the_store_s(clock: VirtualClock) -> None:
    """A loop that stood still for longer than the patience has more of it."""
    loop, vigil = asyncio.get_running_loop(), Vigil(0.2)
    waits = asked()
    vigil.add(waits)
    await asyncio.sleep(0.05)
    clock.advance(1.0)
    await asyncio.sleep(0)
    assert not waits.done()
    loop.call_later(0.1, waits.set_result, "late, and no fault of the store")
    assert await waits == "late, and no fault of the store"


@virtual
async def test_a_loop_that_is_always_late_waits_five_times_as_long(clock: VirtualClock) -> None:
    loop, vigil = asyncio.get_running_loop(), Vigil(0.2)
    waits, began = asked(), asyncio.get_running_loop().time()
    vigil.add(waits)
    while not waits.done():
        clock.advance(0.05)  # four slices: a timer that comes so late counts for nothing
        await asyncio.sleep(0)
    assert await waits is OVERDUE
    assert loop.time() - began >= 5 * 0.2


@virtual
async def test_a_reply_that_is_there_gets_through(clock: VirtualClock) -> None:
    """It was read in the turn in which the time is up, and has callbacks to go through."""
    loop, vigil = asyncio.get_running_loop(), Vigil(0.2)
    waits = asked()
    vigil.add(waits)
    await asyncio.sleep(0.19)

    def later(turns: int) -> None:
        if turns:
            loop.call_soon(later, turns - 1)
        elif not waits.done():
            waits.set_result("there")

    loop.call_at(vigil._due, later, 5)
    assert await waits == "there"
