"""What the scripts of this folder share: arguments, servers, rows, JSON.

Each script measures one claim beside its peers and floors in the same run, prints its rows, and
writes them to `--json FILE` if asked. `--redis URL` takes a server of yours instead of a Valkey
that is started for the run; its keys are written to, so give a database of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from samecall.testing.servers import LocalServer

__all__ = ["Row", "arguments", "best_ms", "percentile", "redis_url", "report", "timed", "told"]


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
    parser.add_argument("--redis", metavar="URL", help="a server of yours")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--short", action="store_true", help="smaller sizes")
    for name, (whole, short) in sizes.items():
        parser.add_argument(f"--{name}", type=int, help=f"default {whole}, short {short}")
    told = parser.parse_args()
    for name, (whole, short) in sizes.items():
        if getattr(told, name) is None:
            setattr(told, name, short if told.short else whole)
    return told


@contextmanager
def redis_url(given: str | None) -> Generator[str]:
    """The server that was given, or one for the time of the block."""
    if given:
        yield given
        return
    with LocalServer() as server:
        yield server.url


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
