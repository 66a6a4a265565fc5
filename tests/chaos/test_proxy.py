"""The fault proxy: each fault is seen by a plain socket, and ends when it is healed."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from redis.asyncio import Redis

from samecall._embedded import EmbeddedServer
from samecall._errors import ConfigurationError
from samecall.testing import FaultProxy
from samecall.testing._requests import RequestCounter

PING, PONG = b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"


class Line:
    """A connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes = PING, reply: bytes = PONG) -> bytes:
        self.writer.write(request)
        return await self.reader.readexactly(len(reply))


async def connect(proxy: FaultProxy) -> Line:
    return Line(*await asyncio.open_connection("127.0.0.1", proxy.port))


async def test_without_faults_everything_goes_through(proxy: FaultProxy) -> None:
    """Bytes of any size arrive as they were sent."""
    client = Redis.from_url(proxy.url, protocol=2)
    big = bytes(range(256)) * 4096
    await client.set("k", big)
    assert await client.get("k") == big
    await client.aclose()


async def test_a_small_reply_does_not_wait_for_another(proxy: FaultProxy) -> None:
    """Both ways: or the proxy alone would add 40 ms where two replies follow each other."""
    line = await connect(proxy)
    await line.ask()
    (wire,) = proxy._wires
    for _, writer in (wire._client, wire._server or wire._client):
        here = writer.get_extra_info("socket")
        assert here.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_commands_and_round_trips_are_counted(proxy: FaultProxy) -> None:
    """A pipeline is many commands and one round trip."""
    line = await connect(proxy)
    await line.ask()
    await line.ask(PING * 5, PONG * 5)
    await line.ask(b"PING\r\n")
    counts = proxy.counts()
    assert (counts.commands, counts.round_trips) == (7, 3)
    assert (counts.connections, counts.open) == (1, 1)


@pytest.mark.parametrize("step", range(1, 12))
def test_requests_are_counted_in_any_pieces(step: int) -> None:
    """Arguments that look like requests are none."""
    counter = RequestCounter()
    payload = b"*1\r\n$4\r\nPING\r\n"
    data = b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\nPING\r\n" % (len(payload), payload) + PING
    for at in range(0, len(data), step):
        counter.feed(data[at : at + step])
    assert counter.commands == 3


async def test_fragments(proxy: FaultProxy) -> None:
    """Every write has at most so many bytes."""
    line = await connect(proxy)
    await line.ask()
    proxy.set(fragment=1)
    line.writer.write(PING)
    pieces = []
    while sum(map(len, pieces)) < len(PONG):
        pieces.append(await line.reader.read(100))
    assert b"".join(pieces) == PONG
    assert len(pieces) > 1


async def test_latency_holds_replies_and_not_requests(proxy: FaultProxy, raw: Redis) -> None:
    """The server has done it although the reply is still on its way."""
    line = await connect(proxy)
    await line.ask()
    proxy.set(latency=600.0)
    line.writer.write(b"SET k v\r\n")
    while await raw.get("k") is None:
        await asyncio.sleep(0)
    assert not line.reader._buffer  # type: ignore[attr-defined]


async def test_a_black_hole_takes_connections_and_answers_nothing(
    proxy: FaultProxy, raw: Redis
) -> None:
    """What was sent into it goes on when it ends."""
    line = await connect(proxy)
    await line.ask()
    proxy.set(black_hole=True)
    line.writer.write(b"SET k v\r\n")
    later = await connect(proxy)
    later.writer.write(PING)
    for _ in range(20):
        assert await raw.get("k") is None
    proxy.heal()
    assert await later.reader.readexactly(len(PONG)) == PONG
    assert await line.reader.readexactly(5) == b"+OK\r\n"


async def test_refused_and_back(proxy: FaultProxy) -> None:
    """Open connections end, new ones are refused, and later it listens at the same place."""
    line = await connect(proxy)
    await line.ask()
    proxy.set(refuse=True)
    with pytest.raises(OSError):
        await line.ask()
    with pytest.raises(ConnectionRefusedError):
        await connect(proxy)
    proxy.heal()
    assert await (await connect(proxy)).ask() == PONG


async def test_cut_in_mid_reply(proxy: FaultProxy) -> None:
    """So many bytes of replies arrive, then the connection is reset."""
    line = await connect(proxy)
    await line.ask()
    proxy.set(cut_after=10)
    await line.ask()
    line.writer.write(PING)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await line.reader.readexactly(len(PONG))
    assert bytes(line.reader._buffer) in {b"", PONG[:3]}  # type: ignore[attr-defined]


async def test_resets(proxy: FaultProxy) -> None:
    """At once, and at an interval."""
    for _ in range(2):
        line = await connect(proxy)
        await line.ask()
        proxy.reset()
        with pytest.raises(OSError):
            await line.ask()
        proxy.set(reset_every=0.01)
    before = proxy.counts().connections
    proxy.heal()
    assert await (await connect(proxy)).ask() == PONG
    assert proxy.counts().connections == before + 1


async def test_stray_bytes(proxy: FaultProxy) -> None:
    """They come before the reply to what is asked next."""
    line = await connect(proxy)
    await line.ask()
    assert proxy.inject(b"+STRAY\r\n") == 1
    assert await line.ask(PING, b"+STRAY\r\n+PONG\r\n") == b"+STRAY\r\n+PONG\r\n"


def test_in_a_thread(shared_server: Any) -> None:
    """Faults are set from outside and have taken effect when `set` returns."""
    with FaultProxy.in_thread(shared_server.url) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port)) as line:
            line.sendall(PING)
            assert line.recv(100) == PONG
            assert proxy.counts().commands == 1
            proxy.set(refuse=True)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", proxy.port))
            proxy.heal()
        socket.create_connection(("127.0.0.1", proxy.port)).close()


async def test_its_end_does_not_wait_for_what_has_ended(shared_server: Any) -> None:
    """A task that ends in the turn in which the proxy does is not gathered for ever."""

    async def nothing() -> None:
        pass

    async with FaultProxy(shared_server.url) as proxy:
        proxy.set(refuse=True)
        while proxy._tasks:
            await asyncio.sleep(0)
        proxy._start(nothing())
        await asyncio.sleep(0)
        assert proxy._tasks


async def test_in_front_of_a_unix_socket() -> None:
    """A server without a port gets one."""
    server = EmbeddedServer().start()
    try:
        async with FaultProxy(server.url) as proxy:
            assert await (await connect(proxy)).ask() == PONG
    finally:
        server.close()


async def test_what_it_does_not_take(proxy: FaultProxy) -> None:
    with pytest.raises(ConfigurationError):
        FaultProxy("http://example.org")
    with pytest.raises(ConfigurationError):
        proxy.set(lag=1)
