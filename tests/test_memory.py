"""The memory store as an L1: its bounds, its lifetimes, and threads, loops and forks around it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from samecall._entry import Entry, Key, Kind, Payload, encode_entry, new_stamp
from samecall._memory import MemoryStore
from samecall._ports import Found, Hit, Lead
from samecall.testing import ManualClock

LATE = 10_000.0


def key(number: int, namespace: str = "n") -> Key:
    return Key(number.to_bytes(32, "big"), namespace)


def entry(born: float = 1_000.0, life: float = 600.0) -> Entry:
    return Entry(Kind.VALUE, Payload("json", b"answer"), new_stamp(), life / 2, life, born=born)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000.0)


@pytest.fixture
def store(clock: ManualClock) -> MemoryStore:
    return MemoryStore(entries=3, bytes=1_000, clock=clock)


# --- bounds -----------------------------------------------------------------------------------


async def recorded(store: MemoryStore, number: int, frames: int, size: int = 0) -> bool:
    """Lead, and record so many frames; whether the recording is whole."""
    await store.acquire(key(number), b"t", b"", 600.0)
    done = [
        await store.record(key(number), b"t", at, bytes(size), 600.0, 30.0)
        for at in range(1, frames + 1)
    ]
    return all(each.whole for each in done)


async def kept(store: MemoryStore, *numbers: int) -> list[int]:
    """How many frames of each recording are there."""
    return [len(await store.replay(key(number), b"t", 0)) for number in numbers]


async def test_recordings_take_a_quarter_more(clock: ManualClock) -> None:
    """The one that was recorded the longest ago goes; what goes on of it is not taken any more."""
    store = MemoryStore(bytes=40_000, clock=clock)
    for number in (1, 2, 3):
        assert await recorded(store, number, 3, 1_000)
    assert await kept(store, 1, 2, 3) == [3, 3, 3]
    done = await store.record(key(1), b"t", 4, b"", 600.0, 30.0)  # the last one now
    assert done.whole
    assert await recorded(store, 4, 2, 1_000)
    assert await kept(store, 1, 2, 3, 4) == [4, 0, 3, 2]
    done = await store.record(key(2), b"t", 4, b"", 600.0, 30.0)
    assert (done.leads, done.whole) == (True, False)
    assert await recorded(store, 5, 1, 10_001)  # too large by itself
    assert await kept(store, 1, 2, 3, 4, 5) == [0, 0, 0, 0, 0]
    assert (store._reel_bytes, len(store._reels)) == (0, 0)


async def test_recordings_that_are_over_leave_with_the_next_one(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock)
    for number in range(10):
        assert await recorded(store, number, 2, 100)
    clock.advance(31)
    assert await recorded(store, 10, 1)
    assert len(store._reels) == 1
    assert store._reel_bytes < 100
    store.unwind(key(10), b"t")
    assert (store._reel_bytes, len(store._reels)) == (0, 0)


def test_what_is_kept_is_seen(store: MemoryStore) -> None:
    """The very entry comes back, and nothing at any other key."""
    kept = entry()
    store.keep(key(1), kept, 100, LATE)
    assert store.look(key(1)) == kept
    assert store.look(key(2)) is None
    assert store.look(key(1, "m")) is None


def test_the_least_used_leaves_first(store: MemoryStore) -> None:
    """Beyond `entries` the one that was neither put nor looked at for longest goes."""
    for number in (1, 2, 3):
        store.keep(key(number), entry(), 1, LATE)
    store.look(key(1))
    store.keep(key(4), entry(), 1, LATE)
    assert [number for number in (1, 2, 3, 4) if store.look(key(number))] == [1, 3, 4]
    assert store.statistics().evicted == 1


def test_bytes_are_bounded(store: MemoryStore) -> None:
    """Beyond `bytes` as many leave as must."""
    for number in (1, 2):
        store.keep(key(number), entry(), 400, LATE)
    store.keep(key(3), entry(), 700, LATE)
    assert [number for number in (1, 2, 3) if store.look(key(number))] == [3]
    assert (store.statistics().entries, store.statistics().bytes) == (1, 700)


def test_a_replaced_entry_counts_once(store: MemoryStore) -> None:
    """The size of what was replaced is given back."""
    for _ in range(5):
        store.keep(key(1), entry(), 400, LATE)
    assert (store.statistics().entries, store.statistics().bytes) == (1, 400)


def test_what_is_larger_than_the_store(store: MemoryStore) -> None:
    """It is not kept, drives nobody out, and ends what it was to replace."""
    store.keep(key(1), entry(), 400, LATE)
    store.keep(key(2), entry(), 100, LATE)
    store.keep(key(1), entry(), 1_001, LATE)
    assert store.look(key(1)) is None
    assert store.look(key(2)) is not None
    assert store.statistics().bytes == 100


# --- lifetimes --------------------------------------------------------------------------------


def test_nothing_past_until(store: MemoryStore, clock: ManualClock) -> None:
    """The L1's own TTL ends it, at the very moment."""
    store.keep(key(1), entry(), 1, until=1_060.0)
    clock.advance(59.0)
    assert store.look(key(1)) is not None
    clock.advance(1.0)
    assert store.look(key(1)) is None
    assert store.statistics().bytes == 0


