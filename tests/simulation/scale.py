"""The real cache in a fleet of 10,000 workers over 100 shards: `python tests/simulation/scale.py`.

scale.py                   all scenarios (some minutes); docs/scale.md explains them
scale.py --workers 500     in small
scale.py --only viral      one of them: steady, viral, deploy, lost
scale.py --json FILE       the figures as JSON
scale.py --measure         what a script, a message and a connection cost a real server here

Virtual time: nothing here depends on how fast this machine is, but for `--measure`.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import itertools
import json
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from sim_shards import Costs, Shard, Shards, Way

from samecall import L1, Cache, Policy
from samecall._entry import Key

__all__ = ["Fleet", "deploy", "lost", "steady", "viral"]

Figures = dict[str, Any]


@dataclass(eq=False)
class Fleet:
    """Workers, each a real `Cache`, over a simulated cluster."""

    workers: int
    shards: Shards
    policy: Policy
    paid: int = 0
    answered: list[float] = field(default_factory=list[float])
    """Seconds that each answer took."""
    ends: list[float] = field(default_factory=list[float])
    """When each came."""
    failed: int = 0

    def __post_init__(self) -> None:
        self.caches = [self._new(number) for number in range(self.workers)]
        self._tasks: set[asyncio.Task[None]] = set()

    def _new(self, number: int) -> Cache:
        # a cluster tells of no changes, so the cache believes its copies for a second
        return Cache(
            Way(self.shards, number),
            policy=self.policy,
            l1=L1(),
            clock=self.shards.clock,
            report=False,
        )

    def busy(self, seconds: float) -> None:
        """Every worker asks for its namespace's generation once a second, as its other calls
        would make it do.
        """
        for number, cache in enumerate(self.caches):
            for turn in range(round(seconds)):
                when = turn + number / self.workers
                self.shards.loop.call_later(when, self._look_ahead, cache)

    def _look_ahead(self, cache: Cache) -> None:
        cache._rooms.here().generations.ahead(cache.namespace, (), cache.policy)

    def warm(self, shard: Shard | None = None) -> None:
        """Every worker has its connections already."""
        for each in self.shards.all if shard is None else [shard]:
            each.connections.update(
                (number, lane)
                for number in range(self.workers)
                for lane in ("reads", "writes", "bells")
            )

    def at(self, when: float, number: int, key: Key, call: float, size: int) -> None:
        """A worker asks at some moment."""
        self.shards.loop.call_later(when, self._begin, number, key, call, size)

    def _begin(self, number: int, key: Key, call: float, size: int) -> None:
        task = self.shards.loop.create_task(self._ask(self.caches[number], key, call, size))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, cache: Cache, key: Key, call: float, size: int) -> None:
        began = self.shards.time.now

        async def provide() -> str:
            self.paid += 1
            await asyncio.sleep(call)
            return "x" * size

        try:
            await cache.get_or_call(key, provide)
        except Exception:  # noqa: BLE001 - counted
            self.failed += 1
        now = self.shards.time.now
        self.answered.append(now - began)
        self.ends.append(now)


def key_of(name: object) -> Key:
    """The key of a prompt."""
    return Key(sha256(str(name).encode()).digest())


class Zipf:
    """Prompts by Zipf's law."""

    def __init__(self, prompts: int, exponent: float, luck: random.Random) -> None:
        weights = (1 / rank**exponent for rank in range(1, prompts + 1))
        self._sums = list(itertools.accumulate(weights))
        self._luck = luck

    def draw(self) -> int:
        return bisect.bisect(self._sums, self._luck.random() * self._sums[-1])


def _percent(values: list[float], which: int) -> float:
    return quantiles(values, n=100)[which - 1] if len(values) > 1 else values[0]


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 1)


