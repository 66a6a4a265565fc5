"""Files that are new, foreign, damaged, full, read-only, gone."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from disk_support import Process, envelope, new_key

from samecall import Cache, ConfigurationError, Policy
from samecall._disk import DiskStore
from samecall._disk.file import FORMAT
from samecall._entry import decode_entry
from samecall._errors import StoreError, StoreUnusable, Undecodable
from samecall._ports import Hit, Lead

LONG = 600.0
TOKEN = bytes(16)
Make = Callable[..., DiskStore]
PATIENT = Policy(op_timeout=60.0)


async def paid() -> str:
    return "paid"


async def asked(path: Path, key: str = "k") -> Any:
    """What a call gets of a cache in this file, and its statistics."""
    cache = Cache(f"disk://{path}", policy=PATIENT, l1=None)
    try:
        answer = await cache.get_or_call(key, paid)
    finally:
        await cache.aclose()
    return answer, cache.statistics()


# --- whose file it is -----------------------------------------------------------------------------


async def test_a_new_file_is_nobody_elses_to_read(path: Path) -> None:
    await asked(path)
    assert path.stat().st_mode & 0o777 == 0o600


async def test_directories_are_made(tmp_path: Path) -> None:
    answer, now = await asked(tmp_path / "a" / "b" / "cache.db")
    assert (answer, now.stored) == ("paid", 1)


async def test_a_file_from_a_newer_version_is_left_alone(path: Path) -> None:
    """The message says what to do; not a byte of the file changes."""
    await asked(path)
    with sqlite3.connect(path) as raw:
        raw.execute(f"PRAGMA user_version = {FORMAT + 1}")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=r"cache\.db was made by a newer samecall"):
        await asked(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"Dear diary, " * 100, "is no cache of samecall, or is damaged"),
        (b"{}", "is no cache of samecall, or is damaged"),
    ],
)
async def test_no_database(path: Path, content: bytes, says: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=says):
        await asked(path)
    assert path.read_bytes() == content


async def test_a_database_of_another_program(path: Path) -> None:
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE diary (text)")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="is a database of another program"):
        await asked(path)
    assert path.read_bytes() == before


async def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        await asked(tmp_path)


# --- damage ---------------------------------------------------------------------------------------


async def filled(path: Path, count: int = 60) -> dict[Any, bytes]:
    process = Process(path)
    kept: dict[Any, bytes] = {}
    for number in range(count):
        key = new_key()
        kept[key] = envelope(key, b"%d " % number * 300)
        await process.store.set(key, kept[key], LONG)
    await process.close()
    return kept


async def survivors(path: Path, kept: dict[Any, bytes]) -> int:
    """How many entries are still read, each of them right; a fresh process asks."""
    process, right = Process(path), 0
    try:
        for key, data in kept.items():
            try:
                found = await process.store.get(key)
            except StoreError:
                continue
            if found is None:
                continue
            try:
                decode_entry(key, found.data, left=found.left, now=0.0)
            except Undecodable:
                continue
            assert found.data == data
            right += 1
    finally:
        await process.close()
    return right


@pytest.mark.parametrize("seed", range(12))
async def test_garbled_bytes_are_never_an_answer(path: Path, seed: int) -> None:
    """Wherever bytes are overwritten: right answers, misses or a StoreError."""
    kept = await filled(path)
    whole = path.read_bytes()
    chance = random.Random(seed)
    spoilt = bytearray(whole)
    for _ in range(chance.choice([1, 4, 64])):
        at = chance.randrange(100 if seed % 3 else 0, len(spoilt))
        piece = chance.randbytes(chance.choice([1, 16, 512]))[: len(spoilt) - at]
        spoilt[at : at + len(piece)] = piece
    path.write_bytes(spoilt)
    await survivors(path, kept)
    try:
        answer, _ = await asked(path)
    except ConfigurationError:
        return
    assert answer == "paid"


@pytest.mark.parametrize("part", [0, 1, 99, 4096, 4097, 0.5, 0.9])
async def test_a_truncated_file(path: Path, part: float) -> None:
    kept = await filled(path)
    size = path.stat().st_size
    os.truncate(path, int(part * size) if isinstance(part, float) else part)
    left = await survivors(path, kept)
    assert left < len(kept)
    try:
        answer, _ = await asked(path)
    except ConfigurationError as error:
        assert "damaged" in str(error)  # noqa: PT017 - or it answers
    else:
        assert answer == "paid"


async def test_an_entry_under_another_key_is_a_miss(path: Path, process: Make) -> None:
    """Rows that were swapped are refused by their fingerprints."""
    store = process()
    one, two = new_key(), new_key()
    await store.set(one, envelope(one), LONG)
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE entries SET digest = ?", (two.digest,))
    raw.close()
    found = await store.get(two)
    assert found is not None
    with pytest.raises(Undecodable):
        decode_entry(two, found.data, left=found.left, now=0.0)


# --- no room, no right ----------------------------------------------------------------------------


async def test_a_full_disk_costs_no_answer(path: Path) -> None:
    """No page more: the paid answer is returned, the fault is counted, what is there is read."""
    cache = Cache(f"disk://{path}", policy=PATIENT, l1=None)
    assert await cache.get_or_call("before", paid) == "paid"
    await cache.aclose()
    await cache.get_or_call("before", paid)
    disk = next(iter(cache._rooms)).store.store.disk  # type: ignore[attr-defined]
    (pages,) = disk._opened.file.connection.execute("PRAGMA page_count").fetchone()
    disk._opened.file.connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()

    text = os.urandom(40_000).hex()  # nothing that compression makes small

    async def long() -> str:
        return text

    assert await cache.get_or_call("long", long) == text
    assert await cache.get_or_call("before", paid) == "paid"
    now = cache.statistics()
    await cache.aclose()
    assert (now.provider_calls, now.l2_hits) == (2, 2)
    assert now.store_faults >= 1


FULL = """
import asyncio, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
from samecall import Cache, Policy
async def main():
    cache = Cache(f"disk://{sys.argv[1]}", policy=Policy(op_timeout=60.0), l1=None)
    async def call():
        return "paid" * 5_000
    answers = [await cache.get_or_call(f"k{n}", call) for n in range(20)]
    assert answers == ["paid" * 5_000] * 20
    now = cache.statistics()
    assert now.store_faults > 0, now
    await cache.aclose()
