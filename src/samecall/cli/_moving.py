"""Files of entries: what can go wrong with one, said plainly, and a pipe in place of one."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from samecall._errors import Undecodable
from samecall.cli._trouble import ExitCode, Trouble

__all__ = ["PIPE", "from_pipe", "moving", "to_pipe"]

PIPE = "-"


@contextmanager
def moving(file: str) -> Generator[None]:
    """Trouble with `file` becomes a message and an exit code."""
    try:
        yield
    except Undecodable as error:
        raise Trouble(f"{file}: {error}", ExitCode.FAILED) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Trouble(f"FILE {file}: {error.strerror or error}", ExitCode.USAGE) from None


@contextmanager
def to_pipe(file: str) -> Generator[str]:
    """Where to write: for `-` a file of its own, which then goes to standard output, whole."""
    if file != PIPE:
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="samecall-") as folder:
        whole = Path(folder, "entries.jsonl")
        yield str(whole)
        with whole.open("rb") as entries:
            shutil.copyfileobj(entries, sys.stdout.buffer)
        sys.stdout.flush()


@contextmanager
def from_pipe(file: str) -> Generator[str]:
    """Where to read: for `-` all of standard input, in a file of its own."""
    if file != PIPE:
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="samecall-") as folder:
        whole = Path(folder, "entries.jsonl")
        with whole.open("wb") as entries:
            shutil.copyfileobj(sys.stdin.buffer, entries)
        yield str(whole)
