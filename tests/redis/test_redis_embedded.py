"""The embedded server ends with its owner, whatever way that ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from samecall._embedded import EmbeddedServer, embedded_url
from samecall._errors import StoreError


def answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def ends(path: str) -> bool:
    """Wait until the server and its directory are gone; False after a generous time."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if not answers(path) and not Path(path).parent.exists():
            return True
        time.sleep(0.01)
    return False


def run(script: str, *, kill: bool = False) -> str:
    """Run a script that prints its server's socket as the first line; that socket."""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    path = process.stdout.readline().strip()
    if kill:
        assert answers(path)
        os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    return path


HEAD = """
import os, sys
from samecall._embedded import EmbeddedServer
server = EmbeddedServer().start()
print(server.socket, flush=True)
"""


def test_close() -> None:
    """`close` ends the server and removes its directory; again it does nothing."""
    server = EmbeddedServer().start()
    path = server.socket
    assert answers(path)
    assert server.start() is server
    server.close()
    server.close()
    assert not Path(path).parent.exists()
    assert not answers(path)
    with pytest.raises(StoreError):
        _ = server.url


def test_two_of_their_own() -> None:
    """Every caller has a server of its own."""
    one, two = EmbeddedServer().start(), EmbeddedServer().start()
    assert one.url != two.url
    one.close()
    assert answers(two.socket)
    two.close()


def test_url() -> None:
    """`embedded_url` gives a URL that a store takes."""
    assert embedded_url().startswith("redis+unix:///")


def test_it_ends_with_the_process() -> None:
    """A process that just ends leaves no server behind."""
    assert ends(run(HEAD))


def test_it_ends_with_a_killed_process() -> None:
    """Nor does one that is killed with SIGKILL."""
    assert ends(run(HEAD + "sys.stdin.read()", kill=True))


def test_a_forked_child_does_not_end_it() -> None:
    """A child that ends, orderly or by a close of its own, leaves its parent's server alone."""
    script = """
pid = os.fork()
if pid == 0:
    server.close()
    sys.exit(0)  # runs the exit handlers
os.waitpid(pid, 0)
from redis import Redis
assert Redis(unix_socket_path=server.socket).ping()
print("alive")
"""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    path, said = done.stdout.split()
    assert said == "alive"
    assert ends(path)


def test_it_ends_although_a_forked_child_lives_on() -> None:
    """A child that outlives a killed owner does not keep the server."""
    script = """
pid = os.fork()
if pid == 0:
    os.close(1)
    signal_r, _ = os.pipe()
    import signal
    signal.alarm(60)
    os.read(signal_r, 1)
    os._exit(0)
print(pid, flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD + script],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    path = process.stdout.readline().strip()
    child = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    gone = ends(path)
    os.kill(child, signal.SIGKILL)
    assert gone
