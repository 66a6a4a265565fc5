"""What the servers say of themselves: version, memory, persistence, cluster, clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from samecall._errors import StoreError
from samecall.cli.doctor.findings import Finding, Health

__all__ = ["examine", "judge"]

_OLDEST = (6, 2)
_EVICTS = ("allkeys-lru", "allkeys-lfu", "volatile-lru", "volatile-lfu", "volatile-ttl")
_SLOTS = 16_384
_ALMOST = 0.9
_FAR = 1.0
Info = Mapping[str, str]


async def examine(store: Any) -> list[Finding]:
    """Findings about each primary; raises `StoreError` if none can be asked."""
    if not hasattr(store, "everywhere"):
        return [Finding("server", Health.NOTE, f"{type(store).__name__} has no server")]
    infos = await store.everywhere("INFO")
    found: list[Finding] = []
    for number, reply in enumerate(infos, 1):
        of = f" of primary {number}" if len(infos) > 1 else ""
        if not isinstance(reply, bytes):
            found.append(_unseen(of, reply))
            continue
        info = _parsed(reply)
        found += [_named(finding, of) for finding in judge(info)]
    if any("cluster_enabled:1" in str(reply) for reply in infos):
        found += await _cluster(store)
    found.append(await _clock(store))
    return found


def _unseen(of: str, reply: object) -> Finding:
    return Finding(
        f"server{of}",
        Health.NOTE,
        f"INFO is not allowed ({reply}): version, memory and persistence are not looked at",
        "ACL SETUSER <user> +info",
    )


def _named(finding: Finding, of: str) -> Finding:
    return Finding(finding.check + of, finding.health, finding.says, finding.mend)


def _parsed(reply: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in reply.decode(errors="replace").splitlines())
    return {name: value.strip() for name, sign, value in lines if sign}


def judge(info: Info) -> Iterator[Finding]:
    """What one server's INFO tells."""
    for check in _CHECKS:
        finding = check(info)
        if finding is not None:
            yield finding


def _number(info: Info, name: str) -> int:
    value = info.get(name, "0")
    return int(value) if value.isdecimal() else 0


def _version(info: Info) -> Finding:
    kind = info.get("server_name", "redis")
    told = info.get("valkey_version") or info.get("redis_version", "0")
    parts = tuple(int(part) for part in told.split(".")[:2] if part.isdecimal())
    name = f"{kind.capitalize()} {told}"
    if parts < _OLDEST:
        return Finding(
            "version", Health.WARNING, f"{name} is older than what is tested", "use 6.2 or newer"
        )
    mode = info.get("server_mode") or info.get("redis_mode", "standalone")  # Valkey's, Redis's
    return Finding("version", Health.OK, f"{name}, {mode}")


def _role(info: Info) -> Finding | None:
    if info.get("role", "master") == "master":
        return None
    return Finding(
        "role",
        Health.FAILED,
        "this server is a replica and takes no writes",
        "give the primary's address, or redis+sentinel://host:port/service",
    )


def _memory(info: Info) -> Finding:
    most, used = _number(info, "maxmemory"), _number(info, "used_memory")
    policy = info.get("maxmemory_policy", "?")
    if most == 0:
        return Finding(
            "memory",
            Health.WARNING,
            f"no maxmemory: entries may fill the machine ({_size(used)} used)",
            "CONFIG SET maxmemory 2gb; CONFIG SET maxmemory-policy allkeys-lru",
        )
    says = f"{_size(used)} of {_size(most)} used, {policy}"
    if policy == "noeviction":
        return Finding(
            "memory",
            Health.WARNING,
            f"{says}: once it is full nothing more is stored, and every call is paid again",
            "CONFIG SET maxmemory-policy allkeys-lru (or volatile-lru beside other data)",
        )
    if policy not in _EVICTS:
        return Finding(
            "memory",
            Health.WARNING,
            f"{says}: what is evicted does not depend on use",
            "CONFIG SET maxmemory-policy allkeys-lru",
        )
    if used > _ALMOST * most:
        return Finding("memory", Health.NOTE, f"{says}: nearly full, the least used entries go")
    return Finding("memory", Health.OK, says)


