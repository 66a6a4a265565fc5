"""Killed at any byte: what a process had written of the log when it ended, cut off anywhere."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from disk_support import Process, envelope, new_key

from samecall._entry import Key
from samecall._ports import Hit, Lead

LONG = 600.0
TOKEN = b"t" * 16
CUTS = 160


class Log:
    """A file, the log that was written after it, and what stood there after each step."""

    def __init__(self, room: Path) -> None:
        self.room = room
        self.file, self.log = b"", b""
        self.steps: list[tuple[int, dict[Key, bytes | None]]] = []

    async def write(self) -> None:
        """Commits, one replaced, one forgotten: each is a transaction of its own."""
        path = self.room / "whole.db"
        before = {key: envelope(key, b"before" * 200) for key in (new_key(), new_key())}
        process = Process(path)
        for key, data in before.items():
            await process.store.set(key, data, LONG)
        await process.close()  # all of it stands in the file, and the log is empty
        process, there = Process(path), dict[Key, bytes | None](before)
        await process.store.ping()
        self._step(path, there)
        first, second = before
        for number in range(8):
            key = new_key()
            data = envelope(key, bytes([number]) * 700 * number)
            await process.store.acquire(key, TOKEN, b"", LONG)
            assert await process.store.commit(key, TOKEN, b"", data, LONG)
            there[key] = data
            self._step(path, there)
        there[first] = envelope(first, b"after" * 300)
        await process.store.set(first, there[first] or b"", LONG)
        self._step(path, there)
        await process.store.forget(second, LONG)
        there[second] = None
        self._step(path, there)
        self.file, self.log = path.read_bytes(), Path(f"{path}-wal").read_bytes()
        await process.close()

    def _step(self, path: Path, there: dict[Key, bytes | None]) -> None:
        self.steps.append((Path(f"{path}-wal").stat().st_size, dict(there)))

    def cut(self, at: int, tail: bytes = b"") -> Path:
        """What is there if no byte after `at` was written, or others were."""
        place = self.room / "cut"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        (place / "cut.db").write_bytes(self.file)
        (place / "cut.db-wal").write_bytes(self.log[:at] + tail)
        return place / "cut.db"


@pytest.fixture
async def log(tmp_path: Path) -> Log:
    log = Log(tmp_path)
    await log.write()
    assert len(log.log) > 50_000
    return log


async def test_a_log_that_is_cut_off_at_any_byte(log: Log) -> None:
    """All that was told to be stored before is there, nothing is half there, and calls go on."""
    chance = random.Random(11)
    ends = [end for end, _ in log.steps]
    cuts = {0, len(log.log), *(end + more for end in ends for more in (-1, 0, 1))}
    cuts |= {chance.randrange(len(log.log)) for _ in range(CUTS)}
    for at in sorted(cut for cut in cuts if 0 <= cut <= len(log.log)):
        tail = chance.randbytes(chance.choice([0, 0, 700]))
        process = Process(log.cut(at, tail))
        found = {key: await process.store.get(key) for key in log.steps[-1][1]}
        there = {key: each.data if each is not None else None for key, each in found.items()}
        # of one step, whole, and of none before the last that was written in full
        least = max((n for n, end in enumerate(ends) if end <= at), default=0)
        known = [{**dict.fromkeys(there), **step} for _, step in log.steps[least:]]
        assert there in known, f"cut at {at}"
        key = new_key()
        assert isinstance(await process.store.acquire(key, TOKEN, b"", LONG), Lead)
        assert await process.store.commit(key, TOKEN, b"", envelope(key), LONG)
        assert isinstance(await process.store.acquire(key, TOKEN, b"", LONG), Hit)
        await process.close()
