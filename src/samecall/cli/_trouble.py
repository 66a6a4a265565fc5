"""How a command ends when it cannot do its work: a plain message and an exit code."""

from __future__ import annotations

import enum
import functools
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from typing import NoReturn, ParamSpec, TypeVar

__all__ = ["ExitCode", "Trouble", "plainly", "printable", "require", "say", "to_json"]

P = ParamSpec("P")
T = TypeVar("T")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_GRACE = 0.5
"""Seconds that a thread gets to end when its process does."""


class ExitCode(enum.IntEnum):
    """What scripts can tell apart."""

    FAILED = 1
    """The command ran, and what it was to show or check is not so."""
    USAGE = 2
    """An option cannot be used."""
    UNAVAILABLE = 3
    """What the command needs is not there: a server, a package, a process."""
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class Trouble(Exception):
    """A command cannot go on; the message is for the person who typed it."""

    def __init__(self, message: str, code: ExitCode = ExitCode.UNAVAILABLE) -> None:
        super().__init__(message)
        self.code = code


def plainly(name: str, command: Callable[P, T]) -> Callable[P, T]:
    """`command`, with its trouble, a Ctrl-C and a closed pipe as exit codes, never a traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except Trouble as trouble:
            print(f"samecall {name}: {trouble}", file=sys.stderr)
            sys.exit(trouble.code)
        except KeyboardInterrupt:
            with suppress(ValueError):  # not the main thread
                # once more ends the process, and is no exception in the middle of its end
                signal.signal(signal.SIGINT, signal.SIG_DFL)
            print(f"samecall {name}: interrupted", file=sys.stderr)
            _leave(ExitCode.INTERRUPTED)
        except BrokenPipeError:
            # Python flushes stdout once more at exit, and would complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(ExitCode.BROKEN_PIPE)

    return run


def _leave(code: ExitCode) -> NoReturn:
    """End the process, whatever a thread of it still waits for."""
    for thread in threading.enumerate():
        if thread.daemon or thread is threading.main_thread():
            continue
        thread.join(_GRACE)
        if thread.is_alive():  # it reads a pipe in which nothing comes: Python would wait for it
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    sys.exit(code)


def say(text: str) -> None:
    """Write to stdout at once, so that a closed pipe is noticed here."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def printable(text: str) -> str:
    r"""`text` out of a store as a terminal shows it and does not obey it; JSON stays what it is.

    Who may write to a store may not for that reason write to an operator's terminal: control
    characters, line ends and changes of direction among them, become escapes such as \u001b.
    """
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def to_json(value: object) -> str:
    """`value` as JSON on one line."""
    import msgspec

    return printable(msgspec.json.encode(value).decode())


def require(extra: str, *packages: str) -> None:
    """Raise `Trouble` naming the extra unless all packages are installed."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise Trouble(
            f"{', '.join(missing)} not installed; this command needs: "
            f'pip install "samecall[{extra}]"'
        )
