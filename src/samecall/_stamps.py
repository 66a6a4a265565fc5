"""Which envelope is which, told without reading it: by the stamp that stands in its first bytes."""

from __future__ import annotations

from samecall._entry import STAMP_END, STAMP_START

__all__ = ["stamp_of"]

_NONE = bytes(STAMP_END - STAMP_START)


def stamp_of(data: bytes) -> bytes:
    """The stamp of an envelope, and of a copy of it.

    What is too short to have one has zero bytes for it, so that who refuses it can say so.
    """
    stamp = data[STAMP_START:STAMP_END]
    return stamp if len(stamp) == STAMP_END - STAMP_START else _NONE
