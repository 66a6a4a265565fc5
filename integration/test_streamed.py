"""Streams end to end, on every server and on a cluster: leader, followers in another process, late
ones, and hits; of plain items, and of instructor's through a real SDK over real SSE.
"""

import asyncio
import os
import random
from contextlib import asynccontextmanager

import openai
import pytest
from pydantic import BaseModel
from redis.asyncio import Redis

import instructor
from samecall import Cache, Policy, StreamInterrupted
from samecall.instructor import cached
from samecall.testing import StubProvider
from samecall.testing.provider import CutAfter, HoldAfter
from stream_deaths import death
from streaming import Setup
from streams import follow

PATIENT = Policy(op_timeout=30)


class Pet(BaseModel):
    name: str
    legs: int


class User(BaseModel):
    name: str
    age: int
    pet: Pet


class Source:
    """A provider that streams what the test puts."""

    def __init__(self):
        self.calls = 0
        self.items = asyncio.Queue()

    async def __call__(self):
        self.calls += 1
        return self._items()

    async def _items(self):
        while (item := await self.items.get()) is not None:
            yield item

    def put(self, *items):
        for item in items:
            self.items.put_nowait(item)


class Consumer:
    """A task that takes a stream; `has` waits for a count."""

    def __init__(self, stream):
        self.got, self.more = [], asyncio.Event()
        self.task = asyncio.ensure_future(self._take(stream))

    async def _take(self, stream):
        async for item in stream:
            self.got.append(item)
            self.more.set()
        return self.got

    async def has(self, count):
        async with asyncio.timeout(60):
            while len(self.got) < count and not self.task.done():
                self.more.clear()
                await self.more.wait()
        assert len(self.got) >= count


@asynccontextmanager
async def two(url, policy=PATIENT):
    """Two caches with nothing in common but the server."""
    namespace = f"streams-{os.urandom(6).hex()}"
    async with (
        Cache(url, namespace=namespace, policy=policy) as one,
        Cache(url, namespace=namespace, policy=policy, l1=None) as other,
    ):
        yield one, other


@asynccontextmanager
async def later(url, one):
    """A cache that asks once the stream of `one` is stored."""
    async with asyncio.timeout(60):
        while not one.statistics().stored:
            await asyncio.sleep(0.005)
    async with Cache(url, namespace=one.namespace, policy=PATIENT, l1=None) as third:
        yield third


# --- plain items ----------------------------------------------------------------------------------


async def everybody_has_all(url):
    async with two(url) as (one, other):
        source = Source()
        leader = Consumer(one.stream("k", source))
        source.put("a", {"b": 1})
        await leader.has(2)
        followers = [Consumer(other.stream("k", source)) for _ in range(10)]
        for each in followers:
            await each.has(2)
        source.put("x" * 40_000)  # too large to ride in a message
        for each in followers:
            await each.has(3)
        late = Consumer(other.stream("k", source))
        source.put("end", None)
        want = ["a", {"b": 1}, "x" * 40_000, "end"]
        for each in (leader, *followers, late):
            assert await each.task == want
        async with later(url, one) as third:
            assert [item async for item in third.stream("k", source)] == want
            assert third.statistics().l2_hits == 1
        assert source.calls == 1
        counts = other.statistics()
        assert (counts.coalesced_remote, counts.store_faults) == (11, 0)


async def test_everybody_has_all_items(server):
    await everybody_has_all(server.url)


async def test_everybody_has_all_items_on_a_cluster(cluster):
    for _ in range(4):  # slots of several nodes
        await everybody_has_all(cluster.url)


def test_followers_of_other_processes(server):
    """Every item, of one call, over a constant number of connections."""
    got = follow(Setup(server.url, items=60), followers=40, processes=2, key="same")
    assert got.identical
    assert (len(got.results), got.results[0]["count"]) == (41, 60)
    assert got.provider_calls == 1
    assert got.connections <= 3


@pytest.mark.parametrize("seed", [1, 2])
def test_a_leader_ended_in_mid_stream(server, seed):
    """Each follower has one stream, all of it, or an exception that says what is missing."""
    assert death(server.url, f"death{seed}", random.Random(seed)).faults == []


async def test_every_key_of_a_stream_has_a_ttl(server):
    async with two(server.url) as (one, other), Redis.from_url(server.url) as raw:
        source = Source()
        leader = Consumer(one.stream("k", source))
        source.put(1)
        await leader.has(1)
        follower = Consumer(other.stream("k", source))
        await follower.has(1)
        kinds = set()
        async for name in raw.scan_iter(f"{one.namespace}:*"):
            kinds.add(name.split(b":")[1])
            assert await raw.pttl(name) > 0, name
        assert {b"l", b"s"} <= kinds
        source.put(None)
        assert await leader.task == await follower.task == [1]
        async with later(server.url, one):
            pass
        async for name in raw.scan_iter(f"{one.namespace}:*"):
            assert await raw.pttl(name) > 0, name


