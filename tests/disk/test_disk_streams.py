"""Streams over one file: who follows in another process has them while they run."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from disk_support import Process, envelope, new_key

from samecall import Cache, Policy, RemoteCallError
from samecall._disk import DiskStore
from samecall._disk.reels import READING, track_of
from samecall._ports import Lead
from samecall._recordings import Recorded
from samecall.testing import ManualClock
from samecall.testing.crew import Crew
from stream_deaths import death
from streaming import Setup
from streams import LIMIT, fleet

ITEMS = 150
LONG = 600.0
TOKEN = bytes(16)
Make = Callable[..., DiskStore]
PATIENT = Policy(op_timeout=30.0, lease=30.0)


class Source:
    """A provider that streams what the test puts; None ends it."""

    def __init__(self) -> None:
        self.calls = 0
        self.closed = asyncio.Event()
        self._queue: asyncio.Queue[Any] = asyncio.Queue()

    async def __call__(self) -> AsyncIterator[Any]:
        self.calls += 1
        return self._items()

    async def _items(self) -> AsyncIterator[Any]:
        try:
            while (item := await self._queue.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed.set()

    def put(self, *items: Any) -> None:
        for item in items:
            self._queue.put_nowait(item)


class Consumer:
    """A task that takes a stream; `has` waits for a count."""

    def __init__(self, stream: AsyncIterator[Any]) -> None:
        self.got: list[Any] = []
        self._news = asyncio.Event()
        self.task = asyncio.ensure_future(self._take(stream))
        self.task.add_done_callback(lambda _: self._news.set())

    async def _take(self, stream: AsyncIterator[Any]) -> list[Any]:
        async for item in stream:
            self.got.append(item)
            self._news.set()
        return self.got

    async def has(self, count: int) -> None:
        while len(self.got) < count:
            assert not self.task.done(), self.task
            self._news.clear()
            await self._news.wait()


def rows(path: Path, table: str) -> int:
    with sqlite3.connect(path) as file:
        (count,) = file.execute(f"SELECT count(*) FROM {table}").fetchone()
    file.close()
    return int(count)


def taken(crew: Crew, at: int) -> list[dict[str, object]]:
    """What a worker took, once it has."""
    while True:
        for worker, message in crew.hear(LIMIT):
            if worker == at and message[0] == "taken":
                return list(message[1])


def until_begun(crew: Crew) -> None:
    """Return once worker 0 has an item."""
    while True:
        for worker, message in crew.hear(LIMIT):
            if worker == 0 and message[0] == "at":
                return


# --- real processes -------------------------------------------------------------------------------


def test_other_processes_get_the_items_of_one_call(tmp_path: Path) -> None:
    """All of them, then it is a hit; and whoever leads renews its lease."""
    setup = Setup(f"disk://{tmp_path}/cache.db", items=ITEMS, lease=0.5, tells=1)
    with fleet(setup, 2) as crew:
        crew.tell(["take", "k", 2, 0.0], 0)
        until_begun(crew)
        crew.tell(["take", "k", 3, 0.0], 1)
        led, followed = taken(crew, 0), taken(crew, 1)
        everybody = [*led, *followed]
        assert [one["count"] for one in everybody] == [ITEMS] * 5
        assert len({one["digest"] for one in everybody}) == 1
        assert {one["error"] for one in everybody} == {""}
        crew.tell(["take", "k", 1, 0.0], 1)
        assert taken(crew, 1)[0]["digest"] == led[0]["digest"]
        crew.tell(["statistics"])
        assert sum(one["provider_calls"] for one in crew.gather("statistics", LIMIT)) == 1


@pytest.mark.parametrize("seed", [3, 4])
def test_a_leader_ended_in_mid_stream(tmp_path: Path, seed: int) -> None:
    """Each follower has one generation: all of it, or an exception that says what is missing."""
    url = f"disk://{tmp_path}/cache.db"
    assert death(url, "k", random.Random(seed)).faults == []


# --- live -----------------------------------------------------------------------------------------


async def test_a_follower_has_items_live(process: Make, path: Path) -> None:
    """Followers from the first item on and late ones, then a hit; nobody stays in the book."""
    source = Source()
    one, two = (Cache(process(), policy=PATIENT, l1=None) for _ in range(2))
    leader = Consumer(one.stream("k", source))
    source.put("a", {"b": 1})
    await leader.has(2)
    followers = [Consumer(two.stream("k", source)) for _ in range(10)]
    for follower in followers:
        await follower.has(2)
    assert rows(path, "readers") == 1
    source.put("x" * 100_000, "c")
    await followers[0].has(4)
    late = Consumer(two.stream("k", source))
    await late.has(4)
    source.put("d", None)
    expected = ["a", {"b": 1}, "x" * 100_000, "c", "d"]
    for each in (leader, *followers, late):
        assert await each.task == expected
    assert source.calls == 1
    assert two.statistics().coalesced_remote == 11
    while not one.statistics().stored or two._rooms.here().flights._open:
        await asyncio.sleep(0)
    assert [item async for item in two.stream("k", source)] == expected
    assert two.statistics().l2_hits == 1
    await one.aclose()
    await two.aclose()
    for _ in range(5_000):
        if not rows(path, "readers"):
            return
        await asyncio.sleep(0)
    raise AssertionError("somebody stays in the book")


async def test_an_error_in_mid_stream_comes_after_the_same_items(process: Make) -> None:
    source = Source()
    one, two = (Cache(process(), policy=PATIENT) for _ in range(2))
    leader = Consumer(one.stream("k", source))
    source.put("a")
    await leader.has(1)
    follower = Consumer(two.stream("k", source))
    await follower.has(1)
    source.put("b", LookupError("no more"))
    led, followed = await asyncio.gather(leader.task, follower.task, return_exceptions=True)
    assert type(led) is LookupError
    assert isinstance(followed, RemoteCallError)
    assert followed.class_name == "LookupError"
    assert leader.got == follower.got == ["a", "b"]
    await one.aclose()
    await two.aclose()


async def test_a_stream_is_given_up_when_nobody_follows_elsewhere(process: Make) -> None:
    """It goes on for a follower in another process, and not after he has left."""
    policy = Policy(op_timeout=30.0, lease=0.3, on_abandon="abandon")
    source = Source()
    one, two = (Cache(process(), policy=policy) for _ in range(2))
    leader = one.stream("k", source)
    source.put("a")
    assert await anext(leader) == "a"
    follower = Consumer(two.stream("k", source))
    await follower.has(1)
    await leader.aclose()
    source.put("b")
    await follower.has(2)
    assert not source.closed.is_set()
    follower.task.cancel()
    await source.closed.wait()
    assert source.calls == 1
    await one.aclose()
    await two.aclose()


# --- bounds ---------------------------------------------------------------------------------------


async def test_a_reader_that_comes_no_more_counts_for_ten_seconds(path: Path) -> None:
    clock = ManualClock()
    process, key = Process(path, now=clock.now), new_key()
    store = process.store
    assert isinstance(await store.acquire(key, TOKEN, b"", LONG), Lead)
    await process.disk.ask(lambda ledger: ledger.read_by(track_of(key, TOKEN), b"somebody"))
    for followers in (1, 0):
        done = await store.record(key, TOKEN, 0, b"", LONG, LONG)
        assert done == Recorded(leads=True, whole=True, followers=followers)
        clock.advance(READING)
    await process.close()


async def test_what_is_over_leaves_the_file(path: Path) -> None:
    """Its frames with it; and the next recording has nothing of it."""
    clock = ManualClock()
    process, key = Process(path, now=clock.now), new_key()
    store = process.store
    await store.acquire(key, TOKEN, b"", LONG)
    for number in (1, 2):
        await store.record(key, TOKEN, number, b"frame", LONG, 30.0)
    assert rows(path, "frames") == 2
    clock.advance(30.0)
    await store.record(key, TOKEN, 1, b"new", LONG, 30.0)
    assert await store.replay(key, TOKEN, 0) == [b"new"]
    clock.advance(30.0)
    await store.ping()
    await store.ping()  # what is due after a batch is done before the next one
    assert rows(path, "frames") == rows(path, "reels") == 0
    await process.close()


async def test_recordings_take_a_part_of_the_file_only(process: Make) -> None:
    """One for which there is no room ends, as one that has grown too long does; answers stay."""
    store, key, other = process(max_bytes=2**20), new_key(), new_key()
    await store.set(other, envelope(other), LONG)
    await store.acquire(key, TOKEN, b"", LONG)
    whole = [
        (await store.record(key, TOKEN, number, bytes(60_000), LONG, LONG)).whole
        for number in range(1, 7)
    ]
    assert whole == [True, True, True, True, False, False]
    assert await store.replay(key, TOKEN, 0) == []
    assert await store.renew(key, TOKEN, LONG) is True
    assert await store.get(other) is not None


async def test_a_file_from_before_there_were_recordings(process: Make) -> None:
    """It has none; a `forget` and a look find that out."""
    store, key = process(), new_key()
    await store.acquire(key, TOKEN, b"", LONG)
    assert await store.replay(key, TOKEN, 0) == []
    await store.forget(key, LONG)
    assert await store.replay(key, TOKEN, 0) == []
