"""Command lines as processes of their own, without the time that an interpreter takes to start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from cli_support import LIMIT, Done

PARENT = Path(__file__).with_name("cli_parent.py")


class Forks:
    """The parent of command lines; one of them runs at a time."""

    def __init__(self, there: Path) -> None:
        self._out, self._err = there / "stdout", there / "stderr"
        self._parent = subprocess.Popen(
            [sys.executable, PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._parent.stdout.readline() == "ready\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._parent.stdin.close()
        assert self._parent.wait(LIMIT) == 0
        self._parent.stdout.close()

    def start(
        self,
        *arguments: str,
        stdin: str = os.devnull,
        closed: bool = False,
        grace: float | None = None,
    ) -> int:
        """Begin `samecall ARGUMENTS`, and give its process id.

        stdin: the path of its standard input; closed: nobody reads its standard output; grace:
        seconds that its threads get when it is interrupted.
        """
        self._out.write_text("")
        self._err.write_text("")
        asked = {"arguments": arguments, "in": stdin, "err": str(self._err), "grace": grace}
        asked["out"] = None if closed else str(self._out)
        print(json.dumps(asked), file=self._parent.stdin, flush=True)
        return int(self._parent.stdout.readline())

    def wait(self) -> Done:
        """How it ended; a code below 0 is that of the signal that ended it."""
        code = int(self._parent.stdout.readline())
        return Done(code, self._out.read_text(), self._err.read_text())

    def run(self, *arguments: str, **more: Any) -> Done:
        """From its start to its end."""
        self.start(*arguments, **more)
        return self.wait()

    def says(self, text: str) -> bool:
        """Whether it has written this to standard error by now."""
        return text in self._err.read_text()
