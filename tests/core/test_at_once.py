"""What a caller sees who does not wait for anything in between."""

from __future__ import annotations

import asyncio

import pytest
import redis.asyncio

from samecall import Cache, Policy, RemoteCallError
from samecall.testing import GatedProvider, LocalServer


async def yes() -> str:
    return "yes"


async def test_who_asks_after_the_answer_has_a_hit() -> None:
    """One after the other is no coalescing, even while the answer is on its way to the store."""
    cache = Cache()
    for _ in range(3):
        assert await cache.get_or_call("k", yes) == "yes"
    now = cache.statistics()
    assert (now.led, now.l1_hits, now.coalesced_local) == (1, 2, 0)
    await cache.aclose()


async def test_an_error_that_is_rung_is_no_damaged_entry() -> None:
    """Who waits for a leader elsewhere hears of its error, and nothing was undecodable."""
    provider: GatedProvider[str] = GatedProvider()
    patient = Policy(op_timeout=30)  # a busy machine is no store that is away
    with LocalServer() as server:
        async with (
            redis.asyncio.Redis.from_url(server.url) as observer,
            Cache(server.url, policy=patient) as leader,
            Cache(server.url, policy=patient) as follower,
        ):
            led = asyncio.ensure_future(leader.get_or_call("k", provider))
            await provider.until_waiting(1)
            followed = asyncio.ensure_future(follower.get_or_call("k", provider))
            while not await observer.pubsub_channels():
                await asyncio.sleep(0)
            for _ in range(10):  # behind the second look, after which the follower only listens
                await follower.peek("another")
            provider.fail(ValueError("no"))
            with pytest.raises(ValueError, match="no"):
                await led
            with pytest.raises(RemoteCallError):
                await followed
            assert follower.statistics().undecodable == 0
    assert provider.calls == 1


def test_what_is_stored_while_the_loop_ends_is_counted() -> None:
    """A call of its own loop each: the commit is carried out at the loop's end."""
    cache = Cache()
    assert asyncio.run(cache.get_or_call("k", yes)) == "yes"
    assert cache.statistics().stored == 1
    with LocalServer() as server:
        cache = Cache(server.url)
        assert asyncio.run(cache.get_or_call("k", yes)) == "yes"
        assert cache.statistics().stored == 1
