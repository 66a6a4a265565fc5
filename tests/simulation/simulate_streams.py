"""Simulate streams under many seeds: `python tests/simulation/simulate_streams.py 20000 --first 0`.

Exit code 1 if a promise broke; what broke is printed, a line a seed.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import time
from collections import Counter

from sim_streams import play

_CHUNK = 100


def simulate(seeds: range) -> tuple[list[str], Counter[str]]:
    """What broke, and what happened."""
    broken: list[str] = []
    seen: Counter[str] = Counter()
    gc.disable()  # a run leaves cycles behind; they are collected between runs, not within
    try:
        for seed in seeds:
            trial = play(seed)
            broken += trial.faults()[:1]
            interrupted = sum(one.error is not None for one in trial.heard)
            seen.update(
                seeds=1, deaths=trial.died is not None, forgets=len(trial.forgotten),
                calls=trial.calls, consumers=len(trial.heard), interrupted=interrupted,
                twice=trial.again, away=trial.away > 0,
            )  # fmt: skip
            if seed % 25 == 0:
                gc.collect()
    finally:
        gc.enable()
    return broken, seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("seeds", type=int, nargs="?", default=2_000, help="how many (2000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    asked = parser.parse_args()
    began, last = time.perf_counter(), asked.first + asked.seeds
    parts = [range(start, min(start + _CHUNK, last)) for start in range(asked.first, last, _CHUNK)]
    total: Counter[str] = Counter()
    failed = 0
    with multiprocessing.get_context("spawn").Pool(asked.jobs) as pool:
        for broken, seen in pool.imap_unordered(simulate, parts):
            total += seen
            failed += len(broken)
            print(*broken, sep="\n", end="\n" if broken else "", flush=True)
    told = ", ".join(f"{count:,} {what}" for what, count in total.items())
    print(f"{told}; {failed} seeds with a broken promise, {time.perf_counter() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
