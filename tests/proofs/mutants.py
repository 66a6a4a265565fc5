"""Break each guard of the code in turn; the test that is named for it must fail.

python tests/proofs/mutants.py                 all guards of guards.toml, two at a time
python tests/proofs/mutants.py lease L1        those whose name holds one of these words
python tests/proofs/mutants.py --jobs 4
python tests/proofs/mutants.py --sample 24     so many of them, by chance; --seed repeats the choice

A guard is a line that keeps a promise: remove it and, on most days, nothing is to be seen. Tools
such as mutmut and cosmic-ray make their own mutations of Python (operators, constants, names) and
run a whole suite for each; none of them can be told which line keeps which promise, and by which
test, and none of them mutates Lua, where half of these guards stand. So the table is our own, and
this script is all that it takes.

The tree is copied; nothing is changed where you work. It fails if a guard's lines are not in its
file exactly once, if the named test passes without them, or if a named test fails with them.
"""

from __future__ import annotations

import argparse
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TABLE = HERE / "guards.toml"
PARTS = ("src", "tests", "bench", "docs", "pyproject.toml", "README.md")
LONGEST = 60.0  # seconds that one broken guard's test gets; one that hangs has not passed
PASSED, FAILED = 0, 1  # pytest's exit codes; every other one is no verdict
CAUGHT = ("caught", "caught (hangs)")


@dataclass(frozen=True)
class Guard:
    """One row of the table."""

    name: str
    file: str
    line: str
    becomes: str
    test: str

    def broken(self, text: str) -> str:
        """`text` without the guard."""
        found = text.count(self.line)
        if found != 1:
            raise ValueError(f"its line is {found} times in {self.file}")
        if self.line == self.becomes:
            raise ValueError("it becomes what it is")
        return text.replace(self.line, self.becomes)


@dataclass
class Verdict:
    """What became of one mutation."""

    guard: Guard
    told: str
    seconds: float = 0.0
    output: str = field(default="", repr=False)

    @property
    def good(self) -> bool:
        return self.told in CAUGHT


class Tree:
    """A copy of the project, to be broken."""

    def __init__(self, place: Path, *, whole: bool = False) -> None:
        self.root = place
        # A mutation may have the size and the second of what it replaces; the whole tree's tests
        # leave that of the packages for all others.
        self.bytecode = "" if whole else "1"
        ignored = shutil.ignore_patterns("__pycache__", ".*_cache")
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, place / part, ignore=ignored)
            elif source.exists():
                shutil.copy(source, place / part)

    def run(self, *arguments: str, longest: float) -> tuple[int | None, str]:
        """Python in this tree: its exit code (None: it hung) and its output."""
        own = {"PYTHONPATH": str(self.root / "src"), "PYTHONDONTWRITEBYTECODE": self.bytecode}
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.root,
                env={**os.environ, **own},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code: int | None = process.wait(longest)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(process)
            output.seek(0)
            return code, output.read()

    def test(self, *tests: str, longest: float = LONGEST) -> tuple[int | None, str]:
        return self.run(
            "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests, longest=longest
        )

    def judge(self, guard: Guard) -> Verdict:
        """Break it, run its test, mend it."""
        file = self.root / guard.file
        whole = file.read_text()
        began = time.monotonic()
        try:
            file.write_text(guard.broken(whole))
        except ValueError as error:
            return Verdict(guard, f"NO LONGER APPLIES: {error}")
        try:
            code, output = self.test(guard.test)
        finally:
            file.write_text(whole)
        return Verdict(guard, _told(code, output), time.monotonic() - began, output)


def _told(code: int | None, output: str) -> str:
    if code is None:
        return "caught (hangs)"
    if code == PASSED:
        return "NOT CAUGHT"
    if code == FAILED and "\nFAILED " in output:
        return "caught"
    return f"NO VERDICT (pytest's exit code {code})"


def _end(process: subprocess.Popen[bytes]) -> None:
    # its whole session: a test that was cut short leaves servers behind
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read(words: list[str]) -> list[Guard]:
    """The rows whose name holds one of `words`; all, if there are none."""
    rows = tomllib.loads(TABLE.read_text())["guard"]
    guards = [Guard(**row) for row in rows]
    names = [guard.name for guard in guards]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise SystemExit(f"guards.toml: twice: {', '.join(sorted(twice))}")
    return [g for g in guards if not words or any(word in g.name for word in words)]


def check_whole(tree: Tree, guards: list[Guard]) -> None:
    """The copy is what is tested, and every named test passes in it."""
    code, where = tree.run("-c", "import samecall; print(samecall.__file__)", longest=LONGEST)
    if code != PASSED or not Path(where.strip()).is_relative_to(tree.root):
        raise SystemExit(f"the tests would not run on the copy, but on {where.strip()!r}")
    tests = list(dict.fromkeys(guard.test for guard in guards))
    began = time.monotonic()
    code, output = tree.test(*tests, longest=120 + 15 * len(tests))
    if code != PASSED:
        print(output)
        raise SystemExit("with every guard in its place, a named test does not pass")
    print(f"{len(tests)} named tests pass unbroken ({time.monotonic() - began:.0f} s)")


def prove(place: Path, guards: list[Guard], jobs: int) -> list[Verdict]:
    """One verdict per guard, in the table's order."""
    trees: queue.SimpleQueue[Tree] = queue.SimpleQueue()
    for number in range(jobs):
        trees.put(Tree(place / str(number)))
    said = threading.Lock()

    def one(guard: Guard) -> Verdict:
        tree = trees.get()
        try:
            verdict = tree.judge(guard)
        finally:
            trees.put(tree)
        with said:
            mark = "ok " if verdict.good else "BAD"
            print(f"{mark} {verdict.seconds:5.1f} s  {guard.name}: {verdict.told}", flush=True)
        return verdict

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, guards))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("words", nargs="*", help="only guards whose name holds one of these")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--sample", type=int, help="only so many of them, chosen by the seed")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="(the clock's seconds)")
    parser.add_argument("--verbose", action="store_true", help="pytest's output of what is bad")
    asked = parser.parse_args()
    guards = read(asked.words)
    if asked.sample is not None and asked.sample < len(guards):
        print(f"{asked.sample} of {len(guards)} guards, --seed {asked.seed}")
        guards = random.Random(asked.seed).sample(guards, asked.sample)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="samecall-mutants-") as place:
        check_whole(Tree(Path(place) / "whole", whole=True), guards)
        verdicts = prove(Path(place), guards, asked.jobs)
    bad = [verdict for verdict in verdicts if not verdict.good]
    if asked.verbose:
        for verdict in bad:
            print(f"--- {verdict.guard.name}\n{verdict.output[-3000:]}")
    took = time.monotonic() - began
    print(f"{len(verdicts) - len(bad)} of {len(verdicts)} guards proved in {took:.0f} s")
    if bad or not verdicts:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
