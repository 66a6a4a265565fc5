"""The core's cases of two processes, with a file between them instead of memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "core"))
import core_support
import test_across_processes as core

from samecall._disk import DiskStore
from samecall._disk.jobs import Job
from samecall._disk.place import Place
from samecall._disk.worker import Disk
from samecall._entry import Key
from samecall._ports import Clock


class AtOnce(Disk):
    """Answers in the thread that asks: in virtual time no other thread keeps up."""

    def _put(self, job: Job) -> None:
        self.run([job])


class WorldsFile(DiskStore):
    """A file with what a `World` looks into."""

    made: list[WorldsFile]
    directory: Path
    recording_listeners = 0  # a file keeps no recordings

    def __init__(self, clock: Clock) -> None:
        place = Place(self.directory / f"{len(self.made)}.db")
        super().__init__(AtOnce(place, now=clock.now), lambda _: None)
        self.made.append(self)

    def _execute(self, statement: str, *values: object) -> Any:
        assert self.disk._opened is not None
        return self.disk._opened.file.connection.execute(statement, values)

    def statistics(self) -> SimpleNamespace:
        leases = 0
        if self.disk._opened is not None:
            now = self.disk._opened.file.now()
            (leases,) = self._execute("SELECT count(*) FROM leases WHERE ends > ?", now).fetchone()
        return SimpleNamespace(listeners=len(self.disk.bells), leases=leases)

    @property
    def _leases(self) -> SimpleNamespace:
        return SimpleNamespace(free_all=lambda: self._execute("DELETE FROM leases"))

    @property
    def _bells(self) -> Any:
        return self.disk.bells

    def drop(self, key: Key) -> None:
        self._execute("DELETE FROM entries WHERE digest = ? AND kind = 0", key.digest)


@pytest.fixture(autouse=True)
def _on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    WorldsFile.made, WorldsFile.directory = [], tmp_path
    monkeypatch.setattr(core_support, "MemoryStore", WorldsFile)
    yield
    for each in WorldsFile.made:
        each.disk._close()


CASES = {name: case for name, case in vars(core).items() if name.startswith("test_")}
globals().update(CASES)


def test_there_are_cases() -> None:
    assert len(CASES) > 10
