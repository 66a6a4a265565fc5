"""What `samecall demo --stream` shows: the object as each process has it, then a table or JSON."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from samecall.cli._text import in_text
from samecall.cli.live.run import ROLES, StreamReport

__all__ = ["as_json", "as_table", "live"]

_HEIGHT = 20
_BREAK = 2  # columns for the ^C that a terminal echoes, which must not begin a new line
_FRAME = 4  # columns of a panel that are not its text
_STYLES = {"leader": "green", "follower": "cyan", "late follower": "yellow"}


class _View:
    """One panel a process. Without a terminal nothing is written."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._bodies = [Text("waiting", style="dim") for _ in ROLES]
        self._counts = [0] * len(ROLES)

    def says(self, text: str) -> None:
        """See `Watcher`."""
        self._live.update(Spinner("dots", text))

    def shows(self, reader: int, items: int, item: dict[str, Any]) -> None:
        """See `Watcher`."""
        self._bodies[reader], self._counts[reader] = _body(item), items
        self._live.update(self._panels())

    def _panels(self) -> Table:
        size = self._live.console.size
        height = max(3, min(_HEIGHT, size.height - 4))
        across = max(1, size.width - _BREAK)
        width = max(1, across // len(ROLES) - _FRAME)
        grid = Table.grid(expand=True)
        grid.width = across
        for _ in ROLES:
            grid.add_column(ratio=1)
        panels = [
            Panel(
                self._end(body, width, height - 2), title=role, height=height,
                subtitle=f"{count} items" if count else "", border_style=_STYLES[role],
            )
            for role, body, count in zip(ROLES, self._bodies, self._counts, strict=True)
        ]  # fmt: skip
        grid.add_row(*panels)
        return grid

    def _end(self, body: Text, width: int, lines: int) -> Text:
        """What comes last, where not all of it has room: that is where it grows."""
        wrapped = body.wrap(self._live.console, width)
        return Text("\n").join(wrapped[-lines:])


@contextmanager
def live() -> Generator[_View]:
    """The live view, on standard error, gone when the block ends."""
    console = Console(stderr=True)
    if console.is_terminal:
        console.print(
            f"samecall demo --stream: one stream, {len(ROLES)} processes that ask for it",
            highlight=False,
        )
    shown = Live(console=console, transient=True, refresh_per_second=20)
    if not console.is_terminal:
        yield _View(shown)
        return
    with shown:
        yield _View(shown)


def _each(value: Any) -> list[Any]:
    whole: list[Any] = value
    return whole if isinstance(value, list) else [value]


def _body(item: dict[str, Any]) -> Text:
    text = Text(overflow="ellipsis")
    for name, value in item.items():
        text.append(f"{name}\n", style="bold")
        for each in _each(value):
            text.append(f"  {'…' if each is None else each}\n")
    text.rstrip()
    return text


def as_json(report: StreamReport) -> str:
    """The report as one JSON object on one line."""
    return msgspec.json.encode(report).decode()


def as_table(report: StreamReport) -> str:
    """The report for people: a table and what follows from it, with colours on a terminal."""
    return in_text(_table(report), _conclusion(report))


def _table(report: StreamReport) -> Table:
    title = f"One stream, {len(ROLES)} processes, shared through {report.store}"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for name in ("asked at item", "items", "first item after", "all after"):
        table.add_column(name, justify="right")
    for reader in report.readers:
        first, whole = f"{reader.first_ms:,.0f} ms", f"{reader.seconds:.2f} s"
        table.add_row(reader.role, str(reader.asked_at), str(reader.items), first, whole)
    return table


def _conclusion(report: StreamReport) -> Iterator[str]:
    calls = f"{report.provider_calls} provider call{'s' if report.provider_calls != 1 else ''}"
    fits = "[green]paid for once[/]" if report.once else "[red]NOT once[/]"
    same = "the same items for all" if report.same_items else "[red]NOT the same items for all[/]"
    yield f"{calls}, {same}: {fits}."
    for error in report.errors:
        yield "[red]failed[/]: " + error.replace("[", r"\[")
