"""What the store has said of generations, before the task that asked has had its turn.

They are asked for in one batch with the values that are compared with them, and their reply comes
first. Each hit would else wait for a turn of the loop, by a callback of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from samecall._copies import Copies
from samecall._ports import Offer

__all__ = ["UNTAGGED", "Arrivals", "Begun"]

_Names = tuple[str, ...]
_At = tuple[str, _Names]
UNTAGGED: _Names = ("",)
"""The one generation that an entry without tags is of."""


class Begun(NamedTuple):
    """A question to the store; what was known, and when it was asked."""

    era: int
    changes: int
    asked: float
    trusted: float
    ttl: float
    offers: Sequence[Offer]
    coming: Sequence[asyncio.Future[bytes]] | None


class Arrivals:
    """The questions of one event loop that are under way."""

    __slots__ = ("_asked", "_come", "_copies")

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._asked: dict[_At, Begun] = {}
        self._come: dict[_At, tuple[int, tuple[bytes, ...]]] = {}

    def expect(self, at: _At, begun: Begun) -> None:
        """This is on its way to the store."""
        self._asked[at] = begun

    def over(self, at: _At) -> None:
        """Its task has ended, and says itself what it found."""
        self._asked.pop(at, None)
        self._come.pop(at, None)

    def at_hand(self, namespace: str, names: _Names) -> tuple[bytes, ...] | None:
        """What the store has said, if the copies take it over; None: the task will tell."""
        at = (namespace, names)
        come = self._come.get(at)
        if come is not None:
            era, told = come
            return told if era == self._copies.era else None
        begun = self._asked.get(at)
        if begun is None or begun.coming is None or not all(map(_has_come, begun.coming)):
            return None
        del self._asked[at]  # its task goes on, and finds the same
        told = tuple(each.result() for each in begun.coming)
        if not self._copies.learn(namespace, names, told, begun.era, begun.asked, begun.trusted):
            return None
        self._come[at] = begun.era, told
        return told


def _has_come(asked: asyncio.Future[bytes]) -> bool:
    if not asked.done() or asked.cancelled() or asked.exception() is not None:
        return False
    return type(asked.result()) is bytes  # else its time is up, or there is something to tell
