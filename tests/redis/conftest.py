"""Real servers for the tests of the Redis store."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis
from redis_parts import PATIENT

from samecall._embedded import EmbeddedServer
from samecall._redis import RedisStore, open_redis
from samecall.testing import LocalCluster, LocalSentinel


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """One server for all tests."""
    server = EmbeddedServer().start()
    yield server
    server.close()


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server that the test may maltreat."""
    server = EmbeddedServer().start()
    yield server
    server.close()


@pytest.fixture
def url(server: EmbeddedServer) -> str:
    """Where stores are opened: `SAMECALL_TEST_REDIS` or the session's own server."""
    return os.environ.get("SAMECALL_TEST_REDIS", server.url)


@pytest.fixture
async def store(url: str) -> AsyncIterator[RedisStore]:
    """A store of this test's loop."""
    store = open_redis(url, op_timeout=PATIENT)()
    yield store
    await store.aclose()


@pytest.fixture
async def raw(url: str) -> AsyncIterator[Redis]:
    """A plain client, to look behind the store's back."""
    client = Redis.from_url(url.replace("redis+unix", "unix"), protocol=2)
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    """One cluster for all tests; who moves its slots or primaries leaves it sound."""
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def sentinel() -> Iterator[LocalSentinel]:
    """One Sentinel set-up for all tests; who moves its primary leaves it sound."""
    with LocalSentinel() as sentinel:
        yield sentinel
