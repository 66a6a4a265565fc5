"""From how many bytes on compressing pays: `Policy(compress_over=...)`.

    python bench/threshold.py [rounds]

Two kinds of payloads, of growing size: completions in the shapes of the SDKs (which the dictionary
knows), and plain JSON data (which it does not: answers of `memoize` and `get_or_call`). For each,
the bytes that are stored of the bytes that there are, and what it costs to make and to read them,
beside the time in which a network of 1 Gbit/s sends what is saved.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from dictionary import Dice, anthropic, openai_chat, payload
from samecall._zstd import expand, squeeze

__all__ = ["measure"]

SIZES = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1_024, 2_048, 8_192, 65_536)
MICRO = 1e6
WIRE = 8 / 1e9 * MICRO  # microseconds a byte


def plain(size: int, dice: random.Random) -> bytes:
    """JSON data of about `size` bytes: names, words, numbers."""
    words = ["answer", "invoice", "Ada", "Lovelace", "total", "green", "river", "seven", "maybe"]
    rows: list[dict[str, Any]] = []
    while True:
        rows.append({"name": " ".join(dice.choices(words, k=4)), "value": dice.randrange(10**6)})
        data = json.dumps(rows).encode()
        if len(data) >= size:
            return data[:size]


def completions(dice: Dice) -> list[bytes]:
    """Payloads as the codec makes them, the smallest that providers give and upwards."""
    return sorted(
        (payload(dice, make) for make in (openai_chat, anthropic) for _ in range(6)), key=len
    )


def microseconds(work: Callable[[], Any], rounds: int) -> float:
    took: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(20):
            work()
        took.append((time.perf_counter() - start) / 20)
    return statistics.quantiles(took, n=10)[0] * MICRO


def measure(data: bytes, rounds: int) -> tuple[int, float, float]:
    """Stored bytes (as they are where nothing is gained), microseconds to make and to read them."""
    small = squeeze(data)
    making = microseconds(lambda: squeeze(data), rounds)
    if small is None:
        return len(data), making, 0.0
    return len(small), making, microseconds(lambda: expand(small), rounds)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    dice = random.Random(1)
    kinds = {
        "plain JSON": [plain(size, dice) for size in SIZES],
        "completion": completions(Dice(1)),
    }
    print(f"{'':12}{'bytes':>8}{'stored':>8}{'of it':>7}{'make us':>9}{'read us':>9}{'wire us':>9}")
    for kind, payloads in kinds.items():
        for data in payloads:
            stored, making, reading = measure(data, rounds)
            wire = (len(data) - stored) * WIRE
            print(
                f"{kind:12}{len(data):8,}{stored:8,}{stored / len(data):7.2f}"
                f"{making:9.1f}{reading:9.1f}{wire:9.1f}"
            )


if __name__ == "__main__":
    main()
