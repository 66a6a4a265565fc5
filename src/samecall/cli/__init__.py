"""The command line: `samecall <command>`; each command is one file in `commands`."""

from __future__ import annotations

import sys

__all__ = ["main"]

_NEEDED = ("rich", "typer")


def main() -> None:
    """The entry point of the `samecall` script; ends the process with the command's exit code."""
    try:
        _run()
    except KeyboardInterrupt:  # while it starts: a command tells of its own
        print("samecall: interrupted", file=sys.stderr)
        sys.exit(130)


def _run() -> None:
    try:
        from samecall.cli._app import application

        app = application()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _NEEDED:
            raise
        sys.exit(
            f"samecall: the command line needs {error.name}, which is not installed: "
            'pip install "samecall[cli]", or "samecall[demo]" to see the demo'
        )
    app()
