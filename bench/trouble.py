"""Trouble: what each kind of it in Redis costs a call, and how soon Redis is used again.

    python bench/trouble.py [waves] [name of a fault ...]
    python bench/trouble.py [waves] cluster [name of a fault ...]

Two processes' caches ask the same keys at the same moment, through a proxy, before, during and
after each fault. "added" is what a call took beyond the provider's own time; "more" is what it took
beyond the healthy call that had its place in a wave before the fault, which is what is promised:
`op_timeout`, 200 ms. "back" is the time from the fault's end until an answer that one cache stored
reaches the other through Redis.

On a cluster one primary is in trouble, and the way to it leads through the proxy. The same keys are
asked there, and as many on the other two ("elsewhere"), which promise one call for each of them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisError

from replica import percentile
from samecall import Cache, Policy
from samecall._key import key_from
from samecall._ports import BreakerChanged, StoreFaulted
from samecall._redis import names
from samecall._redis.topology import read_slots, slot_of
from samecall.testing import FaultProxy, LocalCluster, LocalServer
from samecall.testing.clusters import Member

__all__ = ["CLUSTER_FAULTS", "FAULTS", "Fault", "Trouble", "trouble", "trouble_on_a_cluster"]

LATENCY = 0.02
_USER, _PASSWORD = "app", "secret"


@dataclass(slots=True)
class Place:
    """The server that gets into trouble, the way to it, and a client past the proxy."""

    proxy: FaultProxy
    raw: Redis
    cluster: LocalCluster | None = None
    node: Member | None = None


@dataclass(frozen=True, slots=True)
class Ground:
    """Where it happens: the place, what a cache is opened from, and keys there and elsewhere."""

    place: Place
    source: Callable[[], object]
    keys: Callable[[int], list[str]]
    elsewhere: Callable[[int], list[str]] = lambda _: []


async def _nothing(place: Place) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of trouble.

    begin, end: done once. every: (seconds, what is done again and again meanwhile). spoil: done to
    the Redis names of each key before it is asked for (with their kinds "v", "e", "l", "t").
    once: the provider is still called once per key. told: samecall counts store faults (None: it
    depends on the moment). breaks: the breaker opens (None likewise).
    """

    begin: Callable[[Place], Awaitable[Any]] = _nothing
    end: Callable[[Place], Awaitable[Any]] = _nothing
    every: tuple[float, Callable[[Place], Awaitable[Any]]] | None = None
    spoil: Callable[[Place, dict[str, str]], Awaitable[Any]] | None = None
    once: bool = False
    told: bool | None = False
    breaks: bool | None = False


def _network(
    *, told: bool | None = True, once: bool = False, breaks: bool | None = False, **faults: Any
) -> Fault:
    async def begin(place: Place) -> None:
        place.proxy.set(**faults)

    async def end(place: Place) -> None:
        place.proxy.heal()

    return Fault(begin, end, told=told, once=once, breaks=breaks)


def _command(begin: str, end: str, **more: Any) -> Fault:
    async def run(place: Place, words: str) -> None:
        for line in words.split(" ; "):
            await place.raw.execute_command(*line.split())

    return Fault(lambda place: run(place, begin), lambda place: run(place, end), **more)


def _acl(rules: str, **more: Any) -> Fault:
    return _command(f"ACL SETUSER {_USER} {rules}", f"ACL SETUSER {_USER} +@all", **more)


def _loop(seconds: float, *words: str) -> Fault:
    work = (seconds, lambda place: place.raw.execute_command(*words))
    return Fault(every=work, once=True, told=None)


def _push(kind: str) -> Fault:
    return Fault(spoil=lambda place, at: place.raw.lpush(at[kind], "x"), once=True)


async def _evict(place: Place) -> None:
    for kind in "lv":
        found = [name async for name in place.raw.scan_iter(f"default:{kind}:*", count=1000)]
        if found:
            await place.raw.unlink(*found)


_LOGIN = ("ACL", "SETUSER", _USER, "reset", "on", f">{_PASSWORD}", "~*", "&*", "+@all")
_ROTATED = f"ACL SETUSER {_USER} resetpass >other ; CLIENT KILL USER {_USER}"
_RESTORED = f"ACL SETUSER {_USER} resetpass >{_PASSWORD}"

