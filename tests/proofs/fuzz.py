"""Feed random and mutated input to everything that reads what others wrote.

python tests/proofs/fuzz.py 100000             that many inputs, shared out over the targets
python tests/proofs/fuzz.py 1000000 --seed 7   others; the same seed makes the same inputs
python tests/proofs/fuzz.py 20000 url key      only these targets

Each input ends in an answer of the right type or in the one clear error of its target, never in
another exception; and no target takes more than linear time in the size of its input (`growth`).

Mutators of our own and not atheris: a run is the same on every Python that we support, 3.14
included, and one process serves all targets. What is our own in reading is small (a fixed header,
a checksum, a few typed fields), so that seeds reach its branches; the rest is msgspec and pydantic,
which are compiled and which coverage of Python code cannot guide through.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import fuzz_answers as answers
import fuzz_files as held
import fuzz_stored as stored
from growth import grown

Target = tuple[float, Callable[[random.Random], Any], Callable[[Any], str]]


def targets() -> dict[str, Target]:
    """Name: share of the inputs, where they come from, where they go."""
    runner = asyncio.Runner()
    shelf, files, rows = answers.Shelf(runner), held.Files(runner), held.Rows(runner)
    messages, replies = stored.Messages(runner), stored.Replies(runner)
    return {
        "entry": (0.15, answers.entry_input, answers.entry),
        "record": (0.08, answers.record_input, answers.record),
        "key": (0.10, answers.key_input, answers.key),
        "url": (0.08, answers.url_input, answers.url),
        "completion": (0.08, answers.completion_input, answers.completion),
        "store": (0.03, shelf.input, shelf.run),
        "envelope": (0.07, stored.envelope_input, stored.envelope),
        "near": (0.02, stored.near_input, stored.near),
        "generations": (0.05, stored.generations_input, stored.generations),
        "token": (0.02, stored.token_input, stored.token),
        "message": (0.04, messages.input, messages.run),
        "change": (0.03, stored.change_input, stored.change),
        "reply": (0.04, stored.reply_input, stored.reply),
        "replies": (0.04, replies.input, replies.run),
        "frames": (0.06, stored.frames_input, stored.frames),
        "items": (0.05, stored.items_input, stored.items),
        "report": (0.003, held.report_input, held.report),
        "export": (0.01, files.export_input, files.export),
        "tape": (0.01, files.tape_input, files.tape),
        "retry-after": (0.01, held.header_input, held.header),
        "line": (0.01, held.line_input, held.line),
        "rows": (0.003, rows.input, rows.run),
    }


def fuzz(name: str, target: Target, count: int, seed: str) -> Counter[str]:
    """What became of `count` inputs; the first finding ends it."""
    _, make, eat = target
    seen: Counter[str] = Counter()
    for number in range(count):
        given = make(random.Random(f"{seed}/{name}/{number}"))
        try:
            seen[eat(given)] += 1
        except Exception:
            print(f"{name}: input {number} of seed {seed}: {given!r:.2000}", file=sys.stderr)
            raise
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("count", type=int, nargs="?", default=100_000)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seed", default="samecall")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # of samecall and of pydantic, about what is odd here
    known = targets()
    chosen = {name: known[name] for name in asked.targets or known}
    whole = sum(target[0] for target in chosen.values())
    for name, target in chosen.items():
        count = max(1, round(asked.count * target[0] / whole))
        began = time.monotonic()
        seen = fuzz(name, target, count, asked.seed)
        words = ", ".join(f"{number} {what}" for what, number in seen.most_common())
        print(f"{name}: {count} inputs in {time.monotonic() - began:.1f} s: {words}", flush=True)
    slow = grown(asked.targets)
    for line in slow:
        print(f"more than linear: {line}")
    if slow:
        raise SystemExit(1)
    print("no finding; the work grows with the size of the input and not faster")


if __name__ == "__main__":
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    main()
