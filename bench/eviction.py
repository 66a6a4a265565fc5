"""How often L1 has the answer: least recently used, as it is, beside W-TinyLFU.

    pip install theine
    python bench/eviction.py [--asked N] [--entries N] [--prompts N]

Prompts are asked by Zipf's law, in one process; "moving" has the popular ones change as it goes on.
The time is that of a look and, where nothing is found, of keeping it, over a plain dict's.
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import track
from rich.table import Table

__all__ = ["Lru", "asked", "share"]

SHIFT = 10
"""Times that the popular ones change, where they do."""


class Lru:
    """What `samecall._memory.shelf` does, by number alone."""

    def __init__(self, entries: int) -> None:
        self._held: OrderedDict[int, int] = OrderedDict()
        self._entries = entries

    def get(self, key: int) -> int | None:
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def set(self, key: int, value: int) -> None:
        self._held[key] = value
        if len(self._held) > self._entries:
            self._held.popitem(last=False)


def asked(count: int, prompts: int, exponent: float, *, moving: bool) -> Iterator[int]:
    """Prompts by Zipf's law, the same ones in each run."""
    lots = random.Random(1)
    weights = list(itertools.accumulate((n + 1) ** -exponent for n in range(prompts)))
    for number in range(count):
        rank = bisect_left(weights, lots.random() * weights[-1])
        yield rank + (SHIFT * number // count) * prompts // 1000 if moving else rank


def share(
    get: Callable[[int], object | None], keep: Callable[[int, int], object], prompts: list[int]
) -> tuple[float, float]:
    """The share of prompts that were found, and the microseconds for each."""
    hits, began = 0, time.process_time()
    for prompt in prompts:
        if get(prompt) is None:
            keep(prompt, 1)
        else:
            hits += 1
    return hits / len(prompts), 1e6 * (time.process_time() - began) / len(prompts)


def main() -> None:
    """Print a table."""
    try:
        import theine
    except ImportError:
        raise SystemExit("pip install theine") from None
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--asked", type=int, default=300_000)
    parser.add_argument("--entries", type=int, default=10_000, help="that L1 holds")
    parser.add_argument("--prompts", type=int, default=1_000_000)
    told = parser.parse_args()
    table = Table("Zipf exponent", "popular ones", "LRU", "W-TinyLFU", "LRU, µs", "W-TinyLFU, µs")
    ways = list(itertools.product((0.7, 1.0, 1.2), (False, True)))
    for exponent, moving in track(ways, "traces"):
        prompts = list(asked(told.asked, told.prompts, exponent, moving=moving))
        lru, other = Lru(told.entries), theine.Cache(told.entries)

        def found(key: int, other: theine.Cache = other) -> object | None:
            value, there = other.get(key)
            return value if there else None

        plain, plain_us = share(lru.get, lru.set, prompts)
        tiny, tiny_us = share(found, other.set, prompts)
        other.close()
        about = "moving" if moving else "the same"
        row = f"{plain:.1%}", f"{tiny:.1%}", f"{plain_us:.2f}", f"{tiny_us:.2f}"
        table.add_row(f"{exponent:g}", about, *row)
    Console().print(table)


if __name__ == "__main__":
    main()
