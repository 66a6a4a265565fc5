"""Processes that die, fork, and have many event loops."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from disk_support import Process, envelope, new_key

from samecall import Cache, Policy
from samecall._disk import DiskStore
from samecall._entry import Key, decode_entry
from samecall._ports import Lead, Wait
from samecall.testing import GatedProvider
from samecall.testing.crew import Crew, Line

LONG = 600.0
TOKEN = bytes(16)
Make = Callable[..., DiskStore]
PATIENT = Policy(op_timeout=60.0)

# --- kill -9 --------------------------------------------------------------------------------------

WRITER = """
import asyncio, hashlib, os, sys
from samecall._disk import open_disk
from samecall._entry import *
async def one(store, number):
    while True:
        digest = os.urandom(32)
        key, token = Key(digest, "kill"), os.urandom(16)
        body = digest * (1 + digest[0] * 8)
        data = encode_entry(key, Entry(Kind.VALUE, Payload("t", body), token, 600.0, 600.0))
        await store.acquire(key, token, b"", 600.0)
        if await store.commit(key, token, b"", data, 600.0):
            os.write(1, digest)
        if digest[1] < 32:
            await store.forget(key, 1.0)
            os.write(1, digest)
async def main():
    store = open_disk(f"disk://{sys.argv[1]}?max_bytes=8000000")()
    await asyncio.gather(*(one(store, number) for number in range(4)))
asyncio.run(main())
"""


async def test_writers_killed_at_random_moments_leave_a_whole_file(path: Path) -> None:
    """Two at a time, eight in all: SQLite finds no damage, and every entry is its key's own."""
    chance, told = random.Random(7), set[bytes]()
    for _ in range(4):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None
            told.add(writer.stdout.read(32))  # it is writing
        for writer in writers:
            assert writer.stdout is not None
            told.add(writer.stdout.read(32 * chance.randrange(1, 60))[-32:])
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            writer.stdout.close()
        with sqlite3.connect(path) as raw:
            assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        raw.close()
        process = Process(path)
        met = 0
        async for key, found in process.store.walk("kill"):
            entry = decode_entry(key, found.data, left=found.left, now=0.0)
            assert entry.payload.data == key.digest * (1 + key.digest[0] * 8)
            met += 1
        assert met > 0
        await process.close()
    process = Process(path)  # what was told to be stored and has neither been forgotten nor evicted
    there = [await process.store.get(Key(digest, "kill")) is not None for digest in told]
    assert any(there)
    await process.close()


# --- a fleet --------------------------------------------------------------------------------------


async def ask(line: Line, setup: Any) -> None:
    """A worker: asks 20 keys 5 times each, all at once; a call is a line in a file."""
    path, calls = setup
    cache = Cache(f"disk://{path}", policy=PATIENT)

    def call(key: str) -> Callable[[], Any]:
        async def pay() -> str:
            with Path(calls).open("a", encoding="utf-8") as file:
                file.write(f"{key}\n")
            await asyncio.sleep(0.05)
            return f"answer to {key}"

        return pay

    line.tell(["ready", None])
    await line.hear()
    keys = [f"k{number}" for number in range(20)] * 5
    answers = await asyncio.gather(*(cache.get_or_call(key, call(key)) for key in keys))
    assert answers == [f"answer to {key}" for key in keys]
    remote = cache.statistics().coalesced_remote + cache.statistics().l2_hits
    await cache.aclose()
    line.tell(["done", remote])


def test_processes_share_one_call(path: Path, tmp_path: Path) -> None:
    """Four processes with 100 callers each on 20 keys: 20 calls."""
    calls = tmp_path / "calls"
    with Crew(ask, [(str(path), str(calls))] * 4) as crew:
        crew.gather("ready", 60.0)
        crew.tell("go")
        remote = crew.gather("done", 60.0)
    assert sorted(calls.read_text().split()) == sorted(f"k{number}" for number in range(20))
    assert sum(remote) > 0


# --- forks ----------------------------------------------------------------------------------------


def child(store: DiskStore, key: Key, told: Any) -> None:
    async def use() -> None:
        found = await store.get(key)
        got = await store.acquire(new_key(), TOKEN, b"", LONG)
        await store.aclose()
        told.put((found is not None, type(got).__name__))

    asyncio.run(use())


