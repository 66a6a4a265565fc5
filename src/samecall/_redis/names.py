"""What the keys of a call are named in Redis."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote

from samecall._entry import Key

__all__ = ["channel", "error", "lease", "pattern", "tombstone", "value"]


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


def tombstone(key: Key) -> str:
    """What forbids commits without a lease after a forget."""
    return f"{_space(key.namespace)}:t:{{{key.hex}}}"


def channel(key: Key, db: int) -> str:
    """Where news of the call is published; pub/sub knows no database numbers, so it has its own."""
    return f"{db}:{_space(key.namespace)}:n:{{{key.hex}}}"


def pattern(namespace: str, kind: str) -> str:
    """A SCAN pattern for all keys of one kind ("v" or "e") in a namespace."""
    return f"{_space(namespace)}:{kind}:*"
