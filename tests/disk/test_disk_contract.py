"""The disk store against the public contract suites."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from disk_support import Process

from samecall._disk import DiskStore, open_disk
from samecall.testing import ManualClock
from samecall.testing.contracts import LeaseStoreContract, RecordingContract


class TestDiskStore(LeaseStoreContract, RecordingContract):
    """As a URL opens it."""

    @pytest.fixture
    async def store(self, path: Path) -> AsyncIterator[DiskStore]:
        store = open_disk(f"disk://{path}")()
        yield store
        await store.aclose()


class TestDiskStoreOnAManualClock(LeaseStoreContract, RecordingContract):
    """The same by a clock moved by hand."""

    @pytest.fixture
    async def store(self, path: Path) -> AsyncIterator[DiskStore]:
        self.clock = ManualClock()
        process = Process(path, now=self.clock.now)
        yield process.store
        await process.close()

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
