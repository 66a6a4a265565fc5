"""Streams over real servers: two processes' caches, one leads, one follows it live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from samecall import Cache, Policy, StreamInterrupted
from samecall._embedded import EmbeddedServer
from samecall.testing import LocalCluster, LocalSentinel

PATIENT = Policy(op_timeout=5.0)
_LONG = 60


class Source:
    """A provider that streams what the test puts."""

    def __init__(self) -> None:
        self.calls = 0
        self._queue: asyncio.Queue[Any] = asyncio.Queue()

    async def __call__(self) -> AsyncIterator[Any]:
        self.calls += 1
        return self._items()

    async def _items(self) -> AsyncIterator[Any]:
        while (item := await self._queue.get()) is not None:
            yield item

    def put(self, *items: Any) -> None:
        for item in items:
            self._queue.put_nowait(item)


class Consumer:
    """A task that takes a stream; `has` waits for a count."""

    def __init__(self, stream: AsyncIterator[Any]) -> None:
        self.got: list[Any] = []
        self._news = asyncio.Event()
        self.task = asyncio.ensure_future(self._take(stream))

    async def _take(self, stream: AsyncIterator[Any]) -> list[Any]:
        try:
            async for item in stream:
                self.got.append(item)
                self._news.set()
        finally:
            self._news.set()
        return self.got

    async def has(self, count: int) -> None:
        async with asyncio.timeout(_LONG):
            while len(self.got) < count:
                assert not self.task.done(), self.task
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def two(
    url: str, policy: Policy = PATIENT, *, report: bool = True
) -> AsyncIterator[tuple[Cache, Cache]]:
    one, other = (Cache(url, policy=policy, l1=None, report=report) for _ in range(2))
    yield one, other
    await one.aclose()
    await other.aclose()


async def live(url: str, name: str) -> None:
    """Followers from the first item on and late ones, then a hit."""
    async with two(url) as (one, other):
        source = Source()
        leader = Consumer(one.stream(name, source))
        source.put("a", {"b": 1})
        await leader.has(2)
        followers = [Consumer(other.stream(name, source)) for _ in range(10)]
        for follower in followers:
            await follower.has(2)
        source.put("x" * 100_000, "c")
        await followers[0].has(4)
        late = Consumer(other.stream(name, source))
        await late.has(4)
        source.put("d", None)
        expected = ["a", {"b": 1}, "x" * 100_000, "c", "d"]
        for each in (leader, *followers, late):
            assert await each.task == expected
        assert source.calls == 1
        assert other.statistics().coalesced_remote == 11
        async with asyncio.timeout(_LONG):
            while one.statistics().stored == 0 or other._rooms.here().flights._open:
                await asyncio.sleep(0)
        assert [item async for item in other.stream(name, source)] == expected
        assert other.statistics().l2_hits == 1


async def test_a_follower_has_items_live(url: str, raw: Redis) -> None:
    await live(url, f"live-{id(raw)}")
    for name in await raw.keys("default:s:*"):
        assert await raw.pttl(name) > 0  # every recording goes by itself


async def test_a_follower_has_items_live_on_a_cluster(cluster: LocalCluster) -> None:
    for number in range(6):  # in slots of all nodes
        await live(cluster.url, f"live-{number}")


async def test_a_follower_has_items_live_behind_sentinel(sentinel: LocalSentinel) -> None:
    await live(sentinel.url, "live")


async def _kill_connections(server: EmbeddedServer) -> None:
    client = Redis.from_url(server.url.replace("redis+unix", "unix"), protocol=2)
    await client.client_kill_filter(_type="pubsub")
    await client.client_kill_filter(_type="normal", skipme=True)
    await client.aclose()


async def _forget_scripts(server: EmbeddedServer) -> None:
    client = Redis.from_url(server.url.replace("redis+unix", "unix"), protocol=2)
    await client.script_flush()
    await client.aclose()


@pytest.mark.parametrize("harm", [_kill_connections, _forget_scripts])
async def test_harm_in_mid_stream(
    own_server: EmbeddedServer, harm: Callable[[EmbeddedServer], Any]
) -> None:
    """Lost connections and forgotten scripts cost no item, and none comes twice."""
    async with two(own_server.url) as (one, other):
        source = Source()
        leader = Consumer(one.stream("k", source))
        source.put(0)
        await leader.has(1)
        follower = Consumer(other.stream("k", source))
        await follower.has(1)
        for number in range(1, 6):
            await harm(own_server)
            source.put(number)
            await leader.has(number + 1)
            await follower.has(number + 1)
        source.put(None)
        assert await leader.task == await follower.task == list(range(6))
        assert source.calls == 1


async def test_the_server_ends_in_mid_stream(own_server: EmbeddedServer) -> None:
    """The leader's consumer gets all; a follower is told what it has."""
    async with two(own_server.url, Policy(op_timeout=0.5, lease=1)) as (one, other):
        source = Source()
        leader = Consumer(one.stream("k", source))
        source.put(1)
        await leader.has(1)
        follower = Consumer(other.stream("k", source))
        await follower.has(1)
        own_server.close()
        source.put(2)
        await leader.has(2)
        with pytest.raises(StreamInterrupted) as told:
            async with asyncio.timeout(_LONG):
                await follower.task
        assert list(told.value.items) == follower.got
        assert follower.got in ([1], [1, 2])
        source.put(3, None)
        assert await leader.task == [1, 2, 3]
        assert source.calls == 1


