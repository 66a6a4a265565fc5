"""The Redis store against the public contract suites, on every server."""

import pytest

from samecall._redis import open_redis
from samecall.testing.contracts import LeaseStoreContract, RecordingContract

PATIENT = 30.0
"""Seconds within which even a busy machine's server replies."""


class TestRedisStore(LeaseStoreContract, RecordingContract):
    @pytest.fixture
    async def store(self, server):
        store = open_redis(server.url, op_timeout=PATIENT)()
        yield store
        await store.aclose()
