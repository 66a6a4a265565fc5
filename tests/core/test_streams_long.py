"""Long streams: packed beside the event loop, and what bounds them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from core_streams import Consumer, Source
from core_support import World, outcomes, virtual

from samecall import Cache, Payload, Policy, StreamInterrupted
from samecall._ports import ProviderCalled
from samecall._stream import MOST_CHUNKS, PlainStreamCodec

LONG, SHORT = 257, 256  # items


class Packing(PlainStreamCodec):
    """Packs in the thread that it notes, once the test lets it."""

    def __init__(self) -> None:
        self.thread = 0
        self.begun, self.go = threading.Event(), threading.Event()

    def pack(self, chunks: Sequence[bytes], times: Sequence[float]) -> Payload:
        self.thread = threading.get_ident()
        self.begun.set()
        self.go.wait(30)
        return super().pack(chunks, times)


def streaming(items: int, size: int = 1) -> Any:
    async def call() -> AsyncIterator[Any]:
        async def give() -> AsyncIterator[Any]:
            for item in range(items):
                yield [item, "x" * size]

        return give()

    return call


@pytest.mark.parametrize(
    ("items", "size", "aside"), [(SHORT, 1, False), (LONG, 1, True), (2, 40_000, True)]
)
async def test_a_long_stream_is_packed_beside_the_loop(items: int, size: int, aside: bool) -> None:
    """Its consumers have all of it meanwhile, and who asks joins them."""
    codec = Packing()
    async with Cache() as cache:
        leader = Consumer(cache.stream("k", streaming(items, size), codec=codec))
        if aside:
            while not codec.begun.is_set():
                await asyncio.sleep(0)
            late = Consumer(cache.stream("k", streaming(1)))
            while min(len(leader.got), len(late.got)) < items:
                await asyncio.sleep(0)
            assert cache.statistics().flights == 1
        codec.go.set()
        assert len(await leader.task) == items
        assert (codec.thread != threading.get_ident()) is aside
        assert len([item async for item in cache.stream("k", streaming(1))]) == items
        assert cache.statistics().provider_calls == 1


@virtual
async def test_a_cache_that_is_closed_while_it_packs(w: World) -> None:
    """Its consumer has had all of it; the call was paid, and is counted; nothing is left."""
    hold = asyncio.Event()

    class Loop(Packing):
        def pack(self, chunks: Sequence[bytes], times: Sequence[float]) -> Payload:
            raise AssertionError("not begun")

    cache = w.cache()
    loop = asyncio.get_running_loop()

    def wait(*_: Any) -> asyncio.Future[Any]:
        hold.set()
        return loop.create_future()

    loop.run_in_executor = wait  # type: ignore[method-assign,assignment]
    leader = Consumer(cache.stream("k", streaming(LONG), codec=Loop()))
    await hold.wait()
    await cache.aclose()
    assert [len(items) for items in await outcomes(leader.task)] == [LONG]
    assert [event.error for event in w.ears[0].of(ProviderCalled)] == [None]
    assert cache.statistics().provider_calls == 1


@virtual
async def test_too_many_chunks_end_a_recording(w: World) -> None:
    """Followers elsewhere finish from the stored value, whose every item they get once."""
    one, two, source = w.cache(), w.cache(), Source()
    leader = Consumer(one.stream("k", source))
    await w.turns()
    source.put(*range(MOST_CHUNKS - 1))
    follower = Consumer(two.stream("k", source))
    while len(follower.got) < MOST_CHUNKS - 1:
        await asyncio.sleep(0.01)
    source.put(*range(MOST_CHUNKS - 1, MOST_CHUNKS + 5))
    while len(leader.got) < MOST_CHUNKS + 5 or len(follower.got) < MOST_CHUNKS:
        await asyncio.sleep(0.01)
    await asyncio.sleep(1)
    assert len(follower.got) == MOST_CHUNKS
    source.put(None)
    assert await follower.task == await leader.task == list(range(MOST_CHUNKS + 5))
    assert source.calls == 1


@virtual
async def test_what_is_too_long_to_record_and_to_store_interrupts(w: World) -> None:
    """`max_entry` refuses the value: who follows elsewhere is told what it has."""
    policy = Policy(max_entry=2_000)
    one, two, source = w.cache(policy), w.cache(policy), Source()
    leader = Consumer(one.stream("k", source))
    await w.turns()
    source.put(*range(MOST_CHUNKS))
    follower = Consumer(two.stream("k", source))
    while len(follower.got) < MOST_CHUNKS:
        await asyncio.sleep(0.01)
    source.put("more", None)
    with pytest.warns(UserWarning, match="max_entry"):
        await leader.task
    assert len(leader.got) == MOST_CHUNKS + 1
    (got,) = await outcomes(follower.task)
    assert type(got) is StreamInterrupted
    assert list(got.items) == follower.got == list(range(MOST_CHUNKS))
    assert source.calls == 1


class Counting(PlainStreamCodec):
    """Counts what it encodes."""

    encoded = 0

    def encode(self, item: Any) -> bytes:
        self.encoded += 1
        return super().encode(item)


@virtual(prompt=False)
async def test_a_stream_without_an_end_takes_little_memory(w: World) -> None:
    """However small its items are (one takes some 80 bytes); its consumer has each of them."""
    count, codec = 60_000, Counting()
    stream = w.cache(Policy(max_entry=2**20)).stream("k", streaming(count), codec=codec)
    with pytest.warns(UserWarning, match="too long to keep"):
        got = [item async for item, _ in stream]
    assert got == list(range(count))
    assert codec.encoded <= 4 * 2**20 / 80


@virtual
async def test_a_leader_that_is_far_behind_gets_equal_items(w: World) -> None:
    """The provider's own would take many times the room; what no tape keeps, it gets itself."""
    cache, source, given = w.cache(), Source(), [[number] for number in range(400)]
    stream, odd = cache.stream("k", source), object()
    source.put(given[0])
    first = await anext(stream)
    source.put(*given[1:], odd, None)
    with pytest.warns(UserWarning, match="no stored form"):
        await w.turns()
    got = [first] + [item async for item in stream]
    assert got == [*given, odd]
    own = [item is one for item, one in zip(got, given, strict=False)]
    assert own == [True] * 257 + [False] * 143
