"""A table and its conclusion as text: as wide as a terminal, or as a file can be read."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

__all__ = ["in_text"]

_NARROWEST = 80


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
