"""The Redis store against the public contract suites."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis_parts import PATIENT

from samecall._redis import RedisStore, open_redis
from samecall.testing.contracts import LeaseStoreContract, RecordingContract


class TestRedisStore(LeaseStoreContract, RecordingContract):
    """One server, one store per test."""

    @pytest.fixture
    async def store(self, url: str) -> AsyncIterator[RedisStore]:
        """A store of this test's loop."""
        store = open_redis(url, op_timeout=PATIENT)()
        yield store
        await store.aclose()
