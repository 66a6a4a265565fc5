"""L2 reads at the store, and L2 hits through `client.create`, beside MGET, GET and the peers.

python bench/reads.py [--redis URL] [--short] [--json FILE] [--rounds N] [--hits N]
"""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis
from rich.progress import track

from common import Row, arguments, redis_url, report
from hit import client, question
from peers import Floor, Peers
from samecall import Cache
from samecall._entry import Entry, Key, Kind, Payload, encode_entry, new_stamp
from samecall._ports import Hit
from samecall._redis import names, open_redis
from samecall._redis.scripts import ACQUIRE
from samecall.instructor import cached

__all__ = ["at_the_store", "through_the_client"]

DATA = b"x" * 600
ROUNDS = 5


class Last:
    """Takes so many answers."""

    def __init__(self, wanted: int) -> None:
        self.all = asyncio.get_running_loop().create_future()
        self._wanted = wanted

    def done(self) -> bool:
        return False

    def told(self, reply: object, *, late: bool) -> None:
        if not isinstance(reply, Hit):
            self.all.set_exception(RuntimeError(f"no hit: {reply}"))

    def set_result(self, reply: object, /) -> None:
        self._wanted -= 1
        if not self._wanted:
            self.all.set_result(None)

    def set_exception(self, error: Exception, /) -> None:
        self.all.set_exception(error)


class Reads:
    """So many reads at once, in six ways."""

    def __init__(self, url: str, tasks: int) -> None:
        self.store = open_redis(url, op_timeout=10)()
        # no more connections than may queue up at the server's door at once
        self.redis, self.door = Redis.from_url(url), asyncio.Semaphore(100)
        self.keys = [Key(os.urandom(32), "samecall-bench-reads") for _ in range(tasks)]
        self.names = [names.value(key) for key in self.keys]
        self.token = os.urandom(16)

    async def fill(self) -> None:
        for key in self.keys:
            entry = Entry(Kind.VALUE, Payload("b", DATA), new_stamp(), 600.0, 600.0)
            await self.store.set(key, encode_entry(key, entry), 600)

    async def ours(self) -> None:
        async def one(key: Key) -> None:
            await self.store.acquire(key, self.token, b"", 5)

        await asyncio.gather(*map(one, self.keys))

    async def come_in(self) -> None:
        # as `create` asks: each caller's task is there already, and waits for its flight
        last = Last(len(self.keys))
        told = last.told
        for key in self.keys:
            self.store.acquire_into(last, key, self.token, b"", 5, told)
        await last.all

    async def script(self) -> None:
        # what ACQUIRE costs the server and the wire, with nothing around it
        tokens, lease = self.token * len(self.names), b"%012d" % 5000
        how = (1, *ACQUIRE.head, len(self.names), tokens, lease)
        await self.redis.execute_command("EVALSHA", ACQUIRE.sha, len(self.names), *self.names, *how)

    async def mget(self) -> None:
        await self.redis.mget(self.names)

    async def tasks(self) -> None:
        # what nobody who answers so many tasks by one command can do without
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[None]] = [loop.create_future() for _ in self.keys]

        async def waits(future: asyncio.Future[None]) -> None:
            await future

        waiting = [asyncio.ensure_future(waits(future)) for future in futures]
        await asyncio.sleep(0)
        await self.redis.mget(self.names)
        for future in futures:
            future.set_result(None)
        await asyncio.gather(*waiting)

    async def get(self) -> None:
        async def one(name: str) -> None:
            async with self.door:
                await self.redis.get(name)

        await asyncio.gather(*map(one, self.names))

    async def aclose(self) -> None:
        await self.store.aclose()
        await self.redis.aclose()


