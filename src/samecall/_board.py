"""Where workers leave word of themselves: what a store may have besides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Board", "Posted"]


@dataclass(frozen=True, slots=True)
class Posted:
    """What one worker has left, and the seconds that went by since then."""

    namespace: str
    worker: str
    data: bytes
    age: float


class Board(Protocol):
    """What a store may have besides: where workers leave word of themselves.

    Nothing depends on it: without it, or with any `StoreError`, nothing is reported.
    """

    async def post(self, namespace: str, worker: str, data: bytes, ttl: float) -> bool | None:
        """Leave `data` under this worker's own name, in place of what it left before.

        True: something stood in the way that was none of ours, and is gone.
        """
        ...

    async def posted(self, namespace: str | None = None) -> list[Posted]:
        """What the workers of a namespace (None: of all) have left and is still there."""
        ...

    async def withdraw(self, namespace: str) -> None:
        """Take down what the workers of a namespace have left."""
        ...