FAULTS: dict[str, Fault] = {
    "healthy": Fault(once=True),
    "refused": _network(refuse=True, breaks=True),
    "black hole": _network(black_hole=True, breaks=True),
    "500 ms slow": _network(latency=0.5, breaks=True),
    "reset in mid-reply": _network(cut_after=90, breaks=True),
    "reset every 20 ms": _network(reset_every=0.02, told=None, breaks=None),
    "fragments of 50 bytes": _network(fragment=50, told=False, once=True),
    "read-only replica": _command(
        "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", told=True, breaks=True
    ),
    "out of memory": _command("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", told=True),
    "eviction of leases and values": Fault(every=(0.005, _evict)),
    "wrong type at the value": _push("v"),
    "wrong type at the lease": _push("l"),
    "wrong type at the error": _push("e"),
    "wrong type at the tombstone": _push("t"),
    "EVALSHA forbidden": _acl("-evalsha -eval", told=True),
    "SUBSCRIBE forbidden": _acl("-subscribe", told=True, once=True),
    "SET forbidden": _acl("-set", told=True),
    "PUBLISH forbidden": _acl("-publish", once=True),
    "login rotated": _command(_ROTATED, _RESTORED, told=True),
    "pub/sub buffer of 1 byte": Fault(
        lambda place: place.raw.config_set("client-output-buffer-limit", "pubsub 1 1 1"),
        lambda place: place.raw.config_set("client-output-buffer-limit", "pubsub 32mb 8mb 60"),
        once=True,
        told=None,
    ),
    "CLIENT KILL pubsub every 100 ms": _loop(0.1, "CLIENT", "KILL", "TYPE", "pubsub"),
    "CLIENT KILL all every 20 ms": Fault(
        every=(0.02, lambda place: place.raw.execute_command("CLIENT", "KILL", "USER", _USER)),
        told=None,
        breaks=None,
    ),
    "SCRIPT FLUSH every 5 ms": _loop(0.005, "SCRIPT", "FLUSH"),
}


def _holder(cluster: LocalCluster) -> Member:
    """The primary that holds the namespace's generation, which every call has to know."""
    return cluster.owner(slot_of(names.generation("default", "").encode()))


async def _demote(place: Place) -> None:
    """Another node takes over; done to the one that then leads, everything is as before."""
    assert place.cluster is not None
    assert place.node is not None
    cluster, node = place.cluster, place.node
    if _holder(cluster) is node:
        await asyncio.to_thread(cluster.failover, node)
    else:
        await asyncio.to_thread(cluster.say, node, "CLUSTER", "FAILOVER")
    while not await asyncio.to_thread(cluster.sound):
        await asyncio.sleep(0.01)


# On a cluster a node in trouble is not the store: no breaker opens, whatever `breaks` says.
CLUSTER_FAULTS: dict[str, Fault] = {
    **FAULTS,
    "read-only replica": Fault(_demote, _demote, once=True, told=None),
    "SUBSCRIBE forbidden": _acl("-ssubscribe", told=True, once=True),
    "PUBLISH forbidden": _acl("-spublish", once=True),
}


@dataclass(slots=True)
class Trouble:
    """What one fault came to; times in seconds, in ascending order.

    baseline, added: beyond the provider's time, before and during the fault. more: of one call and
    the one that had its place before.
    """

    name: str
    asked: int = 0
    wrong: list[str] = field(default_factory=list)
    baseline: list[float] = field(default_factory=list)
    added: list[float] = field(default_factory=list)
    more: list[float] = field(default_factory=list)
    keys: int = 0
    provider_calls: int = 0
    most_per_key: int = 0
    elsewhere: list[float] = field(default_factory=list)
    most_elsewhere: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    opened: int = 0
    back: float = 0.0


class _Ears:
    def __init__(self) -> None:
        self.faults: Counter[str] = Counter()
        self.opened = 0

    def on_event(self, event: object) -> None:
        if isinstance(event, StoreFaulted):
            self.faults[f"{event.operation}: {event.error}"[:100]] += 1
        elif isinstance(event, BreakerChanged):
            self.opened += event.open


