"""The memory store against the public contract suites."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from samecall._memory import MemoryStore
from samecall.testing import FaultyStore, ManualClock
from samecall.testing.contracts import LeaseStoreContract, RecordingContract


class TestMemoryStore(LeaseStoreContract, RecordingContract):
    """The in-process model of the protocol, on a clock moved by hand."""

    @pytest.fixture
    async def store(self) -> AsyncIterator[MemoryStore]:
        self.clock = ManualClock()
        store = MemoryStore(clock=self.clock)
        yield store
        assert store.statistics().listeners == 0
        await store.aclose()

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)


class TestMemoryStoreInRealTime(LeaseStoreContract, RecordingContract):
    """The same by the machine's clock, as servers run it."""

    @pytest.fixture
    async def store(self) -> MemoryStore:
        return MemoryStore()


class TestFaultyStoreWithoutFaults(LeaseStoreContract, RecordingContract):
    """A faulty store with nothing wrong is the store that it wraps."""

    @pytest.fixture
    async def store(self) -> FaultyStore:
        return FaultyStore(MemoryStore())
