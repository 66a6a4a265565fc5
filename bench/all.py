"""Every claim in one run: the scripts one after the other, their rows, a page and its plots.

    python bench/all.py [--redis URL] [--short] [--out docs]

Writes `benchmarks.json`, `benchmarks.md` and `benchmarks.svg` into the folder `--out`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt

from common import told as shown

__all__ = ["page", "plot", "run"]

SCRIPTS = ("l1", "reads", "cold", "trips", "footprint", "native")
HERE = Path(__file__).parent
# Why a row may stay short of its target, by how its name begins; told for rows that do.
REASONS = {
    "share of a bare MGET with": "an MGET answers one caller with one list; here each key has a "
    "task of its own that waits for it, which alone costs asyncio more than the MGET (its floor "
    "says what share an MGET keeps that wakes as many). Calls through `create` take their answers "
    "where they come in; their share is the row without tasks.",
    "share of a bare MGET": "the script also tells each key's age, and takes leases where nothing "
    "is found: its floor says what share it keeps when redis-py sends it bare and nobody reads the "
    "replies. The rest is a question and a check of its reply for each key.",
    "faster than a GET per call with": "the same tasks are the larger part of what either way "
    "costs: its floor says how many times faster an MGET is that wakes as many.",
    "faster than a GET per call": "the script's part of the server and the wire, which is what a "
    "key costs beside it, does not shrink with the batch (its floor is the script sent bare); and "
    "a GET of redis-py is quick where only a hundred wait for its connections.",
    "L2 hits through client.create": "even an MGET of ready names that wakes a task for each "
    "caller, and runs instructor's parser over what came, makes no more than its floor says, where "
    "the target is above that; beside it a hit builds its key, checks and expands the entry, and "
    "is a flight that others can join.",
    "faster than the best peer": "its floor says how many times faster than that peer the floor "
    "of a hit is, which has neither key nor lease nor check.",
    "commands of a wait": "a look every 2 s and the first two, SUBSCRIBE, two reads of the "
    "generation, UNSUBSCRIBE of the wait before; a PING of the line that listens, if it was quiet.",
    "a leader's way": "one round trip, and around it the Python of a flight, its lease and the "
    "call's own task, which counts where a round trip takes a tenth of a millisecond.",
    "a copy in another L1": "see wake.",
    "wake:": "who wakes in another process waits for its turn on a core; whoever else uses this "
    "machine shows here first.",
    "100 cold callers: extra": "see wake.",
    "1000 cold callers: extra": "see wake.",
    "L1 hit over the parser": "a copy of the answer and its completion, a key and the counts.",
    "faster than AutoCache": "a copy of the answer and its completion, a key and the counts.",
    "an L2 hit among": "a server's table grows with its keys, and so do its misses in the CPU.",
    "CPU of an L2 hit with": "beyond the cores, processes push each other out of the caches: its "
    "floor says how much more bare MGETs cost there.",
}


def short_of(rows: list[dict[str, Any]]) -> list[str]:
    """What missed its target, and why as far as that is known."""
    missed = [row["what"] for row in rows if row["met"] is False]
    if not missed:
        return ["Every target was met in this run."]
    lines = ["## What is short of its target, and what is known of why", ""]
    for what in missed:
        why = next(
            (why for name, why in REASONS.items() if what.startswith(name)), "not yet known."
        )
        lines.append(f"- **{what}**: {why}")
    return lines


def run(script: str, more: list[str]) -> list[dict[str, Any]]:
    """The rows of one script."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.json")
        command = [sys.executable, str(HERE / f"{script}.py"), "--json", str(file), *more]
        if subprocess.run(command, check=False).returncode:
            sys.exit(f"{script}.py has failed; nothing was written")
        rows: list[dict[str, Any]] = json.loads(file.read_text())
    return [{"script": f"bench/{script}.py", **row} for row in rows]


def page(rows: list[dict[str, Any]], about: str) -> str:
    """docs/benchmarks.md."""
    lines = [
        "# Benchmarks",
        "",
        f"One run of `nox -s bench`: {about}. Each row's peers and floors were measured beside it,",
        "in the same run; a script takes `--redis URL` and sizes, so that you can measure yours.",
        "What has no target says where the time goes. Other claims have pages of their own:",
        "[streams](streams.md), [guarantees](guarantees.md), [simulation](simulation.md),",
        "[past one machine](scale.md).",
        "",
        "| what | figure | target | met | peer | floor | script |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        met = "" if row["met"] is None else ("yes" if row["met"] else "**no**")
        figure = f"{shown(row['figure'])} {row['unit']}".strip()
        cells = (row["what"], figure, row["target"], met, row["peer"], row["floor"])
        lines.append(f"| {' | '.join(cells)} | `{row['script']}` |")
    lines += ["", "![Figures beside their targets](benchmarks.svg)", "", *short_of(rows), ""]
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], file: Path) -> None:
    """Each figure over its target: the bars that pass the line have missed it."""
    bars: list[tuple[str, float, bool]] = []
    for row in rows:
        words = str(row["target"]).replace(",", "").split()
        if len(words) == 3 and words[:2] in (["at", "least"], ["at", "most"]) and row["figure"] > 0:
            share = float(row["figure"]) / float(words[2])
            share = 1 / share if words[1] == "least" else share
            bars.append((row["what"], share, bool(row["met"])))
    figure, axes = plt.subplots(figsize=(9, 0.34 * len(bars) + 1))
    colours = ["#2a7f62" if met else "#c0392b" for _, _, met in bars]
    axes.barh([name for name, _, _ in bars], [share for _, share, _ in bars], color=colours)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("share of what the target allows: less is better")
    axes.invert_yaxis()
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Run all and write the page."""
    parser = argparse.ArgumentParser(description="Every claim in one run")
    parser.add_argument("--redis", metavar="URL")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs")
    told = parser.parse_args()
    told.out.mkdir(parents=True, exist_ok=True)
    more = [*(["--redis", told.redis] if told.redis else []), *(["--short"] if told.short else [])]
    rows = [row for script in SCRIPTS for row in run(script, more)]
    when = datetime.now(UTC).date().isoformat()
    size = "short sizes" if told.short else "whole sizes"
    about = f"{when}, {os.cpu_count()} cores, Python {platform.python_version()}, {size}"
    told_all = json.dumps({"about": about, "rows": rows}, indent=1)
    (told.out / "benchmarks.json").write_text(f"{told_all}\n")
    (told.out / "benchmarks.md").write_text(page(rows, about))
    plot(rows, told.out / "benchmarks.svg")


if __name__ == "__main__":
    main()