async def test_a_server_killed_in_mid_stream(server):
    """The leader's own consumer notices nothing; who follows elsewhere is told what it has."""
    async with two(server.url, Policy(op_timeout=0.5, lease=1)) as (one, other):
        source = Source()
        leader = Consumer(one.stream("k", source))
        source.put(1)
        await leader.has(1)
        follower = Consumer(other.stream("k", source))
        await follower.has(1)
        await asyncio.to_thread(server.kill)
        source.put(2)
        await leader.has(2)
        with pytest.raises(StreamInterrupted) as told:
            async with asyncio.timeout(60):
                await follower.task
        assert list(told.value.items) == follower.got
        source.put(3, None)
        assert await leader.task == [1, 2, 3]
        assert source.calls == 1


async def listened_to(url, namespace):
    """Return once a process listens to a channel of the namespace, on whichever node."""
    hosts = url.partition("://")[2].partition("/")[0].split(",")
    nodes = [Redis.from_url(f"redis://{host}") for host in hosts]
    kind = "SHARDCHANNELS" if "cluster" in url else "CHANNELS"
    try:
        while not any(
            [await node.execute_command("PUBSUB", kind, f"*{namespace}*") for node in nodes]
        ):
            await asyncio.sleep(0.005)
    finally:
        for node in nodes:
            await node.aclose()


# --- instructor -----------------------------------------------------------------------------------


def question(**more):
    return {"response_model": User, "messages": [{"role": "user", "content": "Who?"}], **more}


HELPERS = {
    "create_partial": lambda client: client.create_partial(**question()),
    "create_iterable": lambda client: client.create_iterable(**question()),
}


async def everybody_has_the_same(url, helper):
    ask = HELPERS[helper]
    async with (
        StubProvider() as stub,
        two(url) as (one, other),
        openai.AsyncOpenAI(api_key="key-1", base_url=stub.openai_url, max_retries=0) as sdk,
    ):
        bare = instructor.from_openai(sdk, model="stub-1")
        plain = [item async for item in ask(bare)]
        stub.script(None, HoldAfter(8))
        first, second = cached(bare, one), cached(bare, other)
        leader = Consumer(ask(first))
        await stub.until_calls(2)
        follower = Consumer(ask(second))
        if helper == "create_partial":  # whose items come before the whole is there
            await leader.has(1)
            await follower.has(1)
            assert stub.in_flight == 1
        late = Consumer(ask(second))
        async with asyncio.timeout(60):
            while other.statistics().callers_waiting < 2:
                await asyncio.sleep(0.005)
            await listened_to(url, other.namespace)  # before that the others have not asked Redis
        stub.release()
        for each in (leader, follower, late):
            got = await each.task
            assert got == plain
            assert [type(item) for item in got] == [type(item) for item in plain]
        counts = other.statistics()
        # where nothing comes before the end, they may have asked so late that it was a hit
        hits = counts.l1_hits + counts.l2_hits if helper != "create_partial" else 0
        joined = counts.coalesced_remote + hits
        assert (joined, counts.provider_calls) == (2, 0)
        async with later(url, one) as third:
            hit = cached(bare, third)
            assert [item async for item in ask(hit)] == plain
            if helper == "create_partial":
                whole, raw = await hit.create_with_completion(**question())
                assert whole.model_dump() == plain[-1].model_dump()
                assert type(raw).__name__ == "ChatCompletion"
            assert third.statistics().l2_hits == 1 + (helper == "create_partial")
        assert stub.calls == 2


@pytest.mark.parametrize("helper", HELPERS)
async def test_instructors_streams(server, helper):
    await everybody_has_the_same(server.url, helper)


@pytest.mark.parametrize("helper", HELPERS)
async def test_instructors_streams_on_a_cluster(cluster, helper):
    await everybody_has_the_same(cluster.url, helper)


async def test_an_error_in_mid_stream(server):
    """The same for all, after the same items."""
    async with (
        StubProvider() as stub,
        two(server.url) as (one, other),
        openai.AsyncOpenAI(api_key="key-1", base_url=stub.openai_url, max_retries=0) as sdk,
    ):
        bare = instructor.from_openai(sdk, model="stub-1")
        stub.script(None, CutAfter(6, held=True))
        leader = Consumer(HELPERS["create_partial"](cached(bare, one)))
        await leader.has(1)
        follower = Consumer(HELPERS["create_partial"](cached(bare, other)))
        await follower.has(1)
        stub.release()
        got = await asyncio.gather(leader.task, follower.task, return_exceptions=True)
        assert type(got[0]) is type(got[1])
        assert isinstance(got[0], Exception)
        assert leader.got == follower.got
        assert stub.calls == 1
