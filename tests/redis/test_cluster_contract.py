"""The public contract suites over a cluster and over Sentinel."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis_parts import PATIENT

from samecall._redis import RedisStore, open_redis
from samecall.testing import LocalCluster, LocalSentinel
from samecall.testing.contracts import LeaseStoreContract, RecordingContract


class TestClusterStore(LeaseStoreContract, RecordingContract):
    """Three primaries, one store per test."""

    @pytest.fixture
    async def store(self, cluster: LocalCluster) -> AsyncIterator[RedisStore]:
        """A store of this test's loop."""
        store = open_redis(cluster.url, op_timeout=PATIENT)()
        yield store
        await store.aclose()


class TestSentinelStore(LeaseStoreContract, RecordingContract):
    """A primary that the sentinels name, one store per test."""

    @pytest.fixture
    async def store(self, sentinel: LocalSentinel) -> AsyncIterator[RedisStore]:
        """A store of this test's loop."""
        store = open_redis(sentinel.url, op_timeout=PATIENT)()
        yield store
        await store.aclose()
