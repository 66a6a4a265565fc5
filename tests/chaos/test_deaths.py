"""Leaders that die, stand still, hang, or lose their loop, over a real server."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from typing import Any

import pytest

from deaths import WANTED, kill, zombies
from samecall import Cache, Policy
from samecall._errors import DeadlineExceeded
from samecall.testing import GatedProvider, LocalServer

PATIENT = 60.0


def test_a_zombie_overwrites_nothing() -> None:
    """Stopped for three leases, it answers its own caller and commits only if nothing came."""
    assert dict(zombies()) == WANTED


def test_a_leader_ended_at_some_moment() -> None:
    """Those who wait agree on one answer, with one more call at most, and no lease stays."""
    found = kill(0.002)
    assert found.provider_calls <= 1
    assert len(found.answers) == 2
    assert len(set(found.answers)) == 1
    assert found.leases == 0


async def test_a_hung_provider_holds_nobody_hostage(server: LocalServer) -> None:
    """The flight's deadline frees the key; who waits in another process calls for itself."""
    hung, well = GatedProvider[str](), GatedProvider[str]()
    well.answer("yes")
    short = Cache(server.url, policy=Policy(deadline=0.3, op_timeout=PATIENT))
    other = Cache(server.url, policy=Policy(op_timeout=PATIENT))
    led = asyncio.ensure_future(short.get_or_call("k", hung))
    await hung.until_waiting(1)
    joined = asyncio.ensure_future(short.get_or_call("k", hung))
    waits = asyncio.ensure_future(other.get_or_call("k", well))
    for each in (led, joined):
        with pytest.raises(DeadlineExceeded):
            await each
    assert await waits == "yes"
    assert (hung.calls, hung.cancelled, well.calls) == (1, 1, 1)
    assert await short.get_or_call("k", hung) == "yes"
    await short.aclose()
    await other.aclose()


def test_a_loop_that_ends_in_good_order_frees_the_key(server: LocalServer) -> None:
    """`asyncio.run` cancels the flight; its lease is released, not left to end (600 s)."""
    policy = Policy(lease=600, op_timeout=PATIENT)
    cache = Cache(server.url, policy=policy)
    provider: GatedProvider[str] = GatedProvider()

    async def leave() -> None:
        asking = asyncio.ensure_future(cache.get_or_call("k", provider))
        await provider.until_waiting(1)
        leave.asking = asking  # type: ignore[attr-defined]

    asyncio.run(leave())
    provider.answer("yes")
    assert asyncio.run(_ask(Cache(server.url, policy=policy), provider)) == "yes"
    assert provider.calls == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_loop_that_just_stops_is_a_dead_leader(server: LocalServer) -> None:
    """Stopped and never run again, with nothing cancelled: its lease ends and another leads."""
    policy = Policy(lease=0.3, op_timeout=PATIENT)
    cache = Cache(server.url, policy=policy)
    provider: GatedProvider[str] = GatedProvider()
    loop = asyncio.new_event_loop()
    asking = loop.create_task(cache.get_or_call("k", provider))
    loop.run_until_complete(provider.until_waiting(1))
    provider._gate.clear()  # whoever it answers now is not in that loop
    provider.answer("yes")
    assert asyncio.run(_ask(cache, provider)) == "yes"  # the same cache, another loop
    assert asyncio.run(_ask(Cache(server.url, policy=policy), provider)) == "yes"
    assert provider.calls == 2
    asking.cancel()
    loop.run_until_complete(asyncio.wait([asking]))
    loop.run_until_complete(cache.aclose())
    loop.close()


async def _ask(cache: Cache, provider: Any) -> str:
    async with cache:
        return await cache.get_or_call("k", provider)


async def _never() -> str:
    raise AssertionError("somebody else leads")


def _child(cache: Cache, ready: Any) -> None:
    async def follow() -> None:
        asking = asyncio.ensure_future(cache.get_or_call("k", _never))
        while not cache.statistics().callers_waiting:
            await asyncio.sleep(0)
        ready.set()
        assert await asking == "yes"
        await cache.aclose()

    asyncio.run(follow())
    counts = cache.statistics()  # as fast as the parent is, it was stored when the child looked
    os._exit(0 if counts.coalesced_remote + counts.l2_hits == 1 else 3)


async def test_forked_in_mid_flight(server: LocalServer) -> None:
    """The child waits for its parent's call as for any other process's; neither is disturbed."""
    cache = Cache(server.url, policy=Policy(lease=600, op_timeout=PATIENT))
    provider: GatedProvider[str] = GatedProvider()
    asking = asyncio.ensure_future(cache.get_or_call("k", provider))
    await provider.until_waiting(1)
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    child = fork.Process(target=_child, args=(cache, ready))
    child.start()
    assert await asyncio.to_thread(ready.wait, PATIENT)
    provider.answer("yes")
    assert await asking == "yes"
    await asyncio.to_thread(child.join, PATIENT)
    assert child.exitcode == 0
    assert provider.calls == 1
    assert await cache.get_or_call("k", _never) == "yes"
    await cache.aclose()
