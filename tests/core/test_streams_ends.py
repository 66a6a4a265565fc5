"""How streams end that nobody ends in good order: closing fails, consumers are just dropped."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest
from core_streams import Consumer, Source
from core_support import World, outcomes, virtual

from samecall import Policy


class Sore:
    """A stream of a provider whose connection cannot be closed."""

    def __init__(self, last: Exception) -> None:
        self.items: list[Any] = [last, 2, 1]
        self.closed = 0

    async def __call__(self) -> Sore:
        return self

    def __aiter__(self) -> Sore:
        return self

    async def __anext__(self) -> int:
        item = self.items.pop()
        if isinstance(item, Exception):
            raise item
        return int(item)

    async def aclose(self) -> None:
        self.closed += 1
        raise ConnectionError("the line is gone")


@virtual
async def test_a_whole_stream_that_cannot_be_closed_is_whole(w: World) -> None:
    cache, sore = w.cache(), Sore(StopAsyncIteration())
    leader, follower = (Consumer(cache.stream("k", sore)) for _ in range(2))
    assert await leader.task == await follower.task == [1, 2]
    assert [item async for item in cache.stream("k", sore)] == [1, 2]
    assert (sore.closed, cache.statistics().l1_hits) == (1, 1)


@virtual
async def test_an_error_of_closing_hides_no_error(w: World) -> None:
    cache, sore = w.cache(), Sore(ValueError("no"))
    leader, follower = (Consumer(cache.stream("k", sore)) for _ in range(2))
    got = await outcomes(leader.task, follower.task)
    assert [type(error) for error in got] == [ValueError, ValueError]
    assert sore.closed == 1


@virtual
async def test_leaving_what_cannot_be_closed(w: World) -> None:
    cache, sore = w.cache(), Sore(StopAsyncIteration())
    stream = cache.stream("k", sore, mode="bypass")
    assert await anext(stream) == 1
    await stream.aclose()
    assert sore.closed == 1


@pytest.mark.parametrize("on_abandon", ["finish", "abandon"])
@virtual
async def test_consumers_that_are_dropped(
    w: World, on_abandon: Literal["finish", "abandon"]
) -> None:
    """Let go of, in the leader's process and in another: the others go on, and nothing is left."""
    policy = Policy(on_abandon=on_abandon)
    one, two, source = w.cache(policy), w.cache(policy), Source()
    leader, dropped, last = (cache.stream("k", source) for cache in (one, two, two))
    source.put(1)
    assert [await anext(each) for each in (leader, dropped, last)] == [1, 1, 1]
    del dropped
    source.put(2)
    assert await anext(last) == 2
    del leader
    source.put(3)
    await asyncio.sleep(3)
    assert await anext(last) == 3
    assert source.closed == 0
    del last
    await asyncio.sleep(3)
    assert source.closed == (on_abandon == "abandon")
    source.put(None)
    await w.turns()
    assert (source.calls, source.closed) == (1, 1)
    assert [cache.statistics().flights for cache in (one, two)] == [0, 0]
