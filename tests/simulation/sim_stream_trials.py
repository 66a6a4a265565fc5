"""What happened to one simulated stream, and what must not have happened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from samecall import StreamInterrupted

__all__ = ["LEASE", "Forgotten", "Heard", "Made", "Trial"]

LEASE = 1.0
_BOUND = 6 * LEASE  # after a death or a `forget`: the lease, twice the patience
_PACE = 0.1  # seconds between two items at the most
_COPIED = 1.0  # seconds for which a process may go by a copy of the generations
_SILENT = 5.0  # seconds more where the store has not told it any
_PROBED = 0.6  # seconds within which a PING ends an open breaker
_ASKED = 0.02  # seconds in which who comes has asked for them
_REST = 1.0  # seconds in which who was not told, as there was no store, asks nobody
_LOOKS = LEASE / 3 + 0.05  # who makes the call looks at the pace of its renewals
_NEWS, _SLOW_NEWS = 0.05, 2.5
"""Seconds after which a process that follows has heard of another's `forget`: a ring, and ACQUIRE;
where replies are lost it looks every 2 s.
"""


@dataclass
class Heard:
    """What one consumer got, as (generation, index)."""

    began: float
    process: int
    items: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    error: BaseException | None = None
    ended: float | None = None
    left: bool = False
    """Whether it went before the end."""


@dataclass
class Made:
    """One call of the provider; its place in the list is its generation."""

    began: float
    process: int


@dataclass
class Forgotten:
    """One `forget` (of the "key"), `forget_tag` or `clear`."""

    way: str
    asked: float
    process: int
    done: float | None = None
    told: bool = True
    """Whether it came back without an error."""


@dataclass
class Trial:
    """What happened in one run."""

    seed: int
    length: int
    died: float | None = None
    made: list[Made] = field(default_factory=list[Made])
    heard: list[Heard] = field(default_factory=list[Heard])
    forgotten: list[Forgotten] = field(default_factory=list[Forgotten])
    lossy: bool = False
    """Replies were lost or late: a process may have gone on alone."""
    silent: dict[int, list[float]] = field(default_factory=dict[int, list[float]])
    """Of each process: when the store did not tell it the generations that it asked for."""
    cut: dict[int, list[float]] = field(default_factory=dict[int, list[float]])
    """And when anything was not answered: until a PING is, nobody asks."""
    leaving: bool = False
    """Consumers left, and a call that nobody takes is given up."""
    away: float = 0.0
    """For how long there was no store at the beginning."""
    again: int = 0
    """Operations that were carried out a second time."""
    calls: int = 0
    """How often the provider was called, before the last consumer came."""
    left: dict[str, int] = field(default_factory=dict[str, int])
    """What was still there at the end."""

    def faults(self) -> list[str]:
        """What must not be, of all that was seen."""
        found = [f"{count} {what} left" for what, count in self.left.items() if count]
        # a flight that a `forget` finds in its process keeps nothing, even if it calls only then
        bound = 1 + (self.died is not None) + 2 * len(self.forgotten)
        if self.calls > bound and not self.lossy and not self.leaving:
            found.append(f"{self.calls} provider calls, {bound} allowed")
        for one in self.heard:
            if self.died is None or one.process != 0:
                found += self._faults_of(one)
        return [f"seed {self.seed}: {fault}" for fault in found]

    def _faults_of(self, one: Heard) -> Iterator[str]:
        who = f"a consumer of process {one.process} from {one.began:.3f}"
        generations = {generation for generation, _ in one.items}
        if len(generations) > 1:
            yield f"{who}: {generations} mixed: {one.items}"
        if [index for _, index in one.items] != list(range(len(one.items))):
            yield f"{who}: a hole: {one.items}"
        if one.ended is None or one.ended > self._latest(one):
            yield f"{who}: ended at {one.ended}, bound {self._latest(one):.3f}"
        yield from (f"{who}: {fault}" for fault in self._end_of(one))
        for generation in generations:
            for forgotten in self.forgotten:
                if self._is_stale(one, self.made[generation], forgotten):
                    yield f"{who}: generation {generation} from before {forgotten}"

    def _end_of(self, one: Heard) -> Iterator[str]:
        match one.error:
            case None:
                if not one.left and len(one.items) != self.length:
                    yield f"cut off: {one.items}"
            case StreamInterrupted(items=items) if items:
                told = [(pair[0], pair[1]) for pair in items]
                if told != one.items:
                    yield f"told of {items}, had {one.items}"
            case other:
                yield f"ended in {other!r}"

    def _latest(self, one: Heard) -> float:
        """When it must have ended: nobody waits for nothing for longer than the bound."""
        troubles = [each.done or each.asked for each in self.forgotten]
        last = max(one.began, self.died or 0.0, *troubles, 0.0)
        orphans = min(self.again, 3) * LEASE  # a lease that nobody knows of, taken a second time
        return last + _BOUND + orphans + 2 * self.length * _PACE

    def _is_stale(self, one: Heard, made: Made, forgotten: Forgotten) -> bool:
        """Whether this consumer, who asked after a `forget`, took what was begun before it."""
        if not forgotten.told or forgotten.done is None or made.began >= forgotten.asked:
            return False
        own = one.process == forgotten.process
        news = _SLOW_NEWS if self.lossy else _NEWS
        looks = _LOOKS if one.process == made.process else 0.0
        asked = one.began + _ASKED  # its own question may be what was not answered
        silent = any(at <= asked for at in self.silent.get(one.process, ()))
        silent |= any(asked - _PROBED < at <= asked for at in self.cut.get(one.process, ()))
        copied = _COPIED + _SILENT * silent + _REST * (self.away > 0)
        grace = 0.0 if own else looks + (copied if forgotten.way != "key" else news)
        return one.began > forgotten.done + grace
