"""A URL, or something ready, becomes a way to get a store for an event loop."""

from __future__ import annotations

from collections.abc import Callable

from samecall._errors import ConfigurationError
from samecall._memory import MemoryStore
from samecall._ports import LeaseStore

__all__ = ["SCHEMES", "is_store", "open_store"]

_REDIS = tuple(
    f"{name}{kind}"
    for name in ("redis", "valkey")
    for kind in ("", "s", "+unix", "+cluster", "s+cluster", "+sentinel", "s+sentinel")
)
SCHEMES = ("memory", *_REDIS, "embedded")


def open_store(
    url_or_store: object, *, entries: int, size: int
) -> tuple[Callable[[], LeaseStore], str]:
    """What opens a store (once per event loop, no I/O yet), and its name for messages.

    Raises `ConfigurationError` for what is neither a known URL, a store nor a Redis client.
    """
    if isinstance(url_or_store, str):
        return _open_url(url_or_store, entries, size)
    if is_store(url_or_store):
        store: LeaseStore = url_or_store  # type: ignore[assignment]
        return (lambda: store), type(store).__name__
    if type(url_or_store).__module__.partition(".")[0] in ("redis", "valkey"):
        from samecall._redis import open_redis

        return open_redis(url_or_store), type(url_or_store).__name__
    raise ConfigurationError(
        "url_or_store takes a URL, a samecall store or a redis.asyncio client; "
        f"got {type(url_or_store).__name__}"
    )


def is_store(thing: object) -> bool:
    """Whether this is a `LeaseStore` that somebody made, and not its class."""
    names = ("acquire", "commit", "listen", "forget")
    return not isinstance(thing, type) and all(hasattr(thing, name) for name in names)


def _open_url(url: str, entries: int, size: int) -> tuple[Callable[[], LeaseStore], str]:
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme == "memory":
        store = MemoryStore(entries=entries, bytes=size)
        return (lambda: store), "memory://"
    if scheme in _REDIS:
        from samecall._redis import open_redis

        return open_redis(url), _without_login(url)
    if scheme == "embedded":
        from samecall._embedded import embedded_url
        from samecall._redis import open_redis

        return open_redis(embedded_url()), "embedded://"
    known = ", ".join(f"{name}://" for name in SCHEMES)
    raise ConfigurationError(
        f"url_or_store takes a URL of {known}; got {_without_login(url)!r:.80}"
    )


def _without_login(url: str) -> str:
    # by hand: what is wrong with a URL may be just that a parser takes its password for a path
    scheme, separator, rest = url.partition("://")
    if not separator or not scheme.replace("+", "").replace("-", "").isalnum():
        scheme, separator, rest = "", "", url
    place = rest.rpartition("@")[2]
    return scheme + separator + place.partition("?")[0].partition("#")[0]
