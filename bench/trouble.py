"""Trouble: what each kind of it in Redis costs a call, and how soon Redis is used again.

    python bench/trouble.py [waves] [name of a fault ...]

Two processes' caches ask the same keys at the same moment, through a proxy, before, during and
after each fault. "added" is what a call took beyond the provider's own time; "back" is the time
from the fault's end until an answer that one cache stored reaches the other through Redis.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from replica import percentile
from samecall import Cache, Policy
from samecall._key import key_from
from samecall._ports import BreakerChanged, StoreFaulted
from samecall._redis import names
from samecall.testing import FaultProxy, LocalServer

__all__ = ["FAULTS", "Fault", "Trouble", "trouble"]

LATENCY = 0.02
_LOGIN = "app:secret"


@dataclass(slots=True)
class Place:
    """The server, the way to it, and a client past the proxy."""

    proxy: FaultProxy
    raw: Redis


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
    return _command(f"ACL SETUSER app {rules}", "ACL SETUSER app +@all", **more)


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


_ROTATED = "ACL SETUSER app resetpass >other ; CLIENT KILL USER app"
_RESTORED = "ACL SETUSER app resetpass >secret"

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
        every=(0.02, lambda place: place.raw.execute_command("CLIENT", "KILL", "USER", "app")),
        told=None,
        breaks=None,
    ),
    "SCRIPT FLUSH every 5 ms": _loop(0.005, "SCRIPT", "FLUSH"),
}


@dataclass(slots=True)
class Trouble:
    """What one fault came to; times in seconds, `added` in ascending order."""

    name: str
    asked: int = 0
    wrong: list[str] = field(default_factory=list)
    baseline: list[float] = field(default_factory=list)
    added: list[float] = field(default_factory=list)
    keys: int = 0
    provider_calls: int = 0
    most_per_key: int = 0
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

    def __init__(self, url: str, found: Trouble, op_timeout: float) -> None:
        self.ears = _Ears()
        policy = Policy(op_timeout=op_timeout)
        self.caches = [Cache(url, policy=policy, observers=[self.ears]) for _ in range(2)]
        self.found = found
        self.calls: Counter[str] = Counter()
        self.gate = asyncio.Event()
        self.gate.set()

    async def ask(self, key: str, cache: Cache, times: list[float]) -> None:
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
        times.append(time.perf_counter() - began - LATENCY)
        if got != f"answer to {key}":
            self.found.wrong.append(f"{key!r} was answered {got!r}")

    async def wave(self, keys: list[str], times: list[float]) -> None:
        await asyncio.gather(
            *(self.ask(key, cache, times) for key in keys for cache in self.caches)
        )


def _keys(count: int) -> list[str]:
    return [os.urandom(8).hex() for _ in range(count)]


async def trouble(
    name: str, server: LocalServer, *, waves: int = 3, keys: int = 20, op_timeout: float = 0.2
) -> Trouble:
    """Calls before, in the air at the beginning of, during and after one fault."""
    found, fault = Trouble(name), FAULTS[name]
    raw = Redis.from_url(server.url, protocol=2)
    await raw.execute_command(
        "ACL", "SETUSER", "app", "reset", "on", ">secret", "~*", "&*", "+@all"
    )
    url = server.url.replace("redis://", f"redis://{_LOGIN}@")
    async with FaultProxy(url) as proxy:
        place, pair = Place(proxy, raw), _Pair(proxy.url, found, op_timeout)
        for _ in range(waves + 1):
            await pair.wave(_keys(keys), found.baseline)
        found.baseline = sorted(found.baseline[2 * keys :])  # the first wave connects
        pair.calls.clear()
        await _in_the_air(pair, _keys(keys), lambda: fault.begin(place))
        try:
            async with _again_and_again(fault, place):
                for _ in range(waves):
                    asked = _keys(keys)
                    if fault.spoil is not None:
                        for key in asked:
                            await fault.spoil(place, _names(key))
                    await pair.wave(asked, found.added)
        finally:
            await fault.end(place)
        found.added.sort()
        found.keys, found.provider_calls = len(pair.calls), pair.calls.total()
        found.most_per_key = max(pair.calls.values())
        found.back = await _used_again(pair)
        for cache in pair.caches:
            await cache.aclose()
        found.faults, found.opened = pair.ears.faults, pair.ears.opened
    await raw.aclose()
    return found


def _names(key: str) -> dict[str, str]:
    digest = key_from(key, "default", None)
    kinds = {"v": names.value, "e": names.error, "l": names.lease, "t": names.tombstone}
    return {kind: name(digest) for kind, name in kinds.items()}


async def _in_the_air(pair: _Pair, keys: list[str], begin: Callable[[], Awaitable[Any]]) -> None:
    """The fault begins while one cache leads and the other waits; all get their answers."""
    pair.gate.clear()
    times: list[float] = []
    asking = asyncio.ensure_future(pair.wave(keys, times))
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


async def _used_again(pair: _Pair) -> float:
    began = time.monotonic()
    one, two = pair.caches
    while time.monotonic() < began + 60:
        (key,) = _keys(1)
        ignored: list[float] = []
        stored = one.statistics().stored
        await pair.ask(key, one, ignored)
        for _ in range(50):
            if one.statistics().stored > stored:
                break
            await asyncio.sleep(0.001)
        before = pair.calls[key]
        await pair.ask(key, two, ignored)
        if pair.calls[key] == before == 1:
            return time.monotonic() - began
    raise TimeoutError("Redis was not used again")


def main() -> None:
    """Print the table; exit code 1 if a call went wrong, cost too much or Redis stayed unused."""
    waves = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    wanted = sys.argv[2:] or list(FAULTS)
    print(
        "| fault | calls | wrong | healthy p50 | p99 | added p50 | p99 | most | keys | paid ",
        end="",
    )
    print("| faults counted | breaker opened | back after |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    failed = False
    with LocalServer() as server:
        for name in wanted:
            got, fault = asyncio.run(trouble(name, server, waves=waves)), FAULTS[name]
            failed |= bool(got.wrong) or got.back > 2.0 or (fault.once and got.most_per_key > 1)
            times = [
                percentile(part, at) for part in (got.baseline, got.added) for at in (0.5, 0.99)
            ]
            cells = [f"{1000 * each:.0f} ms" for each in (*times, got.added[-1])]
            print(
                f"| {name} | {got.asked} | {len(got.wrong)} | {' | '.join(cells)} | {got.keys} "
                f"| {got.provider_calls} | {got.faults.total()} | {got.opened} "
                f"| {got.back:.2f} s |",
                *got.wrong[:2],
                flush=True,
            )
            if os.environ.get("VERBOSE"):
                print(got.faults.most_common(5))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
