"""Who waits for what to change, where a flight is, and whose generation of a stream it is."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass

__all__ = ["ClaimState", "FlightStatistics", "Generation", "Phase", "Watchers", "pause", "wake"]


class Phase(enum.Enum):
    """Where a flight is on its way; one that has an outcome has landed, whatever its phase."""

    ASKING = "asking"
    FOLLOWING = "following"
    LEADING = "leading"
    ALONE = "alone"
    """Leading with no store behind it: nothing but this process keeps a second call away."""


class ClaimState(enum.Enum):
    """Where a claim stands; see `_lease`."""

    NEW = "new"
    WAITING = "waiting"
    ANSWERED = "answered"
    LEADING = "leading"
    ALONE = "alone"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class FlightStatistics:
    """Flights in the air, callers that wait, and flights that landed but still store."""

    flights: int
    callers_waiting: int
    storing: int


class Watchers:
    """Who wants to know of a change, in the order of their coming."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: dict[asyncio.Future[None], None] | None = None

    def __len__(self) -> int:
        return len(self._waiters or ())

    def add(self, waiter: asyncio.Future[None]) -> None:
        if self._waiters is None:
            self._waiters = {}
        self._waiters[waiter] = None

    def discard(self, waiter: asyncio.Future[None]) -> None:
        if self._waiters is not None:
            self._waiters.pop(waiter, None)

    def wake(self) -> None:
        """Let them look again."""
        for waiter in self._waiters or ():
            wake(waiter)


def wake(waiter: asyncio.Future[None]) -> None:
    """Let one look again."""
    if not waiter.done():
        waiter.set_result(None)


async def pause(ends: float | None, *changes: Watchers) -> None:
    """Return when one of these changes, or at `ends` on the loop's clock."""
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()
    alarm = None if ends is None else loop.call_at(ends, wake, waiter)
    for change in changes:
        change.add(waiter)
    try:
        await waiter
    finally:
        for change in changes:
            change.discard(waiter)
        if alarm is not None:
            alarm.cancel()


class Generation:
    """Who leads a flight's call, and which of its callers take nobody else."""

    __slots__ = ("begun", "bound", "leader", "watchers")

    def __init__(self) -> None:
        self.leader = b""
        """The token of who leads, here or elsewhere; empty: not yet known."""
        self.bound = 0
        """Callers that have begun to take a stream, and take no other."""
        self.begun = False
        """Whether there ever was one."""
        self.watchers = Watchers()
        """Those who want to know more of a flight than its outcome."""

    def led_by(self, token: bytes) -> None:
        """Note who leads."""
        self.leader = token
        self.watchers.wake()

    def bind(self) -> None:
        """A caller has its first item."""
        self.bound += 1
        self.begun = True

    def serves(self, callers: int) -> bool:
        """Whether one of `callers` would take another generation than the one that has broken."""
        return callers > self.bound or not self.begun
