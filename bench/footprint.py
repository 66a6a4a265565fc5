"""Sizes: an import, a stored answer, a waiting follower, and what a growing store costs.

python bench/footprint.py [--redis URL] [--short] [--json FILE] [--rounds N] [--followers N]
                          [--keys N] [--processes N] [--hits N]
"""

from __future__ import annotations

import asyncio
import gc
import resource
import statistics
import subprocess
import sys
import time
import tracemalloc
from typing import Any

from redis.asyncio import Redis
from rich.progress import track

from common import Row, arguments, redis_url, report
from hit import client, question
from samecall import Cache
from samecall.instructor import cached
from samecall.testing.crew import Crew, Line

__all__ = ["fleet", "followers", "growth", "imports", "stored"]


def imports(rounds: int) -> list[Row]:
    """CPU of an interpreter that imports, the least of the rounds."""
    ways = ("pass", "import msgspec", "import msgspec, samecall", "from samecall import Cache")
    least = dict.fromkeys(ways, float("inf"))
    for _ in track(range(rounds), "imports"):
        for way in ways:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", way], check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            least[way] = min(least[way], 1000 * spent)
    over = least["import msgspec, samecall"] - least["import msgspec"]
    names = least["from samecall import Cache"] - least["import msgspec"]
    floor = f"import msgspec {least['import msgspec'] - least['pass']:.0f} ms"
    return [
        Row("import samecall over import msgspec", over, "ms", "at most 40", over <= 40, "", floor),
        Row("from samecall import Cache over import msgspec", names, "ms", "", None, "", floor),
    ]


async def stored(url: str) -> list[Row]:
    """Bytes of one answer in the store beside instructor's JSON of the same one."""
    async with Cache(url, namespace="samecall-bench-size") as cache, Redis.from_url(url) as redis:
        value, raw = await cached(client(), cache).create_with_completion(**question())
        await asyncio.sleep(0.1)
        [name] = [name async for name in redis.scan_iter("samecall-bench-size:v:*")]
        ours = await redis.strlen(name)
    theirs = len(value.model_dump_json()) + len(raw.model_dump_json())
    share = ours / theirs
    return [
        Row("stored size over instructor's JSON, a short answer", share, "times", "at most 0.5",
            share <= 0.5, f"instructor {theirs} bytes"),
    ]  # fmt: skip


async def followers(count: int) -> list[Row]:
    """Memory of so many callers that wait for one flight, and the CPU of their waking."""
    gate = asyncio.Event()

    async def call() -> str:
        await gate.wait()
        return "answer"

    async with Cache() as cache:
        leader = asyncio.create_task(cache.get_or_call("k", call))
        while cache.statistics().provider_calls < 1:
            await asyncio.sleep(0)
        gc.collect()
        tracemalloc.start()
        waiting = [asyncio.create_task(cache.get_or_call("k", call)) for _ in range(count)]
        while cache.statistics().callers_waiting < count + 1:
            await asyncio.sleep(0)
        size = tracemalloc.get_traced_memory()[0] / count
        tracemalloc.stop()
        began = time.process_time()
        gate.set()
        await asyncio.gather(leader, *waiting)
        cpu = 1e6 * (time.process_time() - began) / count
    return [
        Row("memory per waiting follower", size / 1024, "KB", "at most 4", size <= 4096),
        Row("CPU per woken follower", cpu, "µs", "at most 50", cpu <= 50),
    ]


async def growth(url: str, keys: int) -> list[Row]:
    """A read among 1,000 entries and among so many, each the median of 1,000."""
    found: list[float] = []
    async with (
        Redis.from_url(url) as redis,
        Cache(url, namespace="samecall-bench-growth", l1=None) as cache,
    ):
        await cache.get_or_call("k", _answer)
        for upto in (1_000, keys):
            for first in track(range(0, upto, 10_000), f"{upto} keys"):
                most = min(first + 10_000, upto)
                await redis.mset(
                    {f"samecall-bench-growth:x:{n}": b"x" * 64 for n in range(first, most)}
                )
            times: list[float] = []
            for _ in range(1_000):
                began = time.perf_counter()
                await cache.get_or_call("k", _answer)
                times.append(time.perf_counter() - began)
            found.append(statistics.median(times))
        for first in range(0, keys, 10_000):
            most = min(first + 10_000, keys)
            await redis.unlink(*(f"samecall-bench-growth:x:{n}" for n in range(first, most)))
    more = 100 * (found[1] / found[0] - 1)
    floor = f"{1e6 * found[0]:.0f} µs among 1,000"
    return [
        Row(
            f"an L2 hit among {keys:,} keys costs more",
            more,
            "%",
            "at most 20",
            more <= 20,
            "",
            floor,
        )
    ]


async def _hits(line: Line, setup: list[Any]) -> None:
    """One process: so many hits when it is told, 50 at a time; or as many bare MGETs of 50."""
    url, hits = setup
    space = "samecall-bench-fleet"
    async with (
        Cache(url, namespace=space, l1=None, report=False) as cache,
        Redis.from_url(url) as redis,
    ):
        keys = [f"k{number}" for number in range(50)]
        names = [f"{space}:x:{key}" for key in keys]
        await redis.mset(dict.fromkeys(names, b"x" * 64))
        rounds = max(1, hits // len(keys))

        async def ours() -> None:
            await asyncio.gather(*(cache.get_or_call(key, _answer) for key in keys))

        async def bare() -> None:
            for _ in range(len(keys) // 5):  # as long as the hits, so that all are at it at once
                await redis.mget(names)

        await ours()
        line.tell(("ready", None))
        while (way := await line.hear()) != "end":
            ask = bare if way == "bare" else ours
            began = time.process_time()
            for _ in range(rounds):
                await ask()
            line.tell(("round", (time.process_time() - began) / (rounds * len(keys))))
        await redis.unlink(*names)


def fleet(url: str, processes: int, hits: int) -> list[Row]:
    """CPU of a hit with one process, and with so many at once: beyond the cores they take turns."""
    found: dict[tuple[str, int], float] = {}
    for count in (1, processes):
        with Crew(_hits, [[url, hits]] * count) as crew:
            crew.gather("ready", 120)
            rounds: dict[str, list[float]] = {"ours": [], "bare": []}
            for _ in track(range(5), f"{count} processes"):
                for way, each in rounds.items():
                    crew.tell(way)
                    each.append(statistics.median(crew.gather("round", 120)))
            crew.tell("end")
        for way, each in rounds.items():
            found[way, count] = 1e6 * statistics.median(each)
    more, bare = (100 * (found[way, processes] / found[way, 1] - 1) for way in ("ours", "bare"))
    floor = f"{found['ours', 1]:.0f} µs with one; bare MGETs {bare:+.0f} %"
    name = f"CPU of an L2 hit with {processes} processes, more than with one"
    return [Row(name, more, "%", "at most 20", more <= 20, "", floor)]


async def _answer() -> Any:
    return {"a": 1}


def main() -> None:
    """Print the rows."""
    told = arguments(
        __doc__, followers=(10_000, 2_000), keys=(1_000_000, 1_000_000), rounds=(15, 5),
        processes=(32, 8), hits=(5_000, 1_000),
    )  # fmt: skip
    with redis_url(told.redis) as url:
        rows = [
            *imports(told.rounds),
            *asyncio.run(stored(url)),
            *asyncio.run(followers(told.followers)),
            *asyncio.run(growth(url, told.keys)),
            *fleet(url, told.processes, told.hits),
        ]
    report(rows, told.json)


if __name__ == "__main__":
    main()
