"""The parent of command lines: it has imported all that they need, and forks for each of them.

It reads a line of JSON for each, and prints its process id and then its exit code. A child gets a
standard input, output and error of its own, and ends as every Python process does. See `Forks`.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from typing import Any


def become(asked: dict[str, Any]) -> None:
    """Make this process the one that was asked for."""
    # who began the tests in the background of a shell has it ignored, and children inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    reads = os.open(asked["in"], os.O_RDONLY)
    if asked["out"] is None:
        unread, writes = os.pipe()
        os.close(unread)
    else:
        writes = os.open(asked["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    tells = os.open(asked["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number, own in enumerate((reads, writes, tells)):
        os.dup2(own, number)
        os.close(own)
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1)  # noqa: SIM115
    sys.argv[1:] = asked["arguments"]
    if asked["grace"] is not None:
        sys.modules["samecall.cli._trouble"]._GRACE = asked["grace"]


def is_child() -> bool:
    """Fork for each line; True in a child, which has become what it was asked to be."""
    print("ready", flush=True)
    while line := sys.stdin.readline():
        pid = os.fork()
        if not pid:
            become(json.loads(line))
            return True
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    return False


if __name__ == "__main__":
    import openai  # noqa: F401 - a child has no time for it
    import rich.live
    import rich.progress  # noqa: F401

    import samecall._redis
    import samecall.instructor  # noqa: F401
    from samecall.cli import _app, _options, main

    _app.application()
    _options.PATIENCE = 600.0  # a test says when, and no clock does
    gc.freeze()  # what is imported need not be looked at anew by each child that ends
    if is_child():
        main()
