"""Real servers behind a proxy that does what bad networks do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from samecall.testing import FaultProxy, LocalServer


@pytest.fixture(scope="session")
def shared_server() -> Iterator[LocalServer]:
    """One server for all tests."""
    with LocalServer() as server:
        yield server


@pytest.fixture
async def server(shared_server: LocalServer) -> LocalServer:
    """The server, empty and with the settings that it began with."""
    shared_server.start()
    raw = Redis.from_url(shared_server.url, protocol=2)
    await raw.flushall()
    await raw.aclose()
    return shared_server


@pytest.fixture
async def raw(server: LocalServer) -> AsyncIterator[Redis]:
    """A plain client, past the proxy."""
    client = Redis.from_url(server.url, protocol=2)
    yield client
    await client.aclose()


@pytest.fixture
async def proxy(server: LocalServer) -> AsyncIterator[FaultProxy]:
    """A proxy in this loop, without faults."""
    async with FaultProxy(server.url) as proxy:
        yield proxy
