"""What a caller sees who does not wait for anything in between."""

from __future__ import annotations

import asyncio

from samecall import Cache
from samecall.testing import LocalServer


async def yes() -> str:
    return "yes"


async def test_who_asks_after_the_answer_has_a_hit() -> None:
    """One after the other is no coalescing, although the answer is still on its way to the store."""
    cache = Cache()
    for _ in range(3):
        assert await cache.get_or_call("k", yes) == "yes"
    now = cache.statistics()
    assert (now.led, now.l1_hits, now.coalesced_local) == (1, 2, 0)
    await cache.aclose()


def test_what_is_stored_while_the_loop_ends_is_counted() -> None:
    """A call of its own loop each: the commit is carried out at the loop's end."""
    cache = Cache()
    assert asyncio.run(cache.get_or_call("k", yes)) == "yes"
    assert cache.statistics().stored == 1
    with LocalServer() as server:
        cache = Cache(server.url)
        assert asyncio.run(cache.get_or_call("k", yes)) == "yes"
        assert cache.statistics().stored == 1
