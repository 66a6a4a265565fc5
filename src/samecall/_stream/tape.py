"""The chunks of one generation of a stream: written once, read by many, each at its own pace."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import NoReturn

from samecall._stream.groups import Groups
from samecall._watching import Watchers

__all__ = ["End", "Tape"]

# Each consumer that is woken takes a few microseconds of the loop that reads the provider: two
# hundred would hold it up by a millisecond at each chunk. If more than these listen, groups do.
_CROWD = 8


class End(enum.Enum):
    """Why nothing more comes on a tape."""

    DONE = "done"
    ERROR = "error"
    """The provider failed; `Tape.error` holds the entry that tells how."""
    OVERFLOW = "overflow"
    """Too long to record: the rest is in the stored value, if there will be one."""
    BROKEN = "broken"
    """The leader gave up: it failed with an error of its own."""
    UNSTORABLE = "unstorable"
    """An item has no stored form: only the leader's own consumer gets it."""


class Tape:
    """What a process knows of one generation; `token` names it.

    local: whether it is recorded in this event loop. tags, generations: of the call, as an entry
    bears them; none before the first chunk or the end.
    """

    __slots__ = (
        "buried",
        "chunks",
        "end",
        "error",
        "generations",
        "grouped",
        "groups",
        "local",
        "owner",
        "size",
        "tags",
        "times",
        "token",
        "watchers",
        "whole",
    )

    def __init__(self, token: bytes, *, local: bool = False) -> None:
        self.token = token
        self.local = local
        self.chunks: list[bytes] = []
        self.times: list[float] = []
        self.size = 0
        self.end: End | None = None
        self.error = b""
        self.whole = False
        """Whether the provider has come to its end, and the tape has all of it."""
        self.buried = False
        """Whether it was forgotten in this process: nobody joins it any more."""
        self.tags: tuple[str, ...] = ()
        self.generations: tuple[bytes, ...] = ()
        self.watchers = Watchers()
        self.owner = Watchers()  # the consumer whose call fills the tape
        self.groups = Groups(self._group) if local else None
        self.grouped: Callable[[], None] | None = None  # told of each group of chunks, and the end

    def append(self, chunk: bytes, time: float) -> None:
        """One more chunk, `time` seconds after the call began."""
        self.extend((chunk,), (time,))

    def extend(self, chunks: Sequence[bytes], times: Sequence[float]) -> None:
        """More chunks; consumers hear of them once."""
        self.chunks.extend(chunks)
        self.times.extend(times)
        self.size += sum(map(len, chunks)) + len(chunks)
        self.owner.wake()
        crowded = self.groups is not None and len(self.watchers) > _CROWD
        if not crowded:
            self.watchers.wake()
        if self.groups is not None and (crowded or self.grouped is not None):
            self.groups.came(self.size)

    def _group(self) -> None:
        self.watchers.wake()
        if self.grouped is not None:
            self.grouped()

    def finish(self, end: End, error: bytes = b"") -> None:
        """Nothing more comes; the first one to say so counts."""
        if self.end is None:
            self.end, self.error = end, error
            if self.groups is not None:
                self.groups.close()
            self.owner.wake()
            self._group()

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError("a tape has no copies: ask again")
