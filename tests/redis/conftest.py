"""Real servers for the tests of the Redis store."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from samecall._embedded import EmbeddedServer
from samecall._entry import Entry, Key, Kind, Payload, encode_entry, new_stamp
from samecall._redis import RedisStore, open_redis

PATIENT = 30.0
"""An op_timeout that no healthy server meets on any machine."""


def new_key(namespace: str | None = None) -> Key:
    """A key that no other test uses."""
    return Key(os.urandom(32), f"ns-{os.urandom(6).hex()}" if namespace is None else namespace)


def new_data(key: Key, body: bytes = b"answer", kind: Kind = Kind.VALUE) -> bytes:
    """An envelope with a new stamp."""
    return encode_entry(key, Entry(kind, Payload("test", body), new_stamp(), 60.0, 60.0))


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
