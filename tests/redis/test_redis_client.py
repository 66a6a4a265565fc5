"""URLs and ready clients."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from redis_parts import PATIENT, new_key

from redis import Redis as BlockingRedis
from samecall import Cache, Policy
from samecall._embedded import EmbeddedServer
from samecall._errors import ConfigurationError, StoreRefused
from samecall._redis import RedisStore, open_redis
from samecall._redis.client import settings_of


@pytest.mark.parametrize(
    ("url", "kind", "expected"),
    [
        ("redis://h:7/3", "Connection", {"host": "h", "port": 7, "db": 3}),
        ("valkey://h", "Connection", {"host": "h"}),
        ("REDIS://h/2", "Connection", {"host": "h", "db": 2}),
        ("redis://u:p%40@h", "Connection", {"username": "u", "password": "p@"}),
        ("rediss://h/1", "SSLConnection", {"host": "h", "db": 1}),
        ("valkeys://h", "SSLConnection", {"host": "h"}),
        ("redis+unix:///a/b?db=4", "UnixDomainSocketConnection", {"path": "/a/b", "db": 4}),
        ("valkey+unix:///a/b", "UnixDomainSocketConnection", {"path": "/a/b"}),
        ("redis://h?socket_timeout=9&max_connections=5&protocol=3", "Connection", {"host": "h"}),
    ],
)
def test_urls(url: str, kind: str, expected: dict[str, Any]) -> None:
    """What a URL says is what the connection gets; pool settings and timers stay ours."""
    connection: Any = settings_of(url).make()
    assert type(connection).__name__ == kind
    assert {name: getattr(connection, name) for name in expected} == expected
    assert connection.protocol == 2
    assert connection.socket_timeout is None
    assert connection.socket_connect_timeout is None
    assert connection.retry.get_retries() == 0


@pytest.mark.parametrize(
    "source",
    [
        "http://h",
        "nonsense",
        "",
        "redis+cluster://",
        "redis+cluster://h,",
        "redis+cluster://h/1",
        "redis+cluster://h:port",
        "rediss+cluster://h?no_such_option=1",
        "redis+sentinel://h",
        "redis+sentinel://h,h2/",
        "valkey+sentinel://h/s/x",
        "redis://h/abc",
        "redis://h:port",
        "redis+unix://",
        "redis://h?no_such_option=1",
        "redis://h?db=x",
        None,
        BlockingRedis(),
    ],
)
def test_what_is_not_taken(source: object) -> None:
    """A clear error at once that names the argument."""
    with pytest.raises(ConfigurationError, match="url_or_store"):
        open_redis(source)


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:secret@h/x",
        "redis://u:secret/more@h/0",
        "redis://u:1/secret@h/x",
        "redis://u:secret@[h",
    ],
)
def test_no_password_in_messages(url: str) -> None:
    """Neither a repr nor an error shows the password, not even where it is taken for a port."""
    assert "secret" not in repr(settings_of("redis://u:secret@h/0"))
    with pytest.raises(ConfigurationError) as caught:
        settings_of(url)
    assert "secret" not in str(caught.value)


async def test_a_ready_client_is_used_and_left_open(own_server: EmbeddedServer) -> None:
    """Its settings are taken over, whatever its protocol and decoding, and it stays usable."""
    client = Redis(
        unix_socket_path=own_server.socket,
        db=5,
        protocol=3,
        decode_responses=True,
        max_connections=7,
    )
    factory = open_redis(client, op_timeout=PATIENT)
    key = new_key()
    store = factory()
    await store.set(key, b"\xff", 600.0)
    found = await store.get(key)
    assert found is not None
    assert found.data == b"\xff"
    await store.aclose()
    assert await client.dbsize() == 1
    await client.aclose()


class Instrumented(Redis):
    """A client class of somebody's own."""


async def test_a_ready_client_of_ones_own_class(server: EmbeddedServer) -> None:
    """Counts as what it is derived from, wherever it is defined."""
    cache = Cache(Instrumented(unix_socket_path=server.socket), policy=Policy(op_timeout=PATIENT))
    assert await cache.get_or_call(new_key(), answered) == "yes"
    await cache.aclose()
    assert cache.statistics().stored == 1


async def answered() -> str:
    return "yes"


def test_a_ready_client_serves_every_loop(server: EmbeddedServer) -> None:
    """A client made outside gives a store per loop, each with connections of its own."""
    client = Redis(unix_socket_path=server.socket)
    factory = open_redis(client, op_timeout=PATIENT)

    async def use() -> None:
        store = factory()
        await store.ping()
        await store.aclose()

    asyncio.run(use())
    asyncio.run(use())


def test_a_store_is_closed_in_another_loop(server: EmbeddedServer) -> None:
    """A store whose loop has ended, with a bell left open, closes without a word."""
    factory = open_redis(server.url, op_timeout=PATIENT)

    async def use() -> RedisStore:
        store = factory()
        await store.ping()
        await store.listen(new_key()).__aenter__()
        return store

    store = asyncio.run(use())
    asyncio.run(store.aclose())


async def test_a_refused_login(own_server: EmbeddedServer) -> None:
    """No password, a wrong one and a wrong user are all `StoreRefused`, on every way in."""
    raw = Redis(unix_socket_path=own_server.socket, protocol=2)
    await raw.config_set("requirepass", "right")
    path = own_server.socket
    for query in ("", "?password=wrong", "?username=nobody&password=right"):
        store = open_redis(f"redis+unix://{path}{query}", op_timeout=PATIENT)()
        for work in (store.ping(), store.set(new_key(), b"x", 1.0), store.get(new_key())):
            with pytest.raises(StoreRefused):
                await work
        with pytest.raises(StoreRefused):
            async with store.listen(new_key()):
                pass
        await store.aclose()
    store = open_redis(f"redis+unix://{path}?password=right", op_timeout=PATIENT)()
    await store.ping()
    await store.aclose()
    await raw.aclose()