def _of(shard: Shard) -> Figures:
    return {
        "commands": dict(shard.commands.most_common()),
        "connections": len(shard.connections),
        "messages": shard.messages,
        "MB_out": round(shard.bytes_out / 1e6, 1),
        "MB_held_at_once": round(shard.widest / 1e6, 1),
        "longest_queue_ms": _ms(shard.longest),
        "busiest_second": round(max(shard.busy.values(), default=0) / 1e9, 2),
    }


# --- scenarios -----------------------------------------------------------------------------------


def viral(
    workers: int,
    *,
    size: int = 2_000,
    op_timeout: float = 0.2,
    cold: bool = False,
    within: float = 1.0,
) -> Figures:
    """Every worker asks for one prompt within a second; the call takes 5 s."""
    shards = Shards(100, Costs(), seed=1)
    fleet = Fleet(workers, shards, Policy(op_timeout=op_timeout, compress_over=None))
    key = key_of("viral")
    if not cold:
        fleet.warm()
        fleet.busy(9.0)
    for number in range(workers):
        fleet.at(2.0 + within * number / workers, number, key, 5.0, size)
    shards.run(60.0)
    shard = shards.of(key)
    first = min(fleet.ends)
    return {
        "provider_calls": fleet.paid,
        "answered": len(fleet.ends) - fleet.failed,
        "after_first_answer_p50_ms": _ms(median(fleet.ends) - first),
        "after_first_answer_last_ms": _ms(max(fleet.ends) - first),
        "its_shard": _of(shard),
        "shard_of_the_namespace": _of(shards.of_name("default/")),
    }


def steady(workers: int, *, sample: int = 50, seconds: float = 4.0, rate: float = 100.0) -> Figures:
    """100 calls a second of each worker, over a million prompts that all have answers.

    Some workers stand for all: none of them knows of another.
    """
    shards = Shards(100, Costs(), seed=2)
    luck = random.Random(3)
    zipf = Zipf(1_000_000, 1.0, luck)
    fleet = Fleet(sample, shards, Policy(ttl=1e6, compress_over=None))
    fleet.warm()
    asked = [
        (luck.random() * seconds, number, key_of(zipf.draw()))
        for number in range(sample)
        for _ in range(round(seconds * rate))
    ]
    for key in {key for _, _, key in asked}:
        fleet.at(0.0, luck.randrange(sample), key, 0.0, 2_000)
    shards.run(10.0)
    before, free, paid = shards.commands(), sum(s.bytes_out for s in shards.all), fleet.paid
    for when, number, key in asked:
        fleet.at(when, number, key, 1.0, 2_000)
    shards.run(10.0 + seconds + 5.0)
    counts = [cache.statistics() for cache in fleet.caches]
    commands = shards.commands() - before
    scale = workers / sample / seconds / len(shards.all)
    per_shard = {op: round(count * scale) for op, count in commands.items()}
    named = commands["generations"] * workers / sample / seconds
    sent = sum(s.bytes_out for s in shards.all) - free
    return {
        "calls_a_second": round(workers * rate),
        "l1_hits": round(sum(c.l1_hits for c in counts) / len(asked), 3),
        "provider_calls": fleet.paid - paid,
        "commands_a_second_and_shard": per_shard,
        "busy": round(sum(per_shard.values()) * shards.costs.script, 2),
        "MB_a_second_and_shard": round(sent * scale / 1e6, 1),
        "generations_a_second_at_one_shard": round(named),
        "connections_a_shard": {"of 2 lanes": 2 * workers, "and bells, where it waits": workers},
    }


