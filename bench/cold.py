"""Cold callers of one key in several processes: one provider call, and what waiting costs.

    python bench/cold.py [--redis URL] [--short] [--json FILE] [--rounds N] [--processes N]
                         [--callers N] [--wakes N] [--latency MS]

"Extra" is a caller's return minus the moment when the first provider call returned, on the clock
that the processes of one machine share. Commands are what the server counted (INFO commandstats);
for samecall those that it sends, with what its scripts run inside the server beside them. CPU is
that of the client processes. Each of these imports what its way needs and no more: one look of
Python's collector through the packages of all would take longer than what is measured.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from redis.asyncio import Redis
from rich.progress import track

import redis
from common import Row, arguments, percentile, redis_url, report, told
from samecall import Cache
from samecall.testing.crew import Crew, Line

__all__ = ["Fleet", "Load", "measure", "woken", "work"]

# What samecall's client sends; every other command is run by a script, inside the server.
SENT = {"eval", "evalsha", "subscribe", "unsubscribe", "ping", "client|id", "client|tracking"}
TTL = 600


@dataclass(frozen=True, slots=True)
class Fleet:
    """So many processes, and seconds that the provider takes."""

    processes: int
    latency: float

    def shares(self, callers: int) -> list[tuple[int, float]]:
        """How many of the callers each process has, at least one."""
        whole, more = divmod(callers, self.processes)
        sizes = [max(1, whole + (number < more)) for number in range(self.processes)]
        return [(size, self.latency) for size in sizes]


class Load:
    """What one way cost, over all rounds."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.extras: list[float] = []
        self.woken: list[float] = []  # each other process's first answer
        self.first_woken: list[float] = []  # of these the first, in each round
        self.commands: list[int] = []
        self.inside: list[int] = []
        self.connections: list[int] = []
        self.cpu: list[float] = []


async def work(line: Line, setup: list[Any]) -> None:
    """One process: each round asks one key so many times at once."""
    way, url, callers, latency = setup
    async with Redis.from_url(url) as counter, _asking(way, url, counter) as asks:
        ends: list[float] = []

        async def pay() -> str:
            await counter.incr("samecall-bench-cold:calls")
            await asyncio.sleep(latency)
            ends.append(time.monotonic())
            return "answer"

        async def ask(key: str) -> None:
            await asks(key, pay)
            returned.append(time.monotonic())

        line.tell(("ready", None))
        while (key := await line.hear()) != "end":
            returned: list[float] = []
            ends.clear()
            began = time.process_time()
            await asyncio.gather(*(ask(key) for _ in range(callers)))
            line.tell(("round", [ends[:], returned, time.process_time() - began]))


@asynccontextmanager
async def _asking(way: str, url: str, counter: Redis) -> AsyncIterator[Callable[..., Any]]:
    """How a key is asked for; imports what this way needs."""
    if way == "samecall":
        async with Cache(url, namespace="samecall-bench-cold") as cache:
            await cache.get_or_call(f"warm {id(counter)}", _warm)
            yield cache.get_or_call
    elif way == "cashews":
        import cashews

        other = cashews.Cache()
        other.setup(url)
        yield lambda key, pay: other(ttl=TTL, key=key, lock=True)(pay)()
        await other.close()
    elif way == "LiteLLM":
        from peers import LiteLLM

        litellm = LiteLLM(url)
        yield litellm
        await litellm.aclose()
    else:
        yield partial(_by_hand, counter)


async def _warm() -> str:
    return "warm"


async def _by_hand(client: Redis, key: str, pay: Any) -> Any:
    # as it is written by hand: look, lock, look again
    found = await client.get(key)
    if found is None:
        async with client.lock(f"{key}:lock", timeout=60):
            found = await client.get(key)
            if found is None:
                found = await pay()
                await client.set(key, found, ex=TTL)
    return found


def measure(url: str, way: str, fleet: Fleet, callers: int, rounds: int) -> Load:
    """So many rounds of one way."""
    load = Load()
    watch = redis.Redis.from_url(url)
    with Crew(work, [[way, url, *each] for each in fleet.shares(callers)]) as crew:
        crew.gather("ready", 300)
        for number in track(range(rounds), f"{callers} callers, {way}"):
            watch.delete("samecall-bench-cold:calls")
            before = _calls(watch)
            crew.tell(f"samecall-bench-cold:{way}:{time.time()}:{number}")
            parts = crew.gather("round", 120)
            first = min(end for ends, _, _ in parts for end in ends)
            load.calls.append(int(watch.get("samecall-bench-cold:calls") or 0))
            load.extras += [moment - first for _, moments, _ in parts for moment in moments]
            others = [min(moments) - first for ends, moments, _ in parts if not ends]
            load.woken += others
            if others:
                load.first_woken.append(min(others))
            load.cpu.append(sum(cpu for _, _, cpu in parts))
            counted = _calls(watch) - before
            own = {"info", "incrby", "get", "delete"}
            every = sum(calls for name, calls in counted.items() if name not in own)
            sent = sum(calls for name, calls in counted.items() if name in SENT)
            load.commands.append(sent if way == "samecall" else every)
            load.inside.append(every - sent)
            load.connections.append(watch.info("clients")["connected_clients"])
        crew.tell("end")
    watch.close()
    return load


def _calls(watch: redis.Redis) -> Counter[str]:
    stats = watch.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()})


def woken(url: str, fleet: Fleet, callers: int, wakes: int) -> list[Row]:
    """How soon other processes go on; the provider's end is a little before the leader's COMMIT."""
    load = measure(url, "samecall", Fleet(fleet.processes, 0.2), callers, wakes)
    if not load.first_woken:
        return []  # there is one process
    first50, first99 = (1000 * percentile(load.first_woken, share) for share in (0.5, 0.99))
    each50, each99 = (1000 * percentile(load.woken, share) for share in (0.5, 0.99))
    name = "wake: provider's end to the first answered caller in another process"
    return [
        Row(f"{name}, p50", first50, "ms", "at most 1.5", first50 <= 1.5),
        Row("wake: the same, p99", first99, "ms", "at most 5", first99 <= 5),
        Row(f"wake: the same of each of {fleet.processes - 1} other processes, p50", each50, "ms"),
        Row(f"wake: the same of each of {fleet.processes - 1} other processes, p99", each99, "ms"),
    ]


def rows_of(url: str, fleet: Fleet, callers: int, rounds: int, wakes: int) -> list[Row]:
    """The rows of 100 callers with their peers, and of 1,000."""
    ours = measure(url, "samecall", fleet, callers, rounds)
    few = max(1, rounds // 4)
    ways = ("cashews", "redis-py Lock", "LiteLLM")
    peers = {way: measure(url, way, fleet, callers, few) for way in ways}
    many = measure(url, "samecall", fleet, 10 * callers, few)

    def ms(load: Load, share: float) -> float:
        return 1000 * percentile(load.extras, share)

    def beside(one: Any) -> str:
        return ", ".join(f"{name} {told(one(load))}" for name, load in peers.items())

    p50, p99, worst = ms(ours, 0.5), ms(ours, 0.99), ms(many, 0.99)
    commands = percentile(ours.commands, 0.5)
    cpu = percentile(ours.cpu, 0.5)
    once = all(calls == 1 for calls in (*ours.calls, *many.calls))
    name = f"{callers} cold callers"
    return [
        Row(f"{name}: provider calls a round", max(ours.calls), "", "1", once,
            beside(lambda p: max(p.calls))),
        Row(f"{name}: extra p50", p50, "ms", "at most 5", p50 <= 5, beside(lambda p: ms(p, 0.5))),
        Row(f"{name}: extra p99", p99, "ms", "at most 12", p99 <= 12,
            beside(lambda p: ms(p, 0.99))),
        Row(f"{name}: Redis commands", commands, "", "at most 60", commands <= 60,
            beside(lambda p: percentile(p.commands, 0.5)),
            f"{percentile(ours.inside, 0.5)} more inside scripts"),
        Row(f"{name}: client CPU", cpu, "s", "at most 0.1", cpu <= 0.1,
            beside(lambda p: percentile(p.cpu, 0.5))),
        *woken(url, fleet, callers, wakes),
        Row(f"{10 * callers} cold callers: extra p99", worst, "ms", "at most 40", worst <= 40),
        Row(f"{10 * callers} cold callers: connections", max(many.connections), "",
            f"as with {callers}", max(many.connections) <= max(ours.connections)),
    ]  # fmt: skip


def main() -> None:
    """Print the rows."""
    given = arguments(
        __doc__, rounds=(20, 3), processes=(4, 4), callers=(100, 100), wakes=(400, 100),
        latency=(2_000, 2_000),
    )  # fmt: skip
    fleet = Fleet(given.processes, given.latency / 1000)
    with redis_url(given.redis) as url:
        rows = rows_of(url, fleet, given.callers, given.rounds, given.wakes)
    report(rows, given.json)


if __name__ == "__main__":
    main()