async def test_connections_do_not_grow_with_streams_or_followers(
    own_server: EmbeddedServer,
) -> None:
    """Three for each process, for fifty streams with ten followers each."""
    async with two(own_server.url) as (one, other):
        sources = [Source() for _ in range(50)]
        leaders = [Consumer(one.stream(f"k{at}", source)) for at, source in enumerate(sources)]
        for source, leader in zip(sources, leaders, strict=True):
            source.put(1)
            await leader.has(1)
        followers = [
            Consumer(other.stream(f"k{at}", source))
            for at, source in enumerate(sources)
            for _ in range(10)
        ]
        for follower in followers:
            await follower.has(1)
        client = Redis.from_url(own_server.url.replace("redis+unix", "unix"), protocol=2)
        assert len(await client.client_list()) <= 3 + 3 + 1
        await client.aclose()
        for source in sources:
            source.put(None)
        for each in (*leaders, *followers):
            assert await each.task == [1]


async def test_a_hit_is_one_round_trip(own_server: EmbeddedServer) -> None:
    """Of any length: it is one entry, which the one question for the call brings."""
    async with two(own_server.url, report=False) as (one, other):
        source = Source()
        source.put(*range(5_000), None)
        assert await Consumer(one.stream("k", source)).task == list(range(5_000))
        async with asyncio.timeout(_LONG):
            while one.statistics().stored == 0:
                await asyncio.sleep(0)
        client = Redis.from_url(own_server.url.replace("redis+unix", "unix"), protocol=2)
        await client.config_resetstat()
        assert len([item async for item in other.stream("k", source)]) == 5_000
        stats = await client.info("commandstats")
        await client.aclose()
        # the question for the call, and in the same write the one for its namespace's generation
        assert stats["cmdstat_evalsha"]["calls"] == 2
        assert not {name for name in stats if "xrange" in name or "xread" in name}
        assert other.statistics().l2_hits == 1
        assert source.calls == 1


async def test_streams_that_are_not_stored_follow_each_other(url: str) -> None:
    """Who asks while the last leader gives its lease back has the whole stream, his or another."""
    policy = PATIENT.replace(should_store=lambda _request, _answer: False)
    made = 0

    async def stream() -> AsyncIterator[str]:
        nonlocal made
        made += 1
        for letter in "abc":
            await asyncio.sleep(0)
            yield f"{made}{letter}"

    async with Cache(url, policy=policy) as cache:
        for _ in range(200):
            got = [item async for item in cache.stream("k", _opens(stream))]
            assert len(got) == 3
            assert len({item[:-1] for item in got}) == 1
    assert made > 1


def _opens(stream: Callable[[], AsyncIterator[str]]) -> Callable[[], Any]:
    async def call() -> AsyncIterator[str]:
        return stream()

    return call
