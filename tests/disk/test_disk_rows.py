"""Rows of others: a column of SQLite has no type. A miss, counted, and ours are there again."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from samecall import Cache, Policy
from samecall._disk.tables import names_of
from samecall._entry import Key
from samecall._key import key_from
from samecall._ports import Lead
from samecall._stamps import new_token

KEY = key_from("k", "default", None)
ODD: dict[str, Any] = {"text": "text", "nothing": None, "a number": 7, "a large one": 2**40}
LONG = 1e12


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[Cache]:
    cache = Cache(f"disk://{tmp_path / 'cache.db'}", l1=None, policy=Policy(op_timeout=30.0))
    await cache.peek("k")
    yield cache
    await cache.aclose()


def write(tmp_path: Path, table: str, *row: object) -> None:
    with sqlite3.connect(tmp_path / "cache.db") as raw:
        raw.execute(f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    raw.close()


def store_of(cache: Cache) -> Any:
    return cache._rooms.here().store.store


async def asked(cache: Cache) -> list[int]:
    """The answers to two questions, each the number of a call."""
    calls = 0

    async def call() -> int:
        nonlocal calls
        calls += 1
        return calls

    answers = [await cache.get_or_call("k", call)]
    await cache._rooms.here().flights.settled(KEY)
    return [*answers, await cache.get_or_call("k", call)]


@pytest.mark.parametrize("odd", [one for one in ODD if one != "nothing"])
@pytest.mark.parametrize("kind", ["value", "error"])
async def test_an_entry(cache: Cache, tmp_path: Path, kind: str, odd: str) -> None:
    """Of whatever type its data are; no row is without any."""
    at = ("value", "error").index(kind)
    write(tmp_path, "entries", None, *names_of(KEY), at, LONG, LONG, ODD[odd])
    assert await asked(cache) == [1, 1]
    assert cache.statistics().undecodable >= 1
    assert [found.left < LONG / 2 async for _, found in store_of(cache).walk("default")] == [True]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("column", ["token", "end"])
async def test_a_lease(cache: Cache, tmp_path: Path, column: str, odd: str) -> None:
    """One without an end counts as free, and what is no token is waited for by nobody."""
    row = (ODD[odd], LONG) if column == "token" else (new_token(KEY), ODD[odd])
    write(tmp_path, "leases", *names_of(KEY), *row)
    assert await asked(cache) == [1, 1]
    assert cache.statistics().undecodable == (column == "token")


@pytest.mark.parametrize("odd", ODD)
async def test_a_tombstone_goes_on_guarding(cache: Cache, tmp_path: Path, odd: str) -> None:
    """What was begun before is not stored, and what is begun after it is."""
    store, before = store_of(cache), new_token(KEY)
    assert await store.acquire(KEY, before, b"", 60.0) == Lead(b"")
    write(tmp_path, "tombstones", *names_of(KEY), ODD[odd], LONG)
    assert not await store.commit(KEY, before, b"", b"x" * 60, 60.0)
    assert await asked(cache) == [1, 1]
    assert cache.statistics().undecodable == 1
    epoch = (await store.acquire(KEY, before, b"*", 60.0)).epoch
    assert len(epoch) == 16


@pytest.mark.parametrize("odd", ODD)
async def test_a_generation(cache: Cache, tmp_path: Path, odd: str) -> None:
    """Another one takes its place."""
    write(tmp_path, "generations", b"default", b"", ODD[odd], LONG)
    assert await asked(cache) == [1, 1]
    (held,) = await store_of(cache).generations("default", ("",), 60.0)
    assert len(held) == 16


@pytest.mark.parametrize("odd", ODD)
async def test_a_frame_and_a_report(cache: Cache, tmp_path: Path, odd: str) -> None:
    """None of ours; whoever reads them reads on."""
    store, key, token = store_of(cache), Key(b"f" * 32, "default"), new_token(KEY)
    await store.post("default", "w", b"word", 60.0)
    await store.acquire(key, token, b"", 60.0)
    await store.record(key, token, 1, b"frame", 60.0, 60.0)
    with sqlite3.connect(tmp_path / "cache.db") as raw:
        raw.execute("UPDATE frames SET data = ?", (ODD[odd],))
        raw.execute("INSERT INTO reports VALUES (x'ff', 'v', ?, ?, ?)", (ODD[odd], ODD[odd], LONG))
    raw.close()
    assert await store.replay(key, token, 0) == [b""]
    assert sorted(posted.data for posted in await store.posted()) == [b"", b"word"]
