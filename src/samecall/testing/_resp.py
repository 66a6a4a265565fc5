"""One command to one server, over a socket of its own: for the tests' own look at a server."""

from __future__ import annotations

import socket
from typing import BinaryIO

from samecall._errors import StoreError

__all__ = ["Reply", "ask"]

Reply = bytes | int | None | list["Reply"]


def ask(
    port: int, *command: str | bytes | int, host: str = "127.0.0.1", seconds: float = 10.0
) -> Reply:
    """The reply to one command; raises `StoreError` for an error reply, `OSError` for no server."""
    parts = [part if isinstance(part, bytes) else str(part).encode() for part in command]
    with socket.create_connection((host, port), timeout=seconds) as link:
        packed = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
        link.sendall(b"*%d\r\n%b" % (len(parts), packed))
        with link.makefile("rb") as replies:
            return _read(replies)


def _read(replies: BinaryIO) -> Reply:
    line = replies.readline()
    if not line.endswith(b"\r\n"):
        raise StoreError("the server hung up")
    kind, rest = line[:1], line[1:-2]
    match kind:
        case b"+":
            return rest
        case b":":
            return int(rest)
        case b"$":
            return None if rest == b"-1" else replies.read(int(rest) + 2)[:-2]
        case b"*":
            return None if rest == b"-1" else [_read(replies) for _ in range(int(rest))]
        case _:
            raise StoreError(f"the server answered: {rest.decode(errors='replace')}")
