"""Which envelope is which, told without reading it: by the stamp that stands in its first bytes."""

from __future__ import annotations

from samecall._entry import STAMP_END, STAMP_START, Key, new_stamp

__all__ = ["is_token", "new_token", "stamp_of"]

_NONE = bytes(STAMP_END - STAMP_START)
_LENGTH, _RANDOM = STAMP_END - STAMP_START, 12


def new_token(key: Key) -> bytes:
    """A leader's name: 12 random bytes, and 4 by which it is told as one of this key."""
    return new_stamp()[:_RANDOM] + key.digest[: _LENGTH - _RANDOM]


def is_token(token: bytes, key: Key) -> bool:
    """Whether some leader of `key` may have it."""
    return len(token) == _LENGTH and token[_RANDOM:] == key.digest[: _LENGTH - _RANDOM]


def stamp_of(data: bytes) -> bytes:
    """The stamp of an envelope, and of a copy of it.

    What is too short to have one has zero bytes for it, so that who refuses it can say so.
    """
    stamp = data[STAMP_START:STAMP_END]
    return stamp if len(stamp) == STAMP_END - STAMP_START else _NONE
