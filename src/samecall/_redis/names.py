"""What the keys of a call are named in Redis."""

from __future__ import annotations

import os
from functools import lru_cache
from hashlib import blake2b
from urllib.parse import quote

from samecall._entry import Key

__all__ = [
    "REPORTS",
    "change",
    "channel",
    "error",
    "generation",
    "lease",
    "new_generation",
    "of_call",
    "pattern",
    "recording",
    "report",
    "tombstone",
    "track",
    "value",
]

REPORTS = "samecall:c"
"""The list of all reports."""


@lru_cache(maxsize=1024)
def _space(namespace: str) -> str:
    # no colon, brace or glob sign is left: names can't run into each other or into a pattern
    return quote(namespace, safe="", errors="surrogatepass")


def value(key: Key) -> str:
    """Where the entry lives; the digest is the hash tag, so one call lives in one slot."""
    return f"{_space(key.namespace)}:v:{{{key.hex}}}"


def error(key: Key) -> str:
    """Where a short-lived error lives, beside the value."""
    return f"{_space(key.namespace)}:e:{{{key.hex}}}"


def lease(key: Key) -> str:
    """Where the token of the leader lives."""
    return f"{_space(key.namespace)}:l:{{{key.hex}}}"


def generation(namespace: str, tag: str) -> str:
    """Where a tag's generation lives; the tag "" is the namespace itself."""
    return f"{_space(namespace)}:g:{_space(tag)}"


def new_generation(name: str) -> bytes:
    """12 random bytes, and 4 by which it is told as a generation of this name."""
    return os.urandom(12) + blake2b(name.encode(), digest_size=4).digest()


def tombstone(key: Key) -> str:
    """What forbids commits without a lease after a forget."""
    return f"{_space(key.namespace)}:t:{{{key.hex}}}"


def of_call(key: Key) -> tuple[str, str, str, str]:
    """Value, error, lease and tombstone."""
    space, tail = _space(key.namespace), f"{{{key.digest.hex()}}}"
    return f"{space}:v:{tail}", f"{space}:e:{tail}", f"{space}:l:{tail}", f"{space}:t:{tail}"


def change(key: Key, stamp: bytes = b"") -> str:
    """What is written, and at once deleted, where copies of a value may have to go.

    stamp: of the entry that is there from now on, copies of which may stay.
    """
    return f"{_space(key.namespace)}:x:{{{key.hex}}}{stamp.hex()}"


def channel(key: Key, db: int) -> str:
    """Where news of the call is published; pub/sub knows no database numbers, so it has its own."""
    return f"{db}:{_space(key.namespace)}:n:{{{key.hex}}}"


def recording(key: Key, token: bytes) -> str:
    """Where one generation of a stream is recorded."""
    return f"{_space(key.namespace)}:s:{{{key.hex}}}:{token.hex()}"


def track(key: Key, token: bytes, db: int) -> str:
    """Where what is recorded is published."""
    return f"{db}:{_space(key.namespace)}:r:{{{key.hex}}}:{token.hex()}"


def report(namespace: str, worker: str) -> str:
    """Where a worker leaves word of itself."""
    return f"{_space(namespace)}:c:{quote(worker, safe='', errors='surrogatepass')}"


def pattern(namespace: str, kind: str, digits: str = "") -> str:
    """A SCAN pattern for all keys of one kind ("v" or "e") in a namespace that begin so."""
    begins = f"{{{digits}" if digits else ""
    return f"{_space(namespace)}:{kind}:{begins}*"