asyncio.run(main())
"""


@pytest.mark.parametrize("limit", [0, 20_000, 100_000])
async def test_a_limit_of_the_file_system(path: Path, limit: int) -> None:
    """Every write beyond it fails (EFBIG): all calls are answered; the file stays whole."""
    # -B: a module that it were the first to compile would be cut short in the cache, for all others
    done = subprocess.run(
        [sys.executable, "-B", "-c", FULL, str(path), str(limit)], check=False, timeout=120
    )
    assert done.returncode == 0
    answer, now = await asked(path, "after")
    assert (answer, now.stored) == ("paid", 1)


READ_ONLY = """
import asyncio, os, sys
import concurrent.futures.thread, instructor, samecall._disk
from samecall import Cache, Policy
if os.getuid() == 0:  # for root no file is read-only
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
class Ears:
    def on_event(self, event):
        print(event, file=sys.stderr)
async def main():
    cache = Cache(
        f"disk://{sys.argv[1]}", policy=Policy(op_timeout=60.0), l1=None, observers=[Ears()]
    )
    async def call():
        return "new"
    print(await cache.get_or_call("k", call), await cache.get_or_call("other", call))
    await cache.aclose()
asyncio.run(main())
"""


def asked_in_a_read_only_folder(path: Path) -> subprocess.CompletedProcess[str]:
    """What a process says that may write neither the folder nor anything beside the file."""
    path.parent.chmod(0o555)
    try:
        return subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(path)],
            check=False, timeout=60, capture_output=True, text=True,
        )  # fmt: skip
    finally:
        path.parent.chmod(0o755)


async def test_a_read_only_file_answers_what_it_has() -> None:
    """Hits are read, misses are paid for; nothing may be written, not even beside the file."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "cache.db")
        await asked(path)
        path.chmod(0o444)
        done = asked_in_a_read_only_folder(path)
    assert done.stdout.split() == ["paid", "new"], done.stderr


@pytest.mark.parametrize("what", ["no file, and none may be made", "a file that may not be read"])
async def test_what_may_not_be_opened_is_told(what: str) -> None:
    """At the first call, by the file's name: it is a mistake, and would cost money for good."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "cache.db")
        if what.startswith("a file"):
            await asked(path)
            path.chmod(0o000)
        done = asked_in_a_read_only_folder(path)
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("samecall._errors.ConfigurationError: "), done.stderr
    assert "cache.db cannot be opened (Permission denied)" in last


# --- gone -----------------------------------------------------------------------------------------


async def test_a_deleted_file_is_made_anew(
    path: Path, process: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has it open notices, so that all processes meet in the new one."""
    monkeypatch.setattr("samecall._disk.worker._REPLACED_EVERY", 0.0)
    one, two = process(), process()
    key = new_key()
    await one.set(key, envelope(key), LONG)
    assert await two.get(key) is not None
    for each in path.parent.iterdir():
        each.unlink()
    assert await two.get(key) is None
    assert await one.acquire(key, TOKEN, b"", LONG) == Lead(b"")
    assert not isinstance(await two.acquire(key, b"x" * 16, b"", LONG), (Lead, Hit))


async def test_a_locked_file_is_unreachable(path: Path, process: Make) -> None:
    """A process that stands still inside a transaction holds up writers, not readers."""
    store = process()
    key = new_key()
    await store.set(key, envelope(key), LONG)
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked by another process"):
        await store.set(key, envelope(key), LONG)
    assert await store.get(key) is not None
    raw.execute("ROLLBACK")
    raw.close()
    await store.set(key, envelope(key), LONG)


async def test_a_store_that_cannot_be_used_says_why(path: Path, process: Make) -> None:
    path.mkdir()
    with pytest.raises(StoreUnusable, match="cannot be opened"):
        await process().get(new_key())
