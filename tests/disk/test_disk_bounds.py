"""What a file holds: bounded in bytes, swept by time, the least used first."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from disk_support import Process, envelope, new_key

from samecall import Cache, ConfigurationError
from samecall._disk import DiskStore
from samecall._disk.place import Place, place_of
from samecall.testing import ManualClock

LONG = 600.0
MOST = 2**20
Make = Callable[..., DiskStore]


async def test_a_file_keeps_its_bound(path: Path, process: Make) -> None:
    """Ten times as much as it may hold goes through it; the newest are there."""
    store = process(max_bytes=MOST)
    keys = [new_key() for _ in range(500)]
    for key in keys:
        await store.set(key, envelope(key, os.urandom(20_000)), LONG)
        assert path.stat().st_size < 1.5 * MOST
    there = [await store.get(key) is not None for key in keys]
    assert all(there[-20:])
    assert not any(there[:400])


async def test_the_least_used_leaves_first(process: Make) -> None:
    clock = ManualClock()
    store = process(max_bytes=MOST, now=clock.now)
    loved = new_key()
    await store.set(loved, envelope(loved, os.urandom(20_000)), 1e6)
    others = [new_key() for _ in range(200)]
    for key in others:
        clock.advance(61.0)
        await store.set(key, envelope(key, os.urandom(20_000)), 1e6)
        assert await store.get(loved) is not None
    assert await store.get(others[0]) is None


async def test_a_smaller_bound_shrinks_a_file(path: Path) -> None:
    """A file from a more generous time comes under its bound with the writes that follow."""
    process = Process(path)
    for _ in range(200):
        key = new_key()
        await process.store.set(key, envelope(key, os.urandom(20_000)), LONG)
    await process.close()
    assert path.stat().st_size > 3 * MOST
    process = Process(path, max_bytes=MOST)
    for _ in range(20):
        await process.store.set(new_key(), b"small", LONG)
    await process.close()
    assert path.stat().st_size < 1.5 * MOST


async def test_what_would_push_out_all_others_is_not_kept(process: Make) -> None:
    store = process(max_bytes=MOST)
    key, large = new_key(), new_key()
    await store.set(key, b"small", LONG)
    assert await store.acquire(large, bytes(16), b"", LONG)
    assert await store.commit(large, bytes(16), b"", envelope(large, b"x" * MOST), LONG) is True
    assert await store.get(large) is None
    assert await store.get(key) is not None


async def test_many_that_come_at_once_keep_the_bound_too(path: Path) -> None:
    """Ten times as much as it may hold in one batch: what was there leaves in between."""
    process = Process(path, max_bytes=MOST)
    keys = [new_key() for _ in range(40)]
    await asyncio.gather(
        *(process.store.set(key, envelope(key, os.urandom(300_000)), LONG) for key in keys)
    )
    assert await process.store.get(keys[-1]) is not None
    await process.close()
    assert path.stat().st_size < 1.5 * MOST


async def test_the_log_is_emptied_where_somebody_is_always_at_work(
    path: Path, process: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite would go on at its end, or keep the room that it has taken."""
    clock, log = ManualClock(), Path(f"{path}-wal")
    monkeypatch.setattr("samecall._disk.upkeep._LOG", MOST)
    store = process(now=clock.now)
    await store.set(new_key(), b"small", LONG)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM entries").fetchone()
    for _ in range(20):  # what a reader that stands still costs is one wait, and no answer
        await store.set(new_key(), os.urandom(100_000), LONG)
    await store.ping()
    assert log.stat().st_size > MOST
    reader.close()
    clock.advance(60.0)
    await store.set(new_key(), b"small", LONG)
    await store.ping()
    assert log.stat().st_size < MOST


async def test_what_has_ended_is_swept(path: Path, process: Make) -> None:
    """Values, errors, leases and tombstones; a write now and then is enough."""
    clock = ManualClock()
    store = process(now=clock.now)
    for number in range(300):
        key, other = new_key(), new_key()
        await store.set(key, b"data", 10.0)
        if number % 10 == 0:
            await store.acquire(other, bytes(16), b"", 10.0)
            await store.forget(key, 10.0)
    clock.advance(11.0)
    for _ in range(3):
        await store.ping()
    connection = store.disk._opened.file.connection  # type: ignore[union-attr]
    with store.disk._use:
        for table in ("entries", "leases", "tombstones"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


# --- URLs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("disk:///var/cache/llm.db", "/var/cache/llm.db"),
        ("disk:///a%20b/%25%3F.db", "/a b/%?.db"),
        ("disk:///a/../b.db", "/b.db"),
        ("disk://cache.db", f"{Path.cwd()}/cache.db"),
        ("disk://./sub/cache.db", f"{Path.cwd()}/sub/cache.db"),
        ("disk://~/cache.db", f"{Path.home()}/cache.db"),
        ("disk://:memory:", f"{Path.cwd()}/:memory:"),
    ],
)
def test_where_a_url_leads(url: str, path: str) -> None:
    assert place_of(url) == Place(Path(path))


def test_a_bound_in_the_url() -> None:
    assert place_of("disk:///a.db?max_bytes=2000000") == Place(Path("/a.db"), 2_000_000)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("disk://", "disk:///absolute/path"),
        ("disk:///", "disk:///absolute/path"),
        ("disk:///dir/", "disk:///absolute/path"),
        ("disk:///a%00b", "disk:///absolute/path"),
        ("disk:///a.db?max_bytes=lots", "max_bytes takes a whole number of bytes"),
        ("disk:///a.db?max_bytes=1", "1048576 or more"),
        ("disk:///a.db?max_bytes=-5", "max_bytes takes"),
        ("disk:///a.db?size=5", "size="),
        ("disk://~nobody-of-this-name/a.db", "url_or_store"),
    ],
)
def test_a_url_that_cannot_be_used(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Cache(url)