async def at_the_store(url: str, tasks: int, rounds: int) -> list[Row]:
    """ACQUIRE, bare and with a task for each, one MGET of the same keys, bare and so, and GETs."""
    reads = Reads(url, tasks)
    await reads.fill()
    ways = {
        "in": reads.come_in,
        "ours": reads.ours,
        "script": reads.script,
        "mget": reads.mget,
        "tasks": reads.tasks,
        "get": reads.get,
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in track(range(rounds + 1), f"{tasks} reads"):
        for name, ask in ways.items():
            began = time.perf_counter()
            await ask()
            if number:
                found[name].append(time.perf_counter() - began)
    await reads.aclose()
    us = {name: 1e6 * statistics.median(values) / tasks for name, values in found.items()}
    share, times = us["mget"] / us["in"], us["get"] / us["in"]
    by_tasks, reach, most = (
        us["mget"] / us["ours"],
        us["tasks"] / us["ours"],
        us["get"] / us["tasks"],
    )
    floor = f"MGET {us['mget']:.1f} µs a key"
    alone = f"the script sent bare {100 * us['mget'] / us['script']:.0f} %"
    quickest = f"the script sent bare {us['get'] / us['script']:.1f} times"
    bare, got = f"MGET and tasks {us['tasks']:.1f} µs a key", f"redis-py GET {us['get']:.1f} µs"
    return [
        Row(f"L2 read at the store, {tasks} at once", us["in"], "µs a key", "", None, "", floor),
        Row(f"share of a bare MGET, {tasks} at once", 100 * share, "%", "at least 50",
            share >= 0.5, "", alone),
        Row(f"faster than a GET per call, {tasks} at once", times, "times", "at least 8",
            times >= 8, got, quickest),
        Row(f"L2 read at the store with a task for each, {tasks} tasks", us["ours"], "µs a key",
            "", None, "", bare),
        Row(f"share of a bare MGET with a task for each, {tasks} tasks", 100 * by_tasks, "%",
            "at least 50", by_tasks >= 0.5, "",
            f"MGET and tasks {100 * us['mget'] / us['tasks']:.0f} %"),
        Row(f"share of an MGET that wakes {tasks} tasks", 100 * reach, "%", "", None, "", bare),
        Row(f"faster than a GET per call with a task for each, {tasks} tasks",
            us["get"] / us["ours"], "times", "at least 8", us["get"] / us["ours"] >= 8, got,
            f"MGET and tasks {most:.1f} times"),
    ]  # fmt: skip


async def through_the_client(url: str, hits: int) -> list[Row]:
    """Hits a second of one process with 100 callers; peers and floor in turns with it."""
    shared, peers = Cache(url, namespace="samecall-bench-hits", l1=None), Peers(url)
    ours = cached(client(), shared)
    texts = [f"number {number}" for number in range(100)]
    floor = Floor(url, texts)
    ways: dict[str, Callable[[str], Awaitable[Any]]] = {
        "samecall": lambda text: ours.create(**question(text)),
        "looked at": lambda text: _looked_at(ours.create(**question(text))),
        **peers.plain,
        **{f"{name}, alike": ask for name, ask in peers.alike.items()},
    }
    await peers.learn()
    await floor.fill()
    for ask in ways.values():
        for text in texts:
            await ask(text)
    alike = ("samecall", *(f"{name}, alike" for name in peers.alike))
    answers = [*[await ways[name](texts[0]) for name in alike], (await floor.ask())[0]]
    parts = [(each.model_dump(), each._raw_response, each._total_usage) for each in answers]
    if any(part != parts[0] for part in parts):
        raise RuntimeError(f"they do not do the same: {parts}")
    await asyncio.sleep(0.2)
    found: dict[str, list[float]] = {name: [] for name in ways}
    bare: list[float] = []
    for _ in track(range(ROUNDS), "hits"):
        for name, ask in ways.items():  # in turns: who else uses the machine is there for all
            asked = hits if name in ("samecall", "looked at") else hits // 4
            found[name].append(await _rate(ask, texts, asked // ROUNDS))
        bare.append(await _rounds(floor.ask, hits // ROUNDS, len(texts)))
    rates = {name: statistics.median(each) for name, each in found.items()}
    gc.collect()
    gc.freeze()  # what an application can do once it is up, see docs/operations.md
    frozen = await _rate(ways["samecall"], texts, hits // 4)
    bare_frozen = await _rounds(floor.ask, hits // 4, len(texts))
    gc.unfreeze()
    await shared.aclose()
    await peers.aclose()
    await floor.aclose()
    return _rows(rates, statistics.median(bare), frozen, bare_frozen, peers)


def _rows(
    rates: dict[str, float], bare: float, frozen: float, bare_frozen: float, peers: Peers
) -> list[Row]:
    rate = rates["samecall"]
    plain = {name: rates[name] for name in peers.plain}
    alike = {name: rates[f"{name}, alike"] for name in peers.alike}
    best, like = max(plain, key=plain.__getitem__), max(alike, key=alike.__getitem__)
    told = ", ".join(f"{name} {each:,.0f}" for name, each in plain.items())
    told_alike = ", ".join(f"{name} {each:,.0f}" for name, each in alike.items())
    floor = f"MGET, a task each, parser {bare:,.0f}"
    times, times_alike = rate / plain[best], rates["looked at"] / alike[like]
    return [
        Row("L2 hits through client.create", rate, "a second", "at least 15,000", rate >= 15_000,
            told, floor),
        Row("L2 hits through client.create, each completion looked at", rates["looked at"],
            "a second", "", None, told_alike, floor),
        Row("share of an MGET that wakes a task each, and parses alike", 100 * rate / bare, "%",
            "", None, "", floor),
        Row("L2 hits through client.create after gc.freeze()", frozen, "a second", "", None, "",
            f"alike {bare_frozen:,.0f}"),
        Row(f"faster than the best peer ({best}), which keeps a plain dict", times, "times",
            "at least 5", times >= 5, told, f"floor over it {bare / plain[best]:.2f} times"),
        Row(f"faster than the best peer that parses a completion as we do ({like})", times_alike,
            "times", "at least 5", times_alike >= 5, told_alike,
            f"floor over it {bare / alike[like]:.2f} times"),
    ]  # fmt: skip


async def _looked_at(answer: Awaitable[Any]) -> Any:
    value = await answer
    return value, value._raw_response, value._total_usage


async def _rounds(ask: Callable[[], Awaitable[Any]], hits: int, each: int) -> float:
    began = time.perf_counter()
    for _ in range(max(1, hits // each)):
        await ask()
    return max(1, hits // each) * each / (time.perf_counter() - began)


def with_uvloop(url: str, hits: int) -> list[Row]:
    """Our hits a second on uvloop, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return []

    async def rate() -> float:
        async with Cache(url, namespace="samecall-bench-hits", l1=None) as cache:
            ours = cached(client(), cache)
            texts = [f"number {number}" for number in range(100)]
            for text in texts:
                await ours.create(**question(text))
            return await _rate(lambda text: ours.create(**question(text)), texts, hits)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return [Row("L2 hits through client.create on uvloop", runner.run(rate()), "a second")]


async def _rate(ask: Callable[[str], Awaitable[Any]], texts: list[str], hits: int) -> float:
    began = time.perf_counter()
    for _ in range(max(1, hits // len(texts))):
        await asyncio.gather(*(ask(text) for text in texts))
    return max(1, hits // len(texts)) * len(texts) / (time.perf_counter() - began)


def main() -> None:
    """Print the rows."""
    told = arguments(__doc__, rounds=(60, 15), hits=(20_000, 3_000))
    rows: list[Row] = []
    with redis_url(told.redis) as url:
        for tasks in (100, 1_000):
            rows += asyncio.run(at_the_store(url, tasks, told.rounds))
        rows += asyncio.run(through_the_client(url, told.hits))
        rows += with_uvloop(url, told.hits)
    report(rows, told.json)


if __name__ == "__main__":
    main()