def _evicted(info: Info) -> Finding | None:
    gone = _number(info, "evicted_keys")
    if not gone:
        return None
    return Finding(
        "evictions",
        Health.NOTE,
        f"{gone:,} keys were evicted since the server started; some may have been leases",
        "more maxmemory, or a shorter Policy(ttl=...)",
    )


def _persistence(info: Info) -> Finding:
    if info.get("loading") == "1":
        return Finding("persistence", Health.FAILED, "the server is still loading its data")
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        return Finding(
            "persistence",
            Health.FAILED,
            "the last snapshot failed; by default the server takes no writes then",
            "free disk space, or CONFIG SET stop-writes-on-bgsave-error no",
        )
    if info.get("aof_enabled") == "1":
        delayed = _number(info, "aof_delayed_fsync")
        says = "append-only file is on: a restart keeps the entries"
        if delayed:
            return Finding(
                "persistence",
                Health.WARNING,
                f"{says}; {delayed:,} times the disk held up the server",
                "appendfsync everysec with no-appendfsync-on-rewrite yes, or a faster disk",
            )
        return Finding("persistence", Health.OK, says)
    return Finding(
        "persistence",
        Health.NOTE,
        "no append-only file: after a crash the newest entries are paid again, no more than that",
    )


def _clients(info: Info) -> Finding | None:
    now, most = _number(info, "connected_clients"), _number(info, "maxclients")
    if most == 0 or now < _ALMOST * most:
        return None
    return Finding(
        "clients",
        Health.WARNING,
        f"{now:,} of {most:,} connections are taken; a worker needs three",
        "CONFIG SET maxclients",
    )


def _replicas(info: Info) -> Finding | None:
    count = _number(info, "connected_slaves")
    if not count:
        return None
    return Finding(
        "replicas",
        Health.NOTE,
        f"{count} replica{'' if count == 1 else 's'}, which may lag: a failover may cost one more "
        "call a key",
    )


_CHECKS: tuple[Callable[[Info], Finding | None], ...] = (
    _version,
    _role,
    _memory,
    _evicted,
    _persistence,
    _clients,
    _replicas,
)


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


async def _cluster(store: Any) -> list[Finding]:
    replies = await store.everywhere("CLUSTER", "INFO")
    told = [_parsed(reply) for reply in replies if isinstance(reply, bytes)]
    if not told:
        return [Finding("cluster", Health.NOTE, "CLUSTER INFO is not allowed", "ACL +cluster|info")]
    worst = min(told, key=lambda info: _number(info, "cluster_slots_ok"))
    served = _number(worst, "cluster_slots_ok")
    says = f"{len(replies)} primaries, {served:,} of {_SLOTS:,} slots served"
    if worst.get("cluster_state") != "ok" or served < _SLOTS:
        mend = "redis-cli --cluster check HOST:PORT, then --cluster fix"
        return [Finding("cluster", Health.FAILED, says, mend)]
    return [Finding("cluster", Health.OK, says)]


async def _clock(store: Any) -> Finding:
    try:
        began = time.time()
        replies = await store.everywhere("TIME")
        middle = (began + time.time()) / 2
        apart = max(abs(int(r[0]) + int(r[1]) / 1e6 - middle) for r in replies)
    except (StoreError, TypeError, ValueError, IndexError):
        return Finding("clock", Health.NOTE, "TIME is not allowed")
    says = f"{apart * 1000:,.0f} ms from this machine's"
    if apart > _FAR:
        return Finding(
            "clock",
            Health.NOTE,
            f"{says}; harmless, since every age comes from the server's own clock",
            "run an NTP client, for your logs' sake",
        )
    return Finding("clock", Health.OK, says)
