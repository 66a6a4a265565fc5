"""What can go wrong with a file of entries, said plainly."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from samecall._errors import Undecodable
from samecall.cli._trouble import ExitCode, Trouble

__all__ = ["moving"]


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
