"""Files of older versions: cassettes, exports (open and sealed) and disk stores.

They are read as they were meant, answer for answer, and nothing is paid for again.
`make_golden_files.py` wrote them; a new form of what is stored adds to them and changes none.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from golden_things import PLAIN, SEALS, Person, clients, plain
from samecall import Cache, Cassette, Seal
from samecall.testing import StubProvider

ROOM = Path(__file__).with_name("golden")
OFFLINE = "http://127.0.0.1:9"


def files(kind: str) -> list[Any]:
    found = sorted(ROOM.glob(f"{kind}-*"))
    assert found
    return [pytest.param(path, id=path.stem) for path in found]


@pytest.mark.parametrize("path", files("cassette"))
async def test_a_cassette(path: Path) -> None:
    """Completions of two SDKs among it; their classes are the SDKs' own again."""
    async with Cassette(path) as cassette:
        assert await plain(cassette, paid=False) == PLAIN
        *said, value, message = await clients(cassette, f"{OFFLINE}/v1", OFFLINE)
    async with StubProvider() as stub, Cassette(ROOM / "none.jsonl", mode="rewrite") as live:
        expected = await clients(live, stub.openai_url, stub.anthropic_url)
        live._new.clear()  # nothing of it is kept
    assert [type(each) for each in (*said, value, message)] == [type(each) for each in expected]
    assert isinstance(said[0], Person)
    assert said[0::2][:3] == expected[0:6:2]
    assert value == expected[-2]


@pytest.mark.parametrize("path", files("export"))
async def test_an_export(path: Path) -> None:
    async with Cache(namespace="golden") as cache:
        assert (await cache.import_(path)).stored == 6
        assert await plain(cache, paid=False) == PLAIN


@pytest.mark.parametrize("path", files("sealed"))
async def test_a_sealed_export(path: Path) -> None:
    async with Cache(namespace="golden", seal=Seal(SEALS, "golden")) as cache:
        assert (await cache.import_(path)).stored == 6
        assert await plain(cache, paid=False) == PLAIN


@pytest.mark.parametrize("path", files("disk"))
async def test_a_file(path: Path, tmp_path: Path) -> None:
    """Made again from its dump; what was stored on another machine is as old as the wall says."""
    made_again(path, tmp_path / "old.db")
    async with Cache(f"disk://{tmp_path / 'old.db'}", namespace="golden") as cache:
        assert await plain(cache, paid=False) == PLAIN
        assert cache.statistics().store_faults == cache.statistics().undecodable == 0


def made_again(dump: Path, file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.executescript(dump.read_text())
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
