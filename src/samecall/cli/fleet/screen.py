"""What the demo shows: a live view while it runs, then a table or one JSON object."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from samecall.cli._text import in_text
from samecall.cli.fleet.tally import Phase, Report

__all__ = ["as_json", "as_table", "live"]

_WORDS = len("starting 4 workers")  # so that the bars stay where they are


class _View:
    """One line per phase. Without a terminal nothing is written."""

    def __init__(self, progress: Progress, *, visible: bool) -> None:
        self.visible = visible
        self._progress = progress
        self._task: TaskID | None = None

    def says(self, text: str) -> None:
        """See `Watcher`."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(text, total=None, calls="", paid="")

    def begins(self, phase: str, calls: int) -> None:
        """See `Watcher`."""
        if self._task is not None:
            self._end()
        self._task = self._progress.add_task(phase, total=calls, calls=f"0/{calls:,}", paid="")

    def moves(self, answered: int, provider_calls: int) -> None:
        """See `Watcher`."""
        if self._task is None:
            return
        task = next(task for task in self._progress.tasks if task.id == self._task)
        self._progress.update(
            self._task,
            completed=answered,
            calls=f"{answered:,}/{int(task.total or 0):,}",
            paid=f"{provider_calls:,} provider calls",
        )

    def _end(self) -> None:
        if self._task is None:
            return
        task = next(task for task in self._progress.tasks if task.id == self._task)
        if task.total is None:
            self._progress.remove_task(self._task)
        self._task = None


@contextmanager
def live(title: str) -> Generator[_View]:
    """The live view, on standard error, gone when the block ends."""
    console = Console(stderr=True)
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False, table_column=Column(min_width=_WORDS)),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[calls]}", justify="right"),
        TextColumn("{task.fields[paid]}", justify="right", style="bold"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        expand=True,
        disable=not console.is_terminal,
    )
    if console.is_terminal:
        console.print(title, highlight=False)
    # a disabled one still ends with a newline, before rich 14.3
    with progress if console.is_terminal else nullcontext():
        yield _View(progress, visible=console.is_terminal)


def as_json(report: Report) -> str:
    """The report as one JSON object on one line."""
    return msgspec.json.encode(report).decode()


_ROWS: list[tuple[str, Callable[[Phase], str]]] = [
    ("calls asked", lambda phase: f"{phase.calls:,}"),
    ("distinct prompts", lambda phase: f"{phase.distinct_prompts:,}"),
    ("provider calls", lambda phase: f"{phase.provider_calls:,}"),
    ("coalesced in a process", lambda phase: f"{phase.coalesced_local:,}"),
    ("coalesced across processes", lambda phase: f"{phase.coalesced_remote:,}"),
    ("L1 hits (process memory)", lambda phase: f"{phase.l1_hits:,}"),
    ("L2 hits (Redis)", lambda phase: f"{phase.l2_hits:,}"),
    ("latency p50", lambda phase: _ms(phase.p50_ms)),
    ("latency p99", lambda phase: _ms(phase.p99_ms)),
    ("wall time", lambda phase: f"{phase.seconds:.1f} s"),
    ("tokens paid for", lambda phase: f"{phase.paid.input + phase.paid.output:,}"),
    ("money paid", lambda phase: _usd(phase.paid.usd)),
]
_STRONG = "provider calls"
_OURS = ("coalesced", "L1", "L2")


def as_table(report: Report) -> str:
    """The report for people: a table and what follows from it, with colours on a terminal."""
    return in_text(_table(report), _conclusion(report))


def _table(report: Report) -> Table:
    title = f"{report.workers} workers, answers shared through {report.store}"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for phase in report.phases:
        table.add_column(phase.name, justify="right")
    for name, cell in _ROWS:
        cells = [cell(phase) for phase in report.phases]
        if name.startswith(_OURS):
            cells[-1] = "-"
        table.add_row(name, *cells, style="bold" if name == _STRONG else None)
    return table


def _conclusion(report: Report) -> Iterator[str]:
    paid, distinct = report.provider_calls, report.distinct_prompts
    fits = "[green]paid for once[/]" if report.once else "[red]NOT once each[/]"
    yield f"{paid:,} provider calls for {distinct:,} distinct prompts: {fits}."
    without = report.phases[-1].paid.usd
    part = f" ({report.saved_usd / without:.1%})" if without else ""
    yield (
        f"Saved: {report.saved_calls:,} of {report.calls:,} calls, {report.saved_tokens:,} tokens, "
        f"{_usd(report.saved_usd)}{part} at the prices of {report.model}."
    )
    errors = [error for phase in report.phases for error in phase.errors]
    if errors:
        yield f"[red]{len(errors):,} calls failed[/], the first with: {_escaped(errors[0])}"


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


def _ms(value: float) -> str:
    return f"{value:,.1f} ms" if value < 10 else f"{value:,.0f} ms"


def _usd(value: float) -> str:
    return f"${value:,.4f}" if value < 1 else f"${value:,.2f}"
