"""Simulate a fleet under many seeds: `python tests/simulation/simulate.py 100000 --first 0`.

simulate.py 2000               2,000 seeds on every core; exit code 1 if a promise broke
simulate.py --replay 4711      the history of one seed, and the smallest plan that still fails
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from sim_invariants import judge
from sim_plan import make_plan
from sim_shrink import shrink
from sim_world import run

_CHUNK = 100
_SHOWN = 3


@dataclass
class Tally:
    """What many runs add up to."""

    seeds: int = 0
    callers: int = 0
    calls: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    broken: dict[int, list[str]] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        self.seeds += other.seeds
        self.callers += other.callers
        self.calls += other.calls
        self.faults += other.faults
        self.kinds += other.kinds
        self.broken |= other.broken


def simulate(first: int, count: int) -> Tally:
    """Run and judge some seeds."""
    tally = Tally()
    gc.disable()  # a run leaves cycles behind; they are collected between runs, not within
    try:
        for seed in range(first, first + count):
            history = judge(run(make_plan(seed)))
            tally.seeds += 1
            tally.callers += len(history.callers)
            tally.calls += len(history.paid)
            tally.faults += history.faults
            tally.kinds[history.plan.kind] += 1
            if history.violations:
                tally.broken[seed] = history.violations
            if seed % 25 == 0:
                gc.collect()
    finally:
        gc.enable()
    return tally


def _chunk(bounds: tuple[int, int]) -> Tally:
    return simulate(*bounds)


def _parts(first: int, count: int) -> Iterator[tuple[int, int]]:
    for start in range(first, first + count, _CHUNK):
        yield start, min(_CHUNK, first + count - start)


def sweep(first: int, count: int, jobs: int) -> Tally:
    """Run seeds on several cores."""
    total = Tally()
    if jobs == 1:
        for part in _parts(first, count):
            total.add(simulate(*part))
        return total
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for tally in pool.imap_unordered(_chunk, _parts(first, count)):
            total.add(tally)
    return total


def replay(seed: int) -> int:
    """Print the history of one seed, and of its smallest failing plan."""
    plan = make_plan(seed)
    history = judge(run(plan))
    print(history.readable())
    print(f"history {history.digest()}")
    if not history.violations:
        return 0
    smallest = shrink(plan)
    print(f"\nshrunk from {len(plan.events)} events to {len(smallest.events)}:")
    print(judge(run(smallest)).readable())
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("seeds", type=int, nargs="?", default=2_000, help="how many (2000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--replay", type=int, metavar="SEED", help="show one seed")
    asked = parser.parse_args()
    if asked.replay is not None:
        return replay(asked.replay)
    began = time.perf_counter()
    tally = sweep(asked.first, asked.seeds, asked.jobs)
    took = time.perf_counter() - began
    print(f"{tally.seeds} seeds in {took:.0f} s ({tally.seeds / took:.0f}/s), {dict(tally.kinds)}")
    print(f"{tally.callers} callers, {tally.calls} provider calls")
    print(f"{tally.faults.total()} faults: {dict(tally.faults.most_common())}")
    print(f"{len(tally.broken)} seeds with a broken promise")
    for seed, breaches in sorted(tally.broken.items())[:20]:
        print(f"  {seed}: {breaches[0]}")
    for seed in sorted(tally.broken)[:_SHOWN]:
        replay(seed)
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