def test_nothing_past_its_hard_life(store: MemoryStore, clock: ManualClock) -> None:
    """However long the L1 would keep it."""
    store.keep(key(1), entry(born=700.0), 1, LATE)
    clock.advance(299.0)
    assert store.look(key(1)) is not None
    clock.advance(1.0)
    assert store.look(key(1)) is None


def test_what_is_dead_is_not_kept(store: MemoryStore) -> None:
    """An entry that came too late drives nobody out."""
    store.keep(key(1), entry(born=1.0), 1, LATE)
    assert store.statistics().entries == 0


async def test_keeping_what_is_here_does_not_shorten_it(
    store: MemoryStore, clock: ManualClock
) -> None:
    """A store that is its own L1 keeps a committed entry for its full life."""
    kept = entry()
    await store.set(key(1), encode_entry(key(1), kept), 600.0)
    store.keep(key(1), kept, 1, until=1_060.0)
    assert store.look(key(1)) == kept
    clock.advance(599.0)
    found = await store.get(key(1))
    assert found is not None
    assert found.left == 1.0


# --- the two faces ----------------------------------------------------------------------------


async def test_look_reads_what_was_committed(store: MemoryStore, clock: ManualClock) -> None:
    """Bytes of the protocol are decoded once, with their age from the store's clock."""
    made = entry()
    await store.acquire(key(1), b"t", b"", 5.0)
    assert await store.commit(key(1), b"t", b"", encode_entry(key(1), made), 600.0)
    clock.advance(100.0)
    seen = store.look(key(1))
    assert seen is not None
    assert (seen.born, seen.payload, seen.stamp) == (1_000.0, made.payload, made.stamp)
    assert store.look(key(1)) is seen


async def test_the_protocol_reads_what_was_kept(store: MemoryStore) -> None:
    """An entry of the L1 is bytes for whoever asks for bytes, with the answer's own life."""
    kept = entry(born=900.0)
    store.keep(key(1), kept, 1, until=1_060.0)
    assert await store.get(key(1)) == Found(encode_entry(key(1), kept), 500.0)
    assert isinstance(await store.acquire(key(1), b"t", b"", 5.0), Hit)
    assert await store.acquire(key(1), b"t", kept.stamp, 5.0) == Lead(kept.stamp)


async def test_look_at_what_is_no_entry(store: MemoryStore) -> None:
    """Bytes that are no entry are a miss for `look`, and bytes for `get`."""
    await store.set(key(1), b"nonsense", 600.0)
    assert store.look(key(1)) is None
    assert await store.get(key(1)) == Found(b"nonsense", 600.0)


async def test_drop_leaves_lease_and_error(store: MemoryStore) -> None:
    """An L1 that lets go of a value ends no flight and buries nothing."""
    token = b"t"
    await store.acquire(key(1), token, b"", 5.0)
    store.keep(key(1), entry(), 1, LATE)
    assert store.drop(key(1)) is True
    assert store.drop(key(1)) is False
    assert await store.renew(key(1), token, 5.0)
    assert await store.commit(key(1), token, b"", b"data", 60.0)


def test_drop_namespace(clock: ManualClock) -> None:
    """One namespace goes and is counted without its dead; the others stay."""
    store = MemoryStore(clock=clock)
    for number in range(5):
        store.keep(key(number, "a"), entry(), 10, until=1_010.0 if number == 0 else LATE)
        store.keep(key(number, "b"), entry(), 10, LATE)
    clock.advance(20.0)
    assert store.drop_namespace("a") == 4
    assert store.look(key(1, "a")) is None
    assert store.look(key(1, "b")) is not None
    assert store.statistics().bytes == 50


