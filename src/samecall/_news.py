"""What those who wait for a key are told when its answer is there.

A small entry rides in the message. Where that, or reading a large one, would make the server send
too much at once, the message says over how long a time the readers should spread.
"""

from __future__ import annotations

import asyncio
import math
from random import random

__all__ = ["LONGEST_SPREAD", "PACE", "RIDES", "WIDE", "news", "spread_of", "take_turns"]

RIDES = 16 * 1024
"""Bytes up to which an entry rides in the message of its commit."""
WIDE = 32 * 2**20
"""Bytes that a server may have to send at once because of one message."""
PACE = 400_000
"""Bytes a millisecond at which a server is read by those who spread: a third of 10 Gbit/s."""
LONGEST_SPREAD = 10.0
"""Seconds; what a message says beyond that is not believed."""
_MARK = b"~"  # no entry begins so: the first byte of one is its format's number


def news(entry: bytes, listeners: int) -> bytes:
    """The message for so many listeners: the entry, b"" for "look again", or when to look."""
    size = len(entry) * listeners
    if size > WIDE:
        return _MARK + b"%d" % min(math.ceil(size / PACE), round(1000 * LONGEST_SPREAD))
    return entry if len(entry) <= RIDES else b""


def spread_of(message: bytes) -> float:
    """Seconds over which readers should spread; 0 for a message that says nothing of it."""
    if not message.startswith(_MARK) or not message[1:6].isdigit() or len(message) > 6:
        return 0.0
    return min(int(message[1:]) / 1000, LONGEST_SPREAD)


async def take_turns(message: bytes) -> None:
    """Wait for this reader's moment, if the message says that there are too many for one."""
    spread = spread_of(message)
    if spread:
        await asyncio.sleep(spread * random())  # noqa: S311 - nothing secret
