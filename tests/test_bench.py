"""The scripts of docs/benchmarks.md, in sizes that tell nothing but that they run to their end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from all import SCRIPTS

BENCH = Path(__file__).parent.parent / "bench"
SMALLEST = {
    "l1": "--rounds 1 --calls 1",
    "reads": "--rounds 1 --hits 100",
    "cold": "--rounds 1 --callers 4 --wakes 1 --latency 100",
    "trips": "--rounds 1 --tasks 4 --wait 0",
    "footprint": "--rounds 1 --followers 2 --keys 1001 --processes 1 --hits 50",
    "native": "--rounds 1",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_writes_its_rows(script: str, tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    command = [sys.executable, str(BENCH / f"{script}.py"), "--json", str(rows)]
    done = subprocess.run(
        [*command, *SMALLEST[script].split()], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(rows.read_text())
