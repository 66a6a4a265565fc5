"""A table and its conclusion as text: as wide as a terminal, or as a file can be read."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

__all__ = ["in_text", "wide"]

_NARROWEST = 80
_WIDE = 100


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Pass it on: rich would end the process with the exit code of a failure."""
        raise  # noqa: PLE0704 - rich calls this where it catches one


def wide() -> Console:
    """Standard output, for tables: as wide as its terminal, or as they need in a file."""
    console = _Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _WIDE)
    return console


def in_text(table: Table, conclusion: Iterable[str]) -> str:
    """The table and the lines after it, with colours on a terminal."""
    terminal = Console().is_terminal
    width = max(_NARROWEST, shutil.get_terminal_size().columns) if terminal else _NARROWEST
    into = io.StringIO()
    console = Console(file=into, force_terminal=terminal, width=width, highlight=False)
    console.print(table)
    for line in conclusion:
        console.print(line, soft_wrap=not terminal)
    return into.getvalue()
