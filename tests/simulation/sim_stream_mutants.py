"""Guards of streams, each taken away: what their simulation must see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from samecall._holding import Hold
from samecall._seat import Seat
from samecall._stream.follower import Follower

__all__ = ["MUTANTS", "Mutant", "mutated"]


@dataclass(frozen=True)
class Mutant:
    """What is put in place of what."""

    where: Any
    name: str
    instead: Any


async def _yes(*_: Any) -> bool:
    return True


def _tuned_anew(seat: Seat) -> Any:
    at, seat._at = seat._at, 0
    try:
        return _tuned(seat)
    finally:
        seat._at = at


def _hear_any(follower: Follower, data: bytes) -> bool:
    frame = follower._frames.read(data)
    if frame.number > follower._number:
        follower._number = frame.number
        follower._take(frame)
    return True


_tuned = Seat._tuned
MUTANTS = {
    "who has items stays with its stream": Mutant(Seat, "_tuned", _tuned_anew),
    "a frame after a hole is not taken": Mutant(Follower, "_hear", _hear_any),
    "a stream from before a forget_tag is nobody's": Mutant(Seat, "_is_present", _yes),
    "who streams without a lease looks whether it was forgotten": Mutant(Hold, "_again", _yes),
}


@contextmanager
def mutated(mutant: Mutant) -> Iterator[None]:
    """Without the guard while the body runs."""
    with patch.object(mutant.where, mutant.name, mutant.instead):
        yield
