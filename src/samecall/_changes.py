"""What a store may have besides: it tells of every change, so that copies of it stay true."""

from __future__ import annotations

from typing import Protocol

from samecall._entry import Key

__all__ = ["Heard", "Watching"]


class Heard(Protocol):
    """Who hears of changes, in the event loop of the store; must not raise."""

    def told(self) -> None:
        """From now on every change is told."""
        ...

    def changed(self, key: Key, stamp: bytes) -> None:
        """The value at `key` was replaced by the one with this stamp, or forgotten (no stamp).

        A value that comes where none was is told to nobody, nor one that expires or is evicted:
        a copy of it ends when it was to end.
        """
        ...

    def renewed(self, namespace: str, tag: str) -> None:
        """A tag (the tag "" is the namespace itself) has another generation."""
        ...

    def doubtful(self) -> None:
        """Changes may have gone untold: whatever was copied before is worth nothing now."""
        ...


class Watching(Protocol):
    """A store that can be watched.

    Nothing depends on it: without it, or while nothing is `told`, copies are trusted for a second.
    """

    def watch(self, namespace: str, heard: Heard) -> None:
        """Tell `heard` of a namespace's changes, too, until the store is closed.

        Returns at once; a store that cannot tell of anything never calls `told`.
        """
        ...
