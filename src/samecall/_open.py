"""A URL, or something ready, becomes a way to get a store for an event loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from samecall._errors import ConfigurationError
from samecall._memory import MemoryStore
from samecall._ports import LeaseStore
from samecall._tiers import Tiers

__all__ = ["SCHEMES", "is_store", "open_store", "without_login"]

_REDIS = tuple(
    f"{name}{kind}"
    for name in ("redis", "valkey")
    for kind in ("", "s", "+unix", "+cluster", "s+cluster", "+sentinel", "s+sentinel")
)
_CLIENTS = ("redis", "valkey")  # packages; a client's class may be somebody's own
SCHEMES = ("memory", "disk", *_REDIS, "embedded")


def open_store(
    url_or_store: object, *, entries: int, size: int
) -> tuple[Callable[[], LeaseStore], str]:
    """What opens a store (once per event loop, no I/O yet), and its name for messages.

    Raises `ConfigurationError` for what is neither a known URL, a store nor a Redis client.
    """
    if isinstance(url_or_store, (list, tuple)):
        return _open_tiers(cast("Sequence[object]", url_or_store), entries, size)
    if isinstance(url_or_store, str):
        return _open_url(url_or_store, entries, size)
    if is_store(url_or_store):
        store: LeaseStore = url_or_store  # type: ignore[assignment]
        return (lambda: store), type(store).__name__
    if any(base.__module__.partition(".")[0] in _CLIENTS for base in type(url_or_store).__mro__):
        from samecall._redis import open_redis

        return open_redis(url_or_store), type(url_or_store).__name__
    raise ConfigurationError(
        "url_or_store takes a URL, a samecall store or a redis.asyncio client; "
        f"got {type(url_or_store).__name__}"
    )


def _open_tiers(
    places: Sequence[object], entries: int, size: int
) -> tuple[Callable[[], LeaseStore], str]:
    """The nearest first; each one but the last holds copies of what the rest answers."""
    if len(places) < 2:
        raise ConfigurationError(
            "url_or_store takes a list of two places or more, the nearest first"
        )
    first, *rest = places
    far, far_where = open_store(rest[0] if len(rest) == 1 else rest, entries=entries, size=size)
    near, near_where = open_store(first, entries=entries, size=size)
    closes = not is_store(first), not (len(rest) == 1 and is_store(rest[0]))
    return (lambda: Tiers(near(), far(), closes=closes)), f"{near_where} before {far_where}"


def is_store(thing: object) -> bool:
    """Whether this is a `LeaseStore` that somebody made, and not its class."""
    names = ("acquire", "commit", "listen", "forget")
    return not isinstance(thing, type) and all(hasattr(thing, name) for name in names)


def _open_url(url: str, entries: int, size: int) -> tuple[Callable[[], LeaseStore], str]:
    scheme, _, rest = url.partition("://") if "://" in url else ("", "", "")
    scheme = scheme.lower()
    if rest.strip("/") and scheme in ("memory", "embedded"):
        raise ConfigurationError(
            f"url_or_store: {scheme}:// is a whole URL, and takes nothing after it"
        )
    if scheme == "memory":
        store = MemoryStore(entries=entries, bytes=size)
        return (lambda: store), "memory://"
    if scheme == "disk":
        from samecall._disk import open_disk

        return open_disk(url), url.partition("?")[0]
    if scheme in _REDIS:
        from samecall._redis import open_redis

        return open_redis(url), without_login(url)
    if scheme == "embedded":
        from samecall._embedded import embedded_url
        from samecall._redis import open_redis

        return open_redis(embedded_url()), "embedded://"
    known = ", ".join(f"{name}://" for name in SCHEMES)
    raise ConfigurationError(f"url_or_store takes a URL of {known}; got {without_login(url)!r:.80}")


def without_login(url: str) -> str:
    """A URL as it may be shown."""
    # by hand: what is wrong with a URL may be just that a parser takes its password for a path
    scheme, separator, rest = url.partition("://")
    if not separator or not scheme.replace("+", "").replace("-", "").isalnum():
        scheme, separator, rest = "", "", url
    place = rest.rpartition("@")[2]
    return scheme + separator + place.partition("?")[0].partition("#")[0]
