"""Async generators under `@cache.memoize`: what holds for streams holds for theirs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from core_streams import Consumer, Source
from core_support import World, outcomes, virtual
from pydantic import BaseModel

from samecall import Cache, Policy, RemoteCallError, StreamInterrupted


class Token(BaseModel):
    text: str
    at: int


A, B, C = (Token(text=text, at=at) for at, text in enumerate("abc"))


def tokens_of(cache: Cache, source: Source, **more: Any) -> Callable[[str], Any]:
    """The same function in whichever process; `source` says what its provider gives."""

    @cache.memoize(**more)
    async def tokens(prompt: str) -> AsyncIterator[Token]:
        items: Any = await source()
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()

    return tokens


async def flush(w: World) -> None:
    """Let the window of a flush go by, and what follows happen."""
    await w.turns()
    await asyncio.sleep(0.03)
    await w.turns()


@virtual
async def test_everybody_has_the_items_of_one_call(w: World) -> None:
    """Leader, followers here and elsewhere, late ones, and hits; each has items of its own."""
    one, two, source = w.cache(), w.cache(), Source()
    here, there = tokens_of(one, source), tokens_of(two, source)
    leader, beside = Consumer(here("p")), Consumer(here("p"))
    source.put(A, B)
    await flush(w)
    follower = Consumer(there("p"))
    await flush(w)
    assert leader.got == beside.got == follower.got == [A, B]
    late, later = Consumer(here("p")), Consumer(there("p"))
    source.put(C, None)
    for each in (leader, beside, follower, late, later):
        assert await each.task == [A, B, C]
    assert len({id(each.got[0]) for each in (leader, beside, follower, late, later)}) == 5
    await w.turns()
    assert await Consumer(here("p")).task == await Consumer(there("p")).task == [A, B, C]
    assert source.calls == source.closed == 1
    assert (one.statistics().led, one.statistics().l1_hits) == (1, 1)
    assert (two.statistics().coalesced_remote, two.statistics().provider_calls) == (2, 0)


@virtual
async def test_an_error_comes_after_the_same_items(w: World) -> None:
    one, two, source = w.cache(), w.cache(), Source()
    leader = Consumer(tokens_of(one, source)("p"))
    source.put(A)
    await flush(w)
    follower = Consumer(tokens_of(two, source)("p"))
    await flush(w)
    source.put(B, ValueError("no"))
    got = await outcomes(leader.task, follower.task)
    assert [type(error) for error in got] == [ValueError, RemoteCallError]
    assert leader.got == follower.got == [A, B]
    assert source.calls == source.closed == 1


@virtual
async def test_the_leader_dies(w: World) -> None:
    """Who has items is told which; who has none leads."""
    one, two, source, again = w.cache(), w.cache(), Source(), Source()
    leader = Consumer(tokens_of(one, source)("p"))
    source.put(A)
    await flush(w)
    follower = Consumer(tokens_of(two, again)("p"))
    await flush(w)
    assert follower.got == [A]
    w.store.raise_on("record", "renew", "commit", "release")
    await asyncio.sleep(6)
    w.store.heal()
    (error,) = await outcomes(follower.task)
    assert type(error) is StreamInterrupted
    assert error.items == (A,)
    again.put(B, None)
    assert await Consumer(tokens_of(two, again)("p")).task == [B]
    source.put(None)
    await leader.task


@pytest.mark.parametrize("how", ["break", "cancel", "collect"])
@virtual
async def test_leaving_early_closes_the_generator(w: World, how: str) -> None:
    """Where the policy says so; and what it had is stored for nobody."""
    cache, source = w.cache(), Source()
    tokens = tokens_of(cache, source, policy=Policy(on_abandon="abandon"))
    source.put(A)
    if how == "cancel":
        consumer = Consumer(tokens("p"))
        await w.turns()
        consumer.task.cancel()
        await outcomes(consumer.task)
    else:
        items = tokens("p")
        assert await anext(items) == A
        if how == "break":
            await items.aclose()
        del items
    await w.turns()
    assert source.closed == 1
    assert cache.statistics().flights == 0
    source.put(B, None)
    assert await Consumer(tokens("p")).task == [B]


@virtual
async def test_a_slow_follower_holds_up_nobody(w: World) -> None:
    one, two, source = w.cache(), w.cache(), Source()
    leader = Consumer(tokens_of(one, source)("p"))
    source.put(A)
    await flush(w)
    slow = tokens_of(two, source)("p")
    assert await anext(slow) == A
    source.put(B, C, None)
    assert await leader.task == [A, B, C]
    await asyncio.sleep(100)
    assert [item async for item in slow] == [B, C]
    assert source.calls == 1


@virtual
async def test_a_replay_has_the_rhythm_of_the_original(w: World) -> None:
    cache = w.cache()

    def ticks(**more: Any) -> Any:
        @cache.memoize(**more)
        async def ticking() -> AsyncIterator[Token]:
            for each in (A, B, C):
                await asyncio.sleep(1)
                yield each

        return ticking

    took = []
    for more in ({}, {}, {"policy": Policy(replay="paced")}, {"policy": Policy(replay=2)}):
        began = w.clock.now()
        assert await Consumer(ticks(**more)()).task == [A, B, C]
        took.append(round(w.clock.now() - began, 3))
    assert took == [3, 0, 3, 1.5]


@virtual
async def test_a_paced_replay_begins_again_for_each(w: World) -> None:
    """Also for one that is slow itself: it is late by what it takes, and no more."""
    cache, came = w.cache(Policy(replay="paced")), []

    @cache.memoize
    async def ticking() -> AsyncIterator[int]:
        for each in range(4):
            await asyncio.sleep(1)
            yield each

    assert await Consumer(ticking()).task == [0, 1, 2, 3]
    began = w.clock.now()
    async for item in ticking():
        came.append(round(w.clock.now() - began, 3))
        if item == 1:
            await asyncio.sleep(1.5)  # item 2 is due meanwhile, item 3 after it
    assert came == [1, 2, 3.5, 4]


@virtual
async def test_a_refresh_replaces_what_is_kept(w: World) -> None:
    cache, source = w.cache(), Source()
    tokens: Any = tokens_of(cache, source)
    source.put(A, None, B, None)
    assert await Consumer(tokens("p")).task == [A]
    assert await Consumer(tokens.refresh("p")).task == [B]
    assert await Consumer(tokens("p")).task == [B]
    await tokens.forget("p")
    source.put(C, None)
    assert await Consumer(tokens("p")).task == [C]
    assert source.calls == 3


@virtual
async def test_an_item_is_what_it_was_when_it_was_given(w: World) -> None:
    """A generator may go on with a list or a model that it has yielded, before anybody looks."""
    cache = w.cache()

    @cache.memoize
    async def grows(text: str) -> AsyncIterator[list[str]]:
        words: list[str] = []
        for word in text.split():
            words.append(word)
            yield words

    @cache.memoize
    async def counts(most: int) -> AsyncIterator[Token]:
        token = Token(text="", at=0)
        for token.at in range(most):
            yield token

    for _ in range(2):  # who made the call, and a hit
        assert [item async for item in grows("a b c")] == [["a"], ["a", "b"], ["a", "b", "c"]]
        assert [item.at async for item in counts(3)] == [0, 1, 2]
    assert cache.statistics().provider_calls == 2


@virtual
async def test_what_is_kept_is_seen_as_a_list(w: World) -> None:
    """By the function's own `peek`, and by the key that it gives."""
    cache, source = w.cache(), Source()
    tokens = tokens_of(cache, source)
    assert await tokens.peek("p") is None  # type: ignore[attr-defined]
    source.put(A, B, None)
    assert await Consumer(tokens("p")).task == [A, B]
    await w.turns()
    key = tokens.key_of("p")  # type: ignore[attr-defined]
    assert await tokens.peek("p") == await cache.peek(key) == [A, B]  # type: ignore[attr-defined]
    await cache.forget(key)
    assert await tokens.peek("p") is None  # type: ignore[attr-defined]
