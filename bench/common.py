"""What the scripts of this folder share: arguments, servers, rows, JSON.

Each script measures one claim beside its peers and floors in the same run, prints its rows, and
writes them to `--json FILE` if asked. `--redis URL` takes a server of yours instead of a Valkey
that is started for the run. The keys that they make there begin with `samecall-bench-`, and are
deleted at the end.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import redis
from samecall._redis.names import REPORTS
from samecall.testing.servers import LocalServer

__all__ = ["Row", "arguments", "best_ms", "percentile", "redis_url", "report", "timed", "told"]

OURS = "samecall-bench-"
"""How every key begins that a script writes."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of docs/benchmarks.md. `met`: None where there is no target."""

    what: str
    figure: float
    unit: str
    target: str = ""
    met: bool | None = None
    peer: str = ""
    floor: str = ""


def arguments(about: str | None, **sizes: tuple[int, int]) -> argparse.Namespace:
    """The command line: `--redis`, `--json`, `--short`, and each size (whole run, short run)."""
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument(
        "--redis",
        metavar="URL",
        help=f"redis://host:port/db of yours; keys that begin with {OURS} are made there, and "
        "deleted at the end",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--short", action="store_true", help="smaller sizes")
    for name, (whole, short) in sizes.items():
        parser.add_argument(f"--{name}", type=int, help=f"default {whole}, short {short}")
    told = parser.parse_args()
    for name, (whole, short) in sizes.items():
        given = getattr(told, name)
        if given is None:
            setattr(told, name, short if told.short else whole)
        elif given < 1:
            parser.error(f"--{name} takes at least 1; got {given}")
    return told


@contextmanager
def redis_url(given: str | None) -> Generator[str]:
    """The server that was given, or one for the time of the block; what is written there goes."""
    if not given:
        with LocalServer() as server:
            yield server.url
        return
    client = _client(given)
    try:
        yield given
    finally:
        _withdraw(client)
        client.close()


def _client(url: str) -> redis.Redis:
    if not url.startswith("redis://"):
        sys.exit(
            "--redis takes redis://host:port/db, as do all the peers; for TLS, a cluster or "
            "sentinels there is `samecall bench --url URL`"
        )
    try:
        client = redis.Redis.from_url(url)
        client.ping()
    except (redis.RedisError, ValueError) as error:
        sys.exit(f"--redis names no server that can be used: {type(error).__name__}: {error}")
    return client


def _withdraw(client: redis.Redis) -> None:
    try:
        names = client.scan_iter(f"{OURS}*", count=1_000)
        while some := list(itertools.islice(names, 1_000)):
            client.unlink(*some)
            client.zrem(REPORTS, *some)  # what samecall notes of itself, among others' notes
    except redis.RedisError as error:
        print(f"keys that begin with {OURS} were left in Redis: {error}", file=sys.stderr)


async def timed(ask: Callable[[], Awaitable[Any]], times: int) -> float:
    """Seconds of CPU for each of so many calls in a row, which wait for nobody."""
    began = time.process_time()
    for _ in range(times):
        await ask()
    return (time.process_time() - began) / times


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not below so great a share of them."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def best_ms(values: Sequence[float]) -> float:
    """The median, in milliseconds."""
    return 1000 * statistics.median(values)


def told(figure: float) -> str:
    """A figure with four digits that count, and all of those before the point."""
    return f"{figure:,.0f}" if abs(figure) >= 1_000 else f"{figure:.4g}"


def report(rows: Sequence[Row], file: Path | None) -> None:
    """Print the rows, and write them."""
    table = Table("what", "figure", "target", "met", "peer", "floor")
    for row in rows:
        met = "" if row.met is None else ("yes" if row.met else "NO")
        figure = f"{told(row.figure)} {row.unit}"
        table.add_row(row.what, figure, row.target, met, row.peer, row.floor)
    Console(width=160).print(table)
    if file is not None:
        file.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
