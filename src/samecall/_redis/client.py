"""A URL or a ready client becomes the settings of the connections that a store makes itself.

The settings leave nothing to redis-py's own machinery: no pool, no retries, no timers (they fire
wrongly after the loop was busy), no maintenance notifications (they switch off redis-py's check
for unread data), RESP2, bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio import connection as redis_connection

from samecall._errors import ConfigurationError
from samecall._redis.link import Connection

__all__ = ["Settings", "settings_of"]

_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "redis+unix": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
    "valkey+unix": "unix",
}
_LATER = ("redis+cluster", "redis+sentinel", "valkey+cluster", "valkey+sentinel")
_TAKES = "redis://, rediss://, redis+unix:// (or valkey for redis) or a redis.asyncio.Redis client"

# what belongs to a pool or to features that a lane does without
_DROPPED = frozenset(
    {
        "connection_class",
        "decode_responses",
        "health_check_interval",
        "himport_registry",
        "legacy_responses",
        "max_connections",
        "orig_host_address",
        "orig_socket_connect_timeout",
        "orig_socket_timeout",
        "parser_class",
        "protocol",
        "retry",
        "retry_on_error",
        "retry_on_timeout",
        "socket_connect_timeout",
        "socket_timeout",
        "timeout",
    }
)

_OURS = {
    "protocol": 2,
    "decode_responses": False,
    "socket_timeout": None,  # not left out: redis-py's own default is 5 s
    "socket_connect_timeout": None,
    "health_check_interval": 0,
}


def _kept(name: str) -> bool:
    return name not in _DROPPED and not name.startswith(("maint", "oss_cluster_maint"))


@dataclass(frozen=True, slots=True)
class Settings:
    """How to make one connection; making it does no I/O."""

    kind: Callable[..., Connection]
    options: dict[str, Any] = field(repr=False)  # a password is among them

    @property
    def db(self) -> int:
        """The database number, which pub/sub does not know of itself."""
        return int(self.options.get("db") or 0)

    def make(self) -> Connection:
        """A connection that is not yet connected."""
        return self.kind(**self.options, **_OURS)


def settings_of(source: object) -> Settings:
    """The settings in a URL or a ready client; `ConfigurationError` says what is taken."""
    if isinstance(source, str):
        found = _from_url(source)
    elif isinstance(source, Redis):
        found = _from_client(source)
    else:
        raise ConfigurationError(f"url_or_store takes {_TAKES}; got {type(source).__name__}")
    try:
        found.make()
    except Exception as error:  # noqa: BLE001 - an option that the connection does not know, a wrong type
        raise ConfigurationError(f"url_or_store: an option cannot be used: {error}") from None
    return found


def _from_url(url: str) -> Settings:
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme in _LATER:
        raise ConfigurationError(f"url_or_store: {scheme}:// is not served yet; it takes {_TAKES}")
    if scheme not in _SCHEMES:
        raise ConfigurationError(f"url_or_store takes {_TAKES}; got the scheme {scheme!r}")
    plain = f"{_SCHEMES[scheme]}://{url.partition('://')[2]}"
    try:
        options: dict[str, Any] = dict(redis_connection.parse_url(plain))
        path = urlsplit(plain).path.strip("/")
    except ValueError as error:
        # a password with a "/" in it is taken for a port, and the message would quote it
        why = "a sign in its login has to be written as %XX" if "@" in url else str(error)
        raise ConfigurationError(f"url_or_store is no {scheme} URL: {why}") from None
    if scheme.endswith("+unix"):
        if not options.get("path"):
            raise ConfigurationError(f"url_or_store: {scheme}:// takes the path of a socket")
        kind: Any = redis_connection.UnixDomainSocketConnection
    else:
        tls = plain.startswith("rediss")
        kind = redis_connection.SSLConnection if tls else redis_connection.Connection
        if path and not path.isdecimal():
            path = path.rpartition("@")[2]  # what is before it may be the end of a password
            raise ConfigurationError(
                f"url_or_store: the path of {scheme}:// is a database number; got {path!r:.60}"
            )
    return Settings(kind, {name: value for name, value in options.items() if _kept(name)})


def _from_client(client: Redis) -> Settings:
    pool: Any = client.connection_pool
    kind: Any = pool.connection_class
    if not isinstance(kind, type) or hasattr(pool, "sentinel_manager"):
        raise ConfigurationError(f"url_or_store: a Sentinel client is not served yet; {_TAKES}")
    options: dict[str, Any] = pool.connection_kwargs
    return Settings(kind, {name: value for name, value in options.items() if _kept(name)})
