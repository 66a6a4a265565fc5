"""instructor's own offline cache tests, as they are and with our cache in place of its own.

python tests/upstream/run.py DIRECTORY    an unpacked sdist of the instructor that is installed

What passes as it is must pass with `NativeCache`, over memory and over a real server. The tests
are fetched with the sdist (`nox -s upstream`); none of them is kept here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

from samecall.testing import LocalServer

HERE = Path(__file__).resolve().parent
TESTS = (
    "tests/cache",
    "tests/coverage/test_cache_coverage.py",
    "tests/coverage/test_core_patch_retry_coverage.py",
    "tests/v2/test_security_regressions.py",
    "tests/v2/test_issue_2374.py",
)
LEAST = 80
"""Tests that have to pass, or this looks at too few of them."""
OWN = "test_auto_cache_rejects_invalid_size_and_evicts_least_recently_used"
"""How many entries its in-process cache holds: a bound of L1 here, and of no shared store."""


def passed(source: Path, *more: str, url: str = "") -> set[str]:
    """The names of the tests that pass."""
    report = source / "report.xml"
    report.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(HERE), "SAMECALL_UPSTREAM_URL": url}
    command = (
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--junitxml={report}",
    )
    subprocess.run([*command, *more, *TESTS], cwd=source, env=environment, check=False)
    cases = ET.parse(report).getroot().iter("testcase")
    return {f"{case.get('classname')}::{case.get('name')}" for case in cases if not len(case)}


def main() -> None:
    source = Path(sys.argv[1]).resolve()
    plain = passed(source)
    missed = {"memory://": plain - passed(source, "-p", "swapped", url="memory://")}
    with LocalServer() as server:
        shared = passed(source, "-p", "swapped", url=server.url)
        missed["a server"] = {name for name in plain - shared if OWN not in name}
    print(f"{len(plain)} tests pass with instructor's own cache")
    for where, names in missed.items():
        print(f"over {where}: {len(names)} of them fail {sorted(names) or ''}")
    if len(plain) < LEAST or any(missed.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
