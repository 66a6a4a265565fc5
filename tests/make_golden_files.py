"""Writes tests/golden/: files as this version writes them, which every later one has to read.

Run it by hand when a form of what is stored is new, and only to add files under other names: what
is there was written by versions that people have used.

    python tests/make_golden_files.py 1
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
from pathlib import Path

from golden_things import LIFE, SEALS, clients, plain
from samecall import Cache, Cassette, Policy, Seal
from samecall.testing import StubProvider

ROOM = Path(__file__).with_name("golden")
PRAGMAS = ("application_id", "user_version", "auto_vacuum")


async def cassette(path: Path) -> None:
    async with StubProvider() as stub, Cassette(path, mode="record") as made:
        await plain(made, paid=True)
        await clients(made, stub.openai_url, stub.anthropic_url)


async def exported(path: Path, seal: Seal | None) -> None:
    async with Cache(namespace="golden", policy=Policy(ttl=LIFE), seal=seal) as cache:
        await plain(cache, paid=True)
        await cache.export(path)


async def disk(path: Path) -> None:
    with tempfile.TemporaryDirectory() as room:
        file = Path(room) / "golden.db"
        url = f"disk://{file}"
        async with Cache(url, namespace="golden", policy=Policy(ttl=LIFE), report=False) as cache:
            await plain(cache, paid=True)
        dump(file, path)


def dump(file: Path, path: Path) -> None:
    connection = sqlite3.connect(file)
    told = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in PRAGMAS]
    lines = [f"PRAGMA {name} = {value};" for name, value in zip(PRAGMAS, told, strict=True)]
    path.write_text("\n".join([*lines, *connection.iterdump()]) + "\n")
    connection.close()


async def main(version: str) -> None:
    await cassette(ROOM / f"cassette-{version}.jsonl")
    await exported(ROOM / f"export-{version}.jsonl", None)
    await exported(ROOM / f"sealed-{version}.jsonl", Seal(SEALS, "golden"))
    await disk(ROOM / f"disk-{version}.sql")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
