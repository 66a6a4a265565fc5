"""Files for the tests of the disk store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from disk_support import Process

from samecall._disk import DiskStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
async def process(path: Path) -> AsyncIterator[Callable[..., DiskStore]]:
    """Makes stores that share nothing but the file, as in processes of their own."""
    made: list[Process] = []

    def make(**more: object) -> DiskStore:
        made.append(Process(path, **more))
        return made[-1].store

    yield make
    for each in made:
        await each.close()


@pytest.fixture
def store(process: Callable[..., DiskStore]) -> DiskStore:
    return process()