async def test_dead_leases_and_tombstones_leave(clock: ManualClock) -> None:
    """Flights that nobody settled do not pile up."""
    store = MemoryStore(clock=clock)
    for number in range(5_000):
        await store.acquire(key(number), b"t", b"", 5.0)
        await store.forget(key(number + 10_000), 5.0)
        clock.advance(0.1)
    assert len(store._leases) + len(store._leases._tombstones) <= 1_025
    clock.advance(5.0)
    assert store.statistics().leases == 0


async def test_errors_are_bounded(store: MemoryStore) -> None:
    """Errors are held within the same bounds as values."""
    for number in range(10):
        await store.acquire(key(number), b"t", b"", 5.0)
        await store.fail(key(number), b"t", b"x" * 400, 60.0)
    assert (len(store._errors), store._errors.bytes) == (2, 800)


# --- threads, loops, forks --------------------------------------------------------------------


def test_threads(clock: ManualClock) -> None:
    """Many threads at once leave the counts true and the bounds kept."""
    store = MemoryStore(entries=50, bytes=2_000, clock=clock)
    start = threading.Barrier(4)

    def work(seed: int) -> None:
        start.wait()
        for step in range(3_000):
            which = key((step * (seed + 3)) % 97)
            store.keep(which, entry(), 1 + step % 100, LATE)
            store.look(which)
            if step % 7 == 0:
                store.drop(which)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in pool.map(work, range(4)):
                pass
    finally:
        sys.setswitchinterval(interval)
    held = store.statistics()
    assert held.entries <= 50
    assert held.bytes <= 2_000
    assert held.bytes == sum(item.size for item in store._values._items.values())


@pytest.fixture
def elsewhere() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def test_a_bell_rings_across_loops(elsewhere: asyncio.AbstractEventLoop) -> None:
    """Who listens in one loop hears what was done in another thread's, both ways."""
    store = MemoryStore()
    listening = threading.Event()

    async def listen() -> bytes | None:
        async with store.listen(key(1)) as bell:
            listening.set()
            return await bell.wait(30.0)

    async def commit(data: bytes) -> bool:
        return await store.commit(key(1), b"t", b"", data, 60.0)

    heard = asyncio.run_coroutine_threadsafe(listen(), elsewhere)
    await asyncio.to_thread(listening.wait)
    assert await commit(b"from here")
    assert await asyncio.wrap_future(heard) == b"from here"

    store.drop(key(1))
    async with store.listen(key(1)) as bell:
        done = asyncio.run_coroutine_threadsafe(commit(b"from there"), elsewhere)
        assert await bell.wait(30.0) == b"from there"
        assert await asyncio.wrap_future(done)


async def test_one_lease_across_loops(elsewhere: asyncio.AbstractEventLoop) -> None:
    """Of callers in two loops one leads."""
    store = MemoryStore()

    async def ask(token: bytes) -> bool:
        return isinstance(await store.acquire(key(1), token, b"", 5.0), Lead)

    there = [
        asyncio.run_coroutine_threadsafe(ask(b"a%d" % number), elsewhere) for number in range(50)
    ]
    here = [await ask(b"b%d" % number) for number in range(50)]
    led = here + [await asyncio.wrap_future(each) for each in there]
    assert sum(led) == 1


def test_a_bell_left_hanging_in_a_closed_loop() -> None:
    """It is taken down at the next ring, which reaches everybody else."""
    store = MemoryStore()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(store.listen(key(1)).__aenter__())
    loop.close()
    assert store.statistics().listeners == 1
    asyncio.run(store.forget(key(1), 5.0))
    assert store.statistics().listeners == 0


async def test_a_deaf_listener_costs_no_memory() -> None:
    """The latest rings are kept, older ones go."""
    store = MemoryStore()
    async with store.listen(key(1)) as bell:
        for number in range(200):
            await store.acquire(key(1), b"t", b"*", 5.0)
            await store.commit(key(1), b"t", b"", b"%d" % number, 60.0)
        heard = []
        while (message := await bell.wait(0.0)) is not None or not heard:
            heard.append(message)
    assert heard[-1] == b"199"
    assert len(heard) <= 65


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork has no forks to survive")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_with_the_lock_held() -> None:
    """The child has the values, none of the parent's leases and listeners, and no dead lock."""
    store = MemoryStore()
    store.keep(key(1), entry(born=store._now()), 7, store._now() + 600)
    asyncio.run(store.acquire(key(2), b"parent", b"", 600.0))
    with store._lock, store._bells._lock:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                alive = store.look(key(1)) is not None and store.statistics().bytes == 7
                leads = isinstance(asyncio.run(store.acquire(key(2), b"c", b"", 5.0)), Lead)
                code = 0 if alive and leads else 2
            finally:
                os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