async def test_a_child_opens_a_connection_of_its_own(process: Make) -> None:
    """The parent's bells ring and its file is open all the while; the child's store just works."""
    store = process()
    key = new_key()
    await store.set(key, envelope(key), LONG)
    fork = multiprocessing.get_context("fork")
    told = fork.Queue()
    async with store.listen(key) as bell:
        before = store.disk._opened
        children = [fork.Process(target=child, args=(store, key, told)) for _ in range(4)]
        for each in children:
            each.start()
        for each in children:
            await asyncio.to_thread(each.join, 60)
            assert each.exitcode == 0
            assert await asyncio.to_thread(told.get) == (True, "Lead")
        assert store.disk._opened is before
        await store.forget(key, 0.0)
        assert await bell.wait(30.0) == b""
    told.close()
    told.join_thread()


def _quiet(store: DiskStore) -> None:
    os._exit(0 if store.disk._use.acquire(timeout=10) else 1)


async def test_no_fork_in_the_middle_of_a_transaction(process: Make) -> None:
    """However busy the file is, a child finds no lock held by a thread that is not there."""
    store = process()
    fork = multiprocessing.get_context("fork")
    going = True

    async def busy() -> None:
        while going:
            await store.set(new_key(), b"data", LONG)

    tasks = [asyncio.ensure_future(busy()) for _ in range(20)]
    for _ in range(10):
        each = fork.Process(target=_quiet, args=(store,))
        each.start()
        await asyncio.to_thread(each.join, 60)
        assert each.exitcode == 0
    going = False
    await asyncio.gather(*tasks)


# --- loops ----------------------------------------------------------------------------------------


def test_one_cache_in_many_event_loops(path: Path) -> None:
    """With and without `aclose`, one after the other: one call in all."""
    cache, provider = Cache(f"disk://{path}", policy=PATIENT, l1=None), GatedProvider[str]()
    provider.answer("yes")

    async def use(*, close: bool) -> None:
        assert await cache.get_or_call("k", provider) == "yes"
        if close:
            await cache.aclose()

    for number in range(8):
        asyncio.run(use(close=number % 2 == 0))
    asyncio.run(use(close=True))
    assert provider.calls == 1


async def test_the_last_store_closes_the_file(path: Path) -> None:
    """The WAL is folded in then, and the thread ends."""
    one, two = (Cache(f"disk://{path}", policy=PATIENT) for _ in range(2))
    provider: GatedProvider[str] = GatedProvider()
    provider.answer("yes")
    for cache in (one, two):
        await cache.get_or_call("k", provider)
    disk = next(iter(two._rooms)).store.store.disk  # type: ignore[attr-defined]
    await one.aclose()
    assert disk._thread.is_alive()
    assert Path(f"{path}-wal").exists()
    await two.aclose()
    assert not disk._thread.is_alive()
    assert not Path(f"{path}-wal").exists()


LEAVER = """
import asyncio, sys
from samecall import Cache
cache = Cache(f"disk://{sys.argv[1]}")
async def main():
    async def call():
        return "paid"
    assert await cache.get_or_call("k", call) == "paid"
asyncio.run(main())
"""


async def test_an_answer_is_stored_though_its_process_ends_at_once(path: Path) -> None:
    """`asyncio.run` and the interpreter end right after the call, and nobody closed the cache."""
    subprocess.run([sys.executable, "-c", LEAVER, str(path)], check=True, timeout=60)
    cache = Cache(f"disk://{path}", policy=PATIENT)
    assert await cache.peek("k") == "paid"
    await cache.aclose()


@pytest.mark.parametrize("rounds", [50])
async def test_one_leads(process: Make, rounds: int) -> None:
    """Two processes at the same moment, again and again: never both."""
    one, two = process(), process()
    for _ in range(rounds):
        key = new_key()
        got = await asyncio.gather(
            one.acquire(key, b"1" * 16, b"", LONG), two.acquire(key, b"2" * 16, b"", LONG)
        )
        assert {type(each) for each in got} == {Lead, Wait}
