"""Which servers a URL or a ready client stands for, and the lines that lead there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio import connection as redis_connection
from redis.asyncio.sentinel import Sentinel

from samecall._errors import ConfigurationError
from samecall._redis.batch import Lane
from samecall._redis.bell import RedisBell
from samecall._redis.bells import Switchboard
from samecall._redis.client import TAKES, Settings, settings_of, settings_with
from samecall._redis.cluster import ClusterLane
from samecall._redis.ear import Ear
from samecall._redis.link import Connection, Link
from samecall._redis.router import Router
from samecall._redis.sentinel import SentinelConnection, Watch
from samecall._redis.shards import ClusterBells
from samecall._redis.topology import Address, Seeds

__all__ = ["Bells", "Lines", "lines_of"]

_FLEETS = {
    f"{name}{tls}+{fleet}": (fleet, bool(tls))
    for name in ("redis", "valkey")
    for tls in ("", "s")
    for fleet in ("cluster", "sentinel")
}
_PORTS = {"cluster": 6379, "sentinel": 26379}


class Bells(Protocol):
    """Where a store listens."""

    @property
    def publish(self) -> bytes: ...

    def listen(self, name: bytes) -> AbstractAsyncContextManager[RedisBell]: ...

    def statistics(self) -> tuple[int, int]: ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Lines:
    """What a store of one event loop talks over."""

    db: int
    reads: Lane | ClusterLane
    writes: Lane | ClusterLane
    bells: Bells
    ear: Ear | None = None


def lines_of(source: object) -> Callable[[float], Lines]:
    """What makes the lines, given seconds within which a reply is owed; does no I/O itself.

    Raises `ConfigurationError`, which says what is taken.
    """
    if isinstance(source, str):
        scheme = source.partition("://")[0].lower() if "://" in source else ""
        if scheme in _FLEETS:
            return _from_url(scheme, source)
    elif isinstance(source, RedisCluster):
        return _cluster(_seeds_of(source))
    elif isinstance(source, Sentinel):
        return _sentinel(_watch_of(source, None), _data_of(source))
    elif isinstance(source, Redis) and hasattr(source.connection_pool, "sentinel_manager"):
        return _from_managed(source.connection_pool)
    settings = settings_of(source)
    return _single(settings.db, settings.make)


def _single(db: int, make: Callable[[], Connection]) -> Callable[[float], Lines]:
    return lambda limit: Lines(
        db,
        Lane(Link(make, limit), "reads"),
        Lane(Link(make, limit), "writes"),
        Switchboard(make, limit),
        Ear(make, limit),
    )


def _cluster(seeds: Seeds) -> Callable[[float], Lines]:
    def make(limit: float) -> Lines:
        router = Router(seeds, limit)
        reads, writes = ClusterLane(router, writes=False), ClusterLane(router, writes=True)
        return Lines(0, reads, writes, ClusterBells(router, limit))

    return make


def _sentinel(watch: Watch, settings: Settings) -> Callable[[float], Lines]:
    return _single(settings.db, lambda: SentinelConnection(watch, settings))


# --- URLs -------------------------------------------------------------------------------------


def _from_url(scheme: str, url: str) -> Callable[[float], Lines]:
    fleet, tls = _FLEETS[scheme]
    rest = url.partition("://")[2]
    try:
        parts = urlsplit(f"redis://{rest}")
        login, at, hosts = parts.netloc.rpartition("@")
        addresses = [_address(host, _PORTS[fleet]) for host in hosts.split(",")]
        service, path = _path(fleet, parts.path)
        plain = f"redis://{login}{at}localhost{path}?{parts.query}"
        options: dict[str, Any] = dict(redis_connection.parse_url(plain))
    except ValueError as error:
        raise ConfigurationError(f"url_or_store is no {scheme} URL: {error}") from None
    own = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    kind: Any = redis_connection.SSLConnection if tls else redis_connection.Connection
    lanes = options.pop("lanes", "2") if fleet == "cluster" else "2"
    if lanes not in {"1", "2"}:
        raise ConfigurationError(f"url_or_store: lanes takes 1 or 2; got {lanes!r:.20}")
    settings = settings_with(kind, options)
    if fleet == "cluster":
        return _cluster(Seeds(tuple(addresses), settings, one_lane=lanes == "1"))
    # the certificates and timers are the same; the login and the database are the servers' own
    shared = {k: v for k, v in options.items() if k not in {"db", "username", "password"}}
    watcher = settings_with(kind, {**shared, **own})
    watch = Watch(tuple(watcher.at(*address) for address in addresses), service)
    return _sentinel(watch, settings)


def _address(host: str, port: int) -> Address:
    parts = urlsplit(f"redis://{host}")
    if not parts.hostname:
        raise ValueError("host:port,host:port is expected, and one of these has no host")
    try:
        return parts.hostname, parts.port or port
    except ValueError:  # its message would quote what may be a password with a sign in it
        raise ValueError(
            "a port is no number from 0 to 65535, or a sign in a login is not written as %XX"
        ) from None


def _path(fleet: str, path: str) -> tuple[str, str]:
    """The service, and what is left for redis-py's own parser: the database."""
    service, _, db = path.strip("/").partition("/")
    if fleet == "cluster":
        if path not in {"", "/", "/0"}:
            raise ValueError("a cluster has only database 0, and its URL no other path")
        return "", ""
    if not service:
        raise ValueError("the name of the service is missing: host:port,host:port/service")
    if db and not db.isdecimal():
        raise ValueError("after the service comes a database number")
    return unquote(service), f"/{db}" if db else ""


# --- ready clients ----------------------------------------------------------------------------


def _seeds_of(client: Any) -> Seeds:
    nodes = [*client.nodes_manager.startup_nodes.values(), *client.get_nodes()]
    if not nodes:
        raise ConfigurationError(f"url_or_store takes {TAKES}; got a cluster client without a node")
    # the connect function is the client's own way to ask for replicas
    drop = {"redis_connect_func", "host", "port"}
    options = {k: v for k, v in nodes[0].connection_kwargs.items() if k not in drop}
    settings = settings_with(nodes[0].connection_class, options)
    addresses = dict.fromkeys((str(node.host), int(node.port)) for node in nodes)
    remap = getattr(client.nodes_manager, "address_remap", None)
    return Seeds(tuple(addresses), settings, remap)


def _watch_of(manager: Any, service: str | None) -> Watch:
    watchers = tuple(
        settings_with(each.connection_pool.connection_class, each.connection_pool.connection_kwargs)
        for each in manager.sentinels
    )
    return Watch(watchers, service, getattr(manager, "_force_master_ip", None))


def _data_of(manager: Any) -> Settings:
    options: dict[str, Any] = dict(manager.connection_kwargs)
    kind: Any = redis_connection.Connection
    if options.pop("ssl", False):
        kind = redis_connection.SSLConnection
    return settings_with(kind, options)


def _from_managed(pool: Any) -> Callable[[float], Lines]:
    if not pool.is_master:
        raise ConfigurationError(
            "url_or_store: a replica takes no leases; give what Sentinel.master_for(service) makes"
        )
    tls = issubclass(pool.connection_class, redis_connection.SSLConnection)
    kind: Any = redis_connection.SSLConnection if tls else redis_connection.Connection
    options = {k: v for k, v in pool.connection_kwargs.items() if k != "connection_pool"}
    watch = _watch_of(pool.sentinel_manager, pool.service_name)
    return _sentinel(watch, settings_with(kind, options))
