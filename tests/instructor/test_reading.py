"""The thread of a synchronous stream ends when its reader leaves, whatever it does at the time."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from samecall.instructor._reading import Reading


class Lines:
    """A stream of one line an event; before each of them it takes a pass from `gate`."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.file = connection.makefile("rb")
        self.gate = threading.Semaphore(1)
        self.asked = 0
        self.at_line = threading.Event()
        self.closed_by: int | None = None

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> bytes:
        self.asked += 1
        self.gate.acquire()
        self.at_line.set()
        line = self.file.readline()
        if not line:
            raise StopIteration
        return line

    def close(self) -> None:
        self.closed_by = threading.get_ident()
        self.file.close()
        self.connection.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    today = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, form, plain))
    return path


@pytest.fixture(params=["plain", "tls"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection: the provider's end, and the reader's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        reader = socket.create_connection(server.getsockname())
        provider, _ = server.accept()
    for end in (provider, reader):
        end.settimeout(120)  # as an SDK's HTTP client does; longer than any test
    if request.param == "tls":
        path = request.getfixturevalue("certificate")
        theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        theirs.load_cert_chain(path)
        ours = ssl.create_default_context(cafile=path)
        with ThreadPoolExecutor(1) as greeting:
            greeted = greeting.submit(theirs.wrap_socket, provider, server_side=True)
            reader = ours.wrap_socket(reader, server_hostname="localhost")
            provider = greeted.result()
    with provider, reader:
        yield provider, reader


def ended(provider: socket.socket) -> bool:
    """Whether the provider hears that nobody reads."""
    try:
        return provider.recv(1) == b""
    except OSError:  # of TLS, without a farewell
        return True


async def until_gone(reading: Reading) -> None:
    while reading._thread.is_alive():
        await asyncio.sleep(0.001)


async def test_a_thread_that_waits_for_bytes_is_woken(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """And closes what it has opened itself: nobody else may, while it reads."""
    provider, connection = ends
    lines = Lines(connection)
    reading = Reading(lambda: lines)
    assert await reading.open() is lines
    provider.sendall(b"one\n")
    assert await anext(reading) == b"one\n"
    lines.at_line.clear()
    lines.gate.release()
    await asyncio.to_thread(lines.at_line.wait)
    thread = reading._thread.ident
    await reading.aclose()
    await until_gone(reading)
    assert lines.closed_by == thread
    assert await asyncio.to_thread(ended, provider)


async def test_a_thread_that_was_busy_is_woken_when_it_waits_again(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    provider, connection = ends
    lines = Lines(connection)
    reading = Reading(lambda: lines)
    await reading.open()
    provider.sendall(b"one\n")
    assert await anext(reading) == b"one\n"
    while lines.asked < 2:
        await asyncio.sleep(0)
    await reading.aclose()
    lines.gate.release()  # nothing will come
    await until_gone(reading)
    assert await asyncio.to_thread(ended, provider)


async def test_what_is_opened_for_nobody_is_closed() -> None:
    """A call that is not answered yet is left alone: shut down, an SDK would make it again."""
    asked, answer = threading.Event(), threading.Event()
    closed: list[str] = []

    class Stream:
        def __iter__(self) -> Iterator[int]:
            return iter(range(9))

        def close(self) -> None:
            closed.append("closed")

    def opening() -> Any:
        asked.set()
        answer.wait()
        return Stream()

    reading = Reading(opening)
    task = asyncio.create_task(reading.open())
    await asyncio.to_thread(asked.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not closed
    answer.set()
    await until_gone(reading)
    assert closed == ["closed"]


async def test_events_errors_and_the_end() -> None:
    def events(error: Exception | None) -> Iterator[int]:
        yield from range(3)
        if error is not None:
            raise error

    reading = Reading(lambda: events(None))
    await reading.open()
    assert [event async for event in reading] == [0, 1, 2]
    reading = Reading(lambda: events(OSError("cut")))
    await reading.open()
    got: list[int] = []
    with pytest.raises(OSError, match="cut"):
        got.extend([event async for event in reading])
    reading = Reading(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await reading.open()
    await until_gone(reading)


async def test_a_slow_reader_is_not_run_away_from() -> None:
    """Nor does a thread that waits for it stay when it leaves."""
    made: list[int] = []

    def events() -> Iterator[int]:
        for number in range(100_000):
            made.append(number)
            yield number

    reading = Reading(events)
    await reading.open()
    while len(made) < 65:
        await asyncio.sleep(0)
    assert [await anext(reading) for _ in range(10)] == list(range(10))
    while len(made) < 75:
        await asyncio.sleep(0)
    await reading.aclose()
    await until_gone(reading)
    assert len(made) == 75


def test_a_loop_that_has_ended_holds_up_no_thread(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    provider, connection = ends
    lines = Lines(connection)

    async def leave() -> threading.Thread:
        reading = Reading(lambda: lines)
        await reading.open()
        return reading._thread

    thread = asyncio.run(leave())
    provider.sendall(b"one\n")
    provider.close()
    lines.gate.release()
    thread.join()
    assert lines.closed_by


async def test_what_is_no_stream_raises() -> None:
    async with asyncio.timeout(10):
        with pytest.raises(TypeError, match="not iterable"):
            await Reading(lambda: 7).open()
