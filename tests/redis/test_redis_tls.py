"""TLS on every way in: a real server, sentinels and a cluster behind ends of TLS."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.sentinel import Sentinel
from redis_parts import PATIENT, new_key

from samecall import Cache, Policy
from samecall.testing import LocalCluster, LocalSentinel, LocalServer

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate of its own for this address, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "samecall")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    file.write_bytes(key.private_bytes(pem, *plain) + certificate.public_bytes(pem))
    return file


@pytest.fixture
async def behind(trusted: Path) -> AsyncIterator[Callable[[int], Any]]:
    """Opens an end of TLS before a port of this machine, and gives the port of that."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted)
    tasks = set[asyncio.Task[None]]()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async with AsyncExitStack() as stack:

        async def before(port: int) -> int:
            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                there, back = await asyncio.open_connection(HOST, port)
                for each in (carry(reader, back), carry(there, writer)):
                    task = asyncio.ensure_future(each)
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)

            server = await asyncio.start_server(serve, HOST, 0, ssl=context)
            stack.callback(server.close)
            return int(server.sockets[0].getsockname()[1])

        yield before
    for task in tuple(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def shared(source: object) -> bool:
    """Whether two caches on this make one call of two, and keep its answer."""
    caches = [Cache(source, policy=Policy(op_timeout=PATIENT)) for _ in range(2)]
    key, gate, calls = new_key(), asyncio.Event(), 0

    async def call() -> str:
        nonlocal calls
        calls += 1
        await gate.wait()
        return "yes"

    asked = [asyncio.ensure_future(cache.get_or_call(key, call)) for cache in caches]
    while not calls:
        await asyncio.sleep(0)
    gate.set()
    answers = await asyncio.gather(*asked)
    for cache in caches:
        await cache.aclose()
    counted = [cache.statistics() for cache in caches]
    told = (answers, calls, sum(each.stored for each in counted))
    return told == (["yes"] * 2, 1, 1) and not sum(each.store_faults for each in counted)


async def test_a_server(trusted: Path, behind: Any) -> None:
    with LocalServer() as server:
        port = await behind(server.port)
        settings: Any = {"ssl": True, "ssl_ca_certs": str(trusted)}
        assert await shared(f"rediss://{HOST}:{port}/1?ssl_ca_certs={trusted}")
        assert await shared(f"valkeys://{HOST}:{port}?ssl_ca_certs={trusted}")
        client = Redis(host=HOST, port=port, decode_responses=True, **settings)
        assert await shared(client)
        await client.aclose()


async def test_one_that_is_not_trusted_is_trouble_and_no_more(behind: Any) -> None:
    """Nothing goes to it; the call is answered."""

    async def call() -> str:
        return "yes"

    with LocalServer() as server:
        cache = Cache(f"rediss://{HOST}:{await behind(server.port)}")
        assert await cache.get_or_call(new_key(), call) == "yes"
        assert cache.statistics().store_faults > 0
        await cache.aclose()


async def test_a_cluster(cluster: LocalCluster, trusted: Path, behind: Any) -> None:
    """By a client that maps the nodes' plain addresses to those of TLS."""
    ports = {node.port: await behind(node.port) for node in cluster.nodes}
    client = RedisCluster(
        host=HOST,
        port=ports[cluster.nodes[0].port],
        ssl=True,
        ssl_ca_certs=str(trusted),
        address_remap=lambda place: (HOST, ports.get(place[1], place[1])),
    )
    assert await shared(client)
    await client.aclose()


async def test_sentinels(sentinel: LocalSentinel, trusted: Path, behind: Any) -> None:
    """That are asked over TLS; the server that they name is asked as its own settings say."""
    places = [(HOST, await behind(each.port)) for each in sentinel.sentinels]
    secure: Any = {"ssl": True, "ssl_ca_certs": str(trusted)}
    manager = Sentinel(places, sentinel_kwargs=secure)
    assert await shared(manager.master_for(sentinel.service))
    for each in manager.sentinels:
        await each.aclose()