def deploy(workers: int, *, share: float = 0.05, rate: float = 100.0) -> Figures:
    """A share of all workers starts anew at once, each with 100 calls a second."""
    shards = Shards(100, Costs(), seed=4)
    luck = random.Random(5)
    fresh = max(1, round(workers * share))
    fleet = Fleet(fresh, shards, Policy(ttl=1e6, compress_over=None))
    keys = [key_of(f"deploy {number}") for number in range(1_000)]
    for number, key in enumerate(keys):  # there is an answer to each
        shards.of(key).connections.clear()
        fleet.at(0.0, number % fresh, key, 0.0, 2_000)
    shards.run(10.0)
    for shard in shards.all:
        shard.connections.clear()
        shard.longest = 0.0
        shard.busy.clear()
    fleet.caches = [fleet._new(number) for number in range(fresh)]
    fleet.paid, fleet.answered, fleet.ends = 0, [], []
    for number in range(fresh):
        for _ in range(round(rate)):
            fleet.at(luck.random(), number, luck.choice(keys), 1.0, 2_000)
    shards.run(20.0)
    worst = max(shards.all, key=lambda shard: shard.longest)
    return {
        "new_workers": fresh,
        "provider_calls": fleet.paid,
        "answer_p50_ms": _ms(median(fleet.answered)),
        "answer_p99_ms": _ms(_percent(fleet.answered, 99)),
        "worst_shard": _of(worst),
    }


def lost(workers: int, *, away: float = 10.0, rate: float = 1.0) -> Figures:
    """One shard is away for 10 s; each worker asks it once a second, by Zipf's law."""
    shards = Shards(100, Costs(), seed=6)
    luck = random.Random(7)
    fleet = Fleet(workers, shards, Policy(ttl=1e6, compress_over=None))
    fleet.warm()
    zipf = Zipf(10_000, 1.0, luck)
    gone = shards.all[0]
    names = (key for key in map(key_of, itertools.count()) if shards.of(key) is gone)
    keys = list(itertools.islice(names, 10_001))
    for key in keys:
        fleet.at(0.0, luck.randrange(workers), key, 0.0, 2_000)
    shards.run(10.0)
    paid, fleet.answered, fleet.ends = fleet.paid, [], []
    gone.down = True
    shards.loop.call_later(away, partial(setattr, gone, "down", False))
    for number in range(workers):
        for _ in range(round(away * rate)):
            fleet.at(luck.random() * away, number, keys[zipf.draw()], 1.0, 2_000)
    shards.run(40.0)
    return {
        "calls": len(fleet.ends),
        "failed": fleet.failed,
        "provider_calls": fleet.paid - paid,
        "share_of_all_traffic": f"{100 / len(shards.all):.0f} %",
        "in_the_air_at_once_in_a_worker_at_most": fleet.policy.bulkhead,
    }


def scenarios(workers: int, only: str | None) -> Iterator[tuple[str, Callable[[], Figures]]]:
    """All that is asked for, by name."""
    every: dict[str, Callable[[], Figures]] = {
        "steady": partial(steady, workers),
        "viral, 2 kB": partial(viral, workers),
        "viral, 15 kB": partial(viral, workers, size=15_000),
        "viral, 200 kB": partial(viral, workers, size=200_000),
        "viral, within 0.1 s": partial(viral, workers, within=0.1),
        "viral, within 0.1 s, op_timeout 2 s": partial(viral, workers, within=0.1, op_timeout=2.0),
        "viral, no connection yet": partial(viral, workers, cold=True),
        "viral, no connection yet, op_timeout 2 s": partial(
            viral, workers, cold=True, op_timeout=2.0
        ),
        "deploy": partial(deploy, workers),
        "lost": partial(lost, workers),
    }
    return ((name, run) for name, run in every.items() if only is None or name.startswith(only))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--workers", type=int, default=10_000, help="how many (10,000)")
    parser.add_argument("--only", help="scenarios whose name begins so")
    parser.add_argument("--json", type=Path, help="where the figures go")
    asked = parser.parse_args()
    figures: dict[str, Figures] = {}
    for name, run in scenarios(asked.workers, asked.only):
        figures[name] = run()
        print(f"{name}:\n{json.dumps(figures[name], indent=1)}", flush=True)
    if asked.json is not None:
        asked.json.write_text(json.dumps({"workers": asked.workers, **figures}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