class _Pair:
    """Two caches, as of two processes, and the provider behind them."""

    def __init__(self, source: Callable[[], Any], found: Trouble, op_timeout: float) -> None:
        self.ears = _Ears()
        policy = Policy(op_timeout=op_timeout)
        self.caches = [Cache(source(), policy=policy, observers=[self.ears]) for _ in range(2)]
        self.found = found
        self.calls: Counter[str] = Counter()
        self.gate = asyncio.Event()
        self.gate.set()

    async def ask(self, key: str, cache: Cache) -> float:
        """Seconds beyond the provider's time."""

        async def call() -> str:
            self.calls[key] += 1
            await self.gate.wait()
            await asyncio.sleep(LATENCY)
            return f"answer to {key}"

        self.found.asked += 1
        began = time.perf_counter()
        try:
            got = await cache.get_or_call(key, call)
        except Exception as error:  # noqa: BLE001 - told, and fails the run
            got = f"{type(error).__name__}: {error}"
        took = time.perf_counter() - began - LATENCY
        if got != f"answer to {key}":
            self.found.wrong.append(f"{key!r} was answered {got!r}")
        return took

    async def wave(self, keys: list[str]) -> list[float]:
        """Of all at once, in the order of the keys."""
        asked = (self.ask(key, cache) for key in keys for cache in self.caches)
        return await asyncio.gather(*asked)


def _keys(count: int) -> list[str]:
    return [os.urandom(8).hex() for _ in range(count)]


async def trouble(
    name: str, server: LocalServer, *, waves: int = 3, keys: int = 20, op_timeout: float = 0.2
) -> Trouble:
    """Calls before, in the air at the beginning of, during and after one fault."""
    raw = Redis.from_url(server.url, protocol=2)
    await raw.execute_command(*_LOGIN)
    url = server.url.replace("redis://", f"redis://{_USER}:{_PASSWORD}@")
    async with raw, FaultProxy(url) as proxy:
        ground = Ground(Place(proxy, raw), lambda: proxy.url, _keys)
        return await _troubled(Trouble(name), FAULTS[name], ground, waves, keys, op_timeout)


async def trouble_on_a_cluster(
    name: str, cluster: LocalCluster, *, waves: int = 3, keys: int = 20, op_timeout: float = 0.2
) -> Trouble:
    """The same where one primary is in trouble, with as many keys on the others."""
    for each in cluster.nodes:
        cluster.say(each, *_LOGIN)
    node = _holder(cluster)
    ranges = [
        range(first, last + 1)
        for first, last, (_, port) in read_slots(cluster.say(node, "CLUSTER", "SLOTS"), "127.0.0.1")
        if port == node.port
    ]

    def keys_of(count: int, *, inside: bool) -> list[str]:
        found: list[str] = []
        while len(found) < count:
            (key,) = _keys(1)
            slot = slot_of(key_from(key, "default", None).hex.encode())
            if any(slot in each for each in ranges) is inside:
                found.append(key)
        return found

    raw = Redis(port=node.port, protocol=2)
    async with raw, FaultProxy(f"redis://127.0.0.1:{node.port}") as proxy:
        way = {node.port: proxy.port}

        def source() -> RedisCluster:
            return RedisCluster(
                host="127.0.0.1",
                port=cluster.nodes[0].port,
                username=_USER,
                password=_PASSWORD,
                address_remap=lambda at: (at[0], way.get(at[1], at[1])),
            )

        ground = Ground(
            Place(proxy, raw, cluster, node),
            source,
            partial(keys_of, inside=True),
            partial(keys_of, inside=False),
        )
        fault = CLUSTER_FAULTS[name]
        return await _troubled(Trouble(name), fault, ground, waves, keys, op_timeout)


async def _troubled(
    found: Trouble, fault: Fault, ground: Ground, waves: int, keys: int, op_timeout: float
) -> Trouble:
    place, pair = ground.place, _Pair(ground.source, found, op_timeout)
    await pair.wave(ground.keys(keys) + ground.elsewhere(keys))  # which connects
    for _ in range(waves):
        times = await pair.wave(ground.keys(keys) + ground.elsewhere(keys))
        found.baseline += times[: 2 * keys]
    pair.calls.clear()
    inside, outside = ground.keys(keys), ground.elsewhere(keys)
    await _in_the_air(pair, inside + outside, lambda: fault.begin(place))
    try:
        async with _again_and_again(fault, place):
            for _ in range(waves):
                asked, apart = ground.keys(keys), ground.elsewhere(keys)
                if fault.spoil is not None:
                    for key in asked:
                        await fault.spoil(place, _names(key))
                there, beside = await asyncio.gather(pair.wave(asked), pair.wave(apart))
                found.added += there
                found.elsewhere += beside
                inside, outside = inside + asked, outside + apart
    finally:
        await fault.end(place)
    found.more = [took - before for took, before in zip(found.added, found.baseline, strict=True)]
    for times in (found.baseline, found.added, found.more, found.elsewhere):
        times.sort()
    calls = [pair.calls[key] for key in inside]
    found.keys, found.provider_calls, found.most_per_key = len(calls), sum(calls), max(calls)
    found.most_elsewhere = max((pair.calls[key] for key in outside), default=0)
    found.back = await _used_again(pair, ground)
    for cache in pair.caches:
        await cache.aclose()
    found.faults, found.opened = pair.ears.faults, pair.ears.opened
    return found


