"""Check the model of the protocol with spin, and that every broken variant of it is found out.

    python tests/model/check.py [--deep] [--only NAME] [--write docs/model.md]

Needs spin and a C compiler (Debian: `apt-get install spin gcc libc6-dev`). Ends with 1 if a right
model fails, a broken one passes, or a check does not end within its bounds.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from variants import DEEP, MUTANTS, QUICK, SETTINGS, Mutant, World

MODEL = Path(__file__).with_name("lease.pml")
BEGIN, END = "<!-- figures: made by `nox -s model` -->", "<!-- end of figures -->"
DEPTH = 1_000_000
WORKERS = 2


@dataclass(frozen=True)
class Bounds:
    """What one check may take."""

    seconds: int
    megabytes: int


@dataclass(frozen=True)
class Result:
    """What pan found."""

    states: int
    seconds: float
    found: str
    """The promise that is broken; "" if none is; "?" if the check did not end."""


def settings(world: World, mutant: Mutant | None) -> list[str]:
    values = SETTINGS | world.settings | (mutant.more if mutant else {})
    unknown = set(values) - set(SETTINGS)
    if unknown:
        raise ValueError(f"no setting {sorted(unknown)} in world {world.name!r}")
    defined = [f"-D{name}={value}" for name, value in values.items()]
    if mutant is not None:
        defined.append(f"-DM_{mutant.name}")
    return defined


def check(world: World, mutant: Mutant | None, bounds: Bounds) -> Result:
    """Make the verifier of one variant, and run it."""
    fair = ["-DLIVENESS"] if world.fair else []
    kind = ["-DNFAIR=3"] if world.fair else ["-DSAFETY", "-DNOCLAIM"]
    search = ["-a", "-f"] if world.fair else []
    with tempfile.TemporaryDirectory(prefix="samecall-model-") as name:
        where = Path(name)
        build(["spin", "-a", *settings(world, mutant), *fair, str(MODEL)], where)
        limit = f"-DMEMLIM={bounds.megabytes}"
        # a counterexample is found long before a better compiled search would have paid
        build(["cc", "-O0" if mutant else "-O1", "-w", limit, *kind, "-o", "pan", "pan.c"], where)
        began = time.monotonic()
        command = [str(where / "pan"), f"-m{DEPTH}", "-w20", *search]
        try:
            done = subprocess.run(
                command, cwd=where, capture_output=True, text=True, timeout=bounds.seconds,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Result(0, bounds.seconds, "? took too long")
        return read(done.stdout, time.monotonic() - began)


def build(command: list[str], where: Path) -> None:
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")


def read(output: str, seconds: float) -> Result:
    """What pan's report says."""
    stored = re.search(r"(\d+) states, stored", output)
    states = int(stored[1]) if stored else 0
    if "max search depth too small" in output or "memory limit" in output or not stored:
        return Result(states, seconds, "? did not end within its bounds")
    broken = re.search(r"pan:\d+: (.*) \(at depth", output)
    if broken is None:
        whole = "errors: 0" in output
        return Result(states, seconds, "" if whole else "? no report")
    # the invariant's name is the last word of the condition, see HOLDS
    name = re.search(r"assertion violated .*\|\|(\w+)\)*$", broken[1])
    return Result(states, seconds, name[1] if name else broken[1].split(" (")[0].strip())


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    world: World
    mutant: Mutant | None
    result: Result

    @property
    def variant(self) -> str:
        return self.mutant.what if self.mutant else "as it is"

    @property
    def good(self) -> bool:
        return self.result.found == (self.mutant.breaks if self.mutant else "")

    def cells(self) -> list[str]:
        sizes = SETTINGS | self.world.settings
        fleet = f"{sizes['N']} x {sizes['F']}"
        found = self.result.found or "holds"
        if self.mutant:
            found = f"{'found' if self.good else 'NOT AS EXPECTED'}: {found}"
        elif not self.good:
            found = f"BROKEN: {found}"
        return [
            self.variant, self.world.name, fleet, f"{self.result.states:,}",
            f"{self.result.seconds:.1f}", found,
        ]  # fmt: skip


def table(rows: list[Row]) -> str:
    heads = ["variant", "world", "processes x flights", "states", "seconds", "result"]
    lines = [heads, ["-" * len(head) for head in heads], *(row.cells() for row in rows)]
    wide = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, wide, strict=True)) + " |"
        for line in lines
    )


def write(page: Path, text: str) -> None:
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{page} has no place for the figures")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Check the model of the protocol with spin.")
    parser.add_argument("--deep", action="store_true", help="larger worlds too: minutes, 7 GB")
    parser.add_argument("--only", metavar="NAME", help="variants or worlds with this in the name")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page")
    return parser.parse_args()


def jobs(*, deep: bool, only: str | None) -> list[tuple[World, Mutant | None]]:
    """The right protocol in every world, each mutant in its own."""
    named = {world.name: world for world in QUICK}
    todo: list[tuple[World, Mutant | None]] = [(world, None) for world in QUICK]
    todo += [(world, None) for world in DEEP if deep]
    todo += [(named[mutant.world], mutant) for mutant in MUTANTS]
    if only is None:
        return todo
    return [(w, m) for w, m in todo if only in w.name or (m is not None and only in m.name)]


def main() -> int:
    """Run it all, print the table."""
    asked = arguments()
    for tool in ("spin", "cc"):
        if shutil.which(tool) is None:
            print(f"model: {tool} is not installed: apt-get install spin gcc libc6-dev")
            return 1
    bounds = Bounds(900, 7_000) if asked.deep else Bounds(240, 1_800)
    began = time.monotonic()

    def run(job: tuple[World, Mutant | None]) -> Row:
        row = Row(*job, check(*job, bounds))
        print(f"{row.variant}, {row.world.name}: {row.cells()[-1]}", file=sys.stderr, flush=True)
        return row

    # in the deep form one at a time, for the sake of memory
    with ThreadPoolExecutor(1 if asked.deep else WORKERS) as pool:
        rows = list(pool.map(run, jobs(deep=asked.deep, only=asked.only)))
    bad = [row for row in rows if not row.good]
    states = sum(row.result.states for row in rows)
    took = time.monotonic() - began
    print(table(rows))
    print(f"{len(rows)} checks, {states:,} states, {took:.0f} s, {len(bad)} not as they must be")
    for row in bad:
        wanted = row.mutant.breaks if row.mutant else "nothing broken"
        found = row.result.found or "nothing broken"
        print(f"{row.variant!r} in {row.world.name!r}: expected {wanted}, found {found}")
    if asked.write and not bad:
        write(asked.write, table(rows))
    return 1 if bad or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
