"""The scripts of docs/benchmarks.md, in sizes that tell nothing but that they run to their end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import redis
from all import SCRIPTS
from samecall.testing.servers import LocalServer

BENCH = Path(__file__).parent
SMALLEST = {
    "l1": "--rounds 1 --calls 1",
    "reads": "--rounds 1 --hits 100",
    "cold": "--rounds 1 --processes 2 --callers 3 --wakes 1 --latency 100",
    "trips": "--rounds 1 --tasks 4 --wait 1",
    "footprint": "--rounds 1 --followers 2 --keys 1001 --processes 1 --hits 50",
    "native": "--rounds 1",
}


def ran(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / f"{script}.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_writes_its_rows_and_leaves_no_keys(script: str, tmp_path: Path) -> None:
    """In a database that is not the first one, where somebody else has a key."""
    rows = tmp_path / "rows.json"
    with LocalServer() as server, redis.Redis(port=server.port, db=3) as theirs:
        url = f"redis://127.0.0.1:{server.port}/3"
        theirs.set("theirs", "x")
        done = ran(script, "--redis", url, "--json", str(rows), *SMALLEST[script].split())
        assert done.returncode == 0, done.stderr
        assert json.loads(rows.read_text())
        assert theirs.keys() == [b"theirs"]
        assert set(theirs.info("keyspace")) == {"db3"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--redis", "redis://127.0.0.1:1/0"), "--redis names no server that can be used"),
        (("--redis", "redis://127.0.0.1:x/0"), "--redis names no server that can be used"),
        (("--redis", "redis+cluster://127.0.0.1:1"), "samecall bench --url URL"),
        (("--rounds", "0"), "--rounds takes at least 1; got 0"),
    ],
)
def test_what_a_script_cannot_use(words: tuple[str, ...], says: str) -> None:
    done = ran("native", *words)
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr
