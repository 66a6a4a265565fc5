"""What a lease store answers, and the words in which it is asked."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

__all__ = [
    "EPOCH_NONE",
    "EPOCH_UNTOLD",
    "SEEN_ANY",
    "SEEN_NOTHING",
    "Acquired",
    "Failed",
    "Found",
    "Hit",
    "Lead",
    "Offer",
    "Replaced",
    "Wait",
]

SEEN_NOTHING = b""
"""`seen` of a caller that takes any intact value."""
SEEN_ANY = b"*"
"""`seen` of a caller that takes none of the values there now (a refresh)."""
EPOCH_NONE = b""
"""`epoch` where no `forget` stands."""
EPOCH_UNTOLD = b"*"
"""`epoch` of a caller that called without an answer to its ACQUIRE."""


class Offer(NamedTuple):
    """What a tag is to begin with, where it has no generation.

    instead: what has another take its place, in one step, if it is there: `again`, or else `fresh`.
    `again` may be the same generation in another seal, so it never comes to where there is none.
    """

    fresh: bytes
    instead: bytes = b""
    again: bytes = b""


class Found(msgspec.Struct, frozen=True):
    """Bytes at a key and the seconds that the store will keep them."""

    data: bytes
    left: float

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.data)} bytes, left={self.left!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:  # msgspec's own shows everything
        return [("bytes", len(self.data)), ("left", self.left)]


class Hit(Found, frozen=True):
    """ACQUIRE: a value is there."""


class Failed(Found, frozen=True):
    """ACQUIRE: a leader failed a moment ago; `data` is an entry of kind ERROR or REFUSED."""


class Wait(msgspec.Struct, frozen=True):
    """ACQUIRE: `token` leads; its lease ends in `left` seconds unless renewed."""

    token: bytes
    left: float
    seen: bytes
    """Stamp of the value that is there now (`SEEN_NOTHING`: none)."""


class Lead(msgspec.Struct, frozen=True):
    """ACQUIRE: the lease is ours."""

    seen: bytes
    """Stamp of the value that is there now (`SEEN_NOTHING`: none); COMMIT wants it back."""
    epoch: bytes = EPOCH_NONE
    """What the last `forget` of the key left; COMMIT and FAIL want it back."""
    odd: tuple[str, ...] = ()
    """What stood at the key's names and was none of ours: value, error, lease, tombstone."""


class Replaced(bytes):
    """A generation that took the place of something that was none."""


Acquired = Hit | Failed | Wait | Lead