def _names(key: str) -> dict[str, str]:
    digest = key_from(key, "default", None)
    kinds = {"v": names.value, "e": names.error, "l": names.lease, "t": names.tombstone}
    return {kind: name(digest) for kind, name in kinds.items()}


async def _in_the_air(pair: _Pair, keys: list[str], begin: Callable[[], Awaitable[Any]]) -> None:
    """The fault begins while one cache leads and the other waits; all get their answers."""
    pair.gate.clear()
    asking = asyncio.ensure_future(pair.wave(keys))
    while sum(cache.statistics().callers_waiting for cache in pair.caches) < 2 * len(keys) or len(
        pair.calls
    ) < len(keys):
        await asyncio.sleep(0.001)
    await begin()
    pair.gate.set()
    await asking


@asynccontextmanager
async def _again_and_again(fault: Fault, place: Place) -> AsyncGenerator[None]:
    if fault.every is None:
        yield
        return
    seconds, work = fault.every

    over = asyncio.Event()

    async def loop() -> None:
        while not over.is_set():
            with suppress(RedisError):  # it has hit the client that does it
                await work(place)
            await asyncio.sleep(seconds)

    task = asyncio.ensure_future(loop())
    try:
        yield
    finally:
        over.set()
        await task


async def _used_again(pair: _Pair, ground: Ground) -> float:
    began = time.monotonic()
    one, two = pair.caches
    while time.monotonic() < began + 60:
        (key,) = ground.keys(1)
        stored = one.statistics().stored
        await pair.ask(key, one)
        for _ in range(50):
            if one.statistics().stored > stored:
                break
            await asyncio.sleep(0.001)
        before = pair.calls[key]
        await pair.ask(key, two)
        if pair.calls[key] == before == 1:
            return time.monotonic() - began
    raise TimeoutError("Redis was not used again")


def main() -> None:
    """Print the table; exit code 1 if a call went wrong, cost too much or Redis stayed unused."""
    waves = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    wanted = sys.argv[2:]
    print(
        "| fault | calls | wrong | healthy p50 | p99 | added p50 | p99 | more p50 | p99 | most "
        "| keys | paid ",
        end="",
    )
    if wanted[:1] == ["cluster"]:
        print("| faults counted | breaker opened | back after | elsewhere p50 | p99 | paid twice |")
        print("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
        with LocalCluster(node_timeout=15) as cluster:
            run = partial(trouble_on_a_cluster, cluster=cluster, waves=waves)
            failed = [_row(run, name, CLUSTER_FAULTS) for name in wanted[1:] or CLUSTER_FAULTS]
    else:
        print("| faults counted | breaker opened | back after |")
        print("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
        with LocalServer() as server:
            run = partial(trouble, server=server, waves=waves)
            failed = [_row(run, name, FAULTS) for name in wanted or FAULTS]
    sys.exit(1 if any(failed) else 0)


def _row(
    run: Callable[[str], Coroutine[Any, Any, Trouble]], name: str, faults: dict[str, Fault]
) -> bool:
    """One line of the table; whether something was wrong."""
    got, fault = asyncio.run(run(name)), faults[name]
    parts = got.baseline, got.added, got.more
    times = [percentile(part, at) for part in parts for at in (0.5, 0.99)]
    cells = [f"{1000 * each:.0f} ms" for each in (*times, got.more[-1])]
    line = (
        f"| {name} | {got.asked} | {len(got.wrong)} | {' | '.join(cells)} | {got.keys} "
        f"| {got.provider_calls} | {got.faults.total()} | {got.opened} | {got.back:.2f} s |"
    )
    if got.elsewhere:
        beside = [f"{1000 * percentile(got.elsewhere, at):.0f} ms" for at in (0.5, 0.99)]
        line += f" {' | '.join(beside)} | {got.most_elsewhere - 1} |"
    print(line, *got.wrong[:2], flush=True)
    if os.environ.get("VERBOSE"):
        print(got.faults.most_common(5))
    paid_twice = (fault.once and got.most_per_key > 1) or got.most_elsewhere > 1
    return bool(got.wrong) or got.back > 2.0 or paid_twice


if __name__ == "__main__":
    main()
