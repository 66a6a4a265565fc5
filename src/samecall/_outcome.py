"""What a caller asks, what a flight ends in, and what is counted of both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from samecall._entry import Entry, Key, Payload, Spent
from samecall._flight import Flight
from samecall._holding import Hold
from samecall._lease import Claim
from samecall._policy import Policy
from samecall._ports import SEEN_NOTHING, Codec, ErrorRecord, Failure, Reach
from samecall._stream import Studio
from samecall._trust import Fill

__all__ = [
    "COUNTED",
    "FAULTS",
    "REFUSALS",
    "Counters",
    "Crashed",
    "Found",
    "Grounded",
    "Outcome",
    "Request",
    "Unstored",
    "ended",
]

REFUSALS = 3
"""Entries that a caller may refuse before it makes a call of its own."""
FAULTS = (Exception, asyncio.CancelledError)
"""What somebody's function may raise that is not awaited: none of it is for who called it."""
COUNTED = {
    "l1": "l1_hits",
    "l2": "l2_hits",
    "coalesced_local": "coalesced_local",
    "coalesced_remote": "coalesced_remote",
    "led": "led",
    "bypass": "led",
}
"""The counter of each way to an answer."""


@dataclass(slots=True, eq=False, repr=False)
class Request:
    """One caller's question; `seen` grows as the caller refuses what it is given."""

    streams: ClassVar[bool] = False
    key: Key
    call: Callable[[], Awaitable[Any]]
    policy: Policy
    codec: Codec[Any]
    seen: bytes = SEEN_NOTHING
    began: float = -1.0
    """On the clock; -1.0: nobody asks how long this takes."""
    refusals: int = 0
    grounded: int = 0
    """How many of its flights have ended in the air."""
    how: str = ""
    """Where the answer, or the exception, comes from."""
    entry: Entry | None = None
    """The entry that answers."""
    spent: Spent | None = None
    """What the answer had cost, where there is no entry to tell it."""
    leader: bytes = b""
    """Names the flight whose outcome this is, where there is no entry to tell it."""
    trace: bytes = b""
    fill: Fill | None = None
    """What its flight may copy into memory."""
    era: int = -1
    """Of the generations that the entry which its flight found was compared with."""
    timed: bool = False
    """Whether `began` was set for the report alone, because a store is asked."""
    tags: tuple[str, ...] = ()
    asked: Any = None
    """What `Policy.should_store` is told of the call."""
    calls: bool = True
    """Whether it may call, if only in the background."""
    stale: bool = False
    """Whether the answer is a stale one."""
    spare: Entry | None = None
    """A stale entry that answers if nothing better comes."""

    def again(self, seen: bytes) -> Request:
        """The same question, asked in the background by one who has seen the entry `seen`."""
        return Request(
            self.key, self.call, self.policy, self.codec, seen, tags=self.tags, asked=self.asked
        )

    def led(
        self, claim: Claim, hold: Hold, flight: Flight[Outcome], studio: Studio
    ) -> AbstractAsyncContextManager[Callable[[], Awaitable[None]]]:
        """Around the call of a flight that leads for this request, until the store is told.

        Gives what is to be awaited once the flight has landed.
        """
        return hold.kept()

    def begins(self, generations: tuple[bytes, ...]) -> None:
        """The call is about to be made, under these generations."""

    async def encoded(self, value: Any) -> Payload:
        """The stored form of what the call gave; raises what the codec raises."""
        return self.codec.encode(value)

    def refuse(self, stamp: bytes) -> None:
        """This caller does not take the entry with this stamp."""
        self.seen = stamp
        self.refusals += 1
        self.entry = None
        self.stale = False


class Found(msgspec.Struct, frozen=True):
    """An entry answers. `live`: the call's own result, for the caller whose call it was."""

    entry: Entry
    how: str
    owner: Request | None = None
    live: Any = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.entry!r}, {self.how!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:  # msgspec's own shows everything
        return [("entry", self.entry), ("how", self.how)]


class Unstored(msgspec.Struct, frozen=True):
    """The call answered, and its answer has no stored form."""

    live: Any
    owner: Request

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


class Crashed(msgspec.Struct, frozen=True):
    """The call raised `error`, which its owner gets; `told` is what others get copies of."""

    error: BaseException
    told: BaseException
    failure: Failure
    owner: Request | None = None


class Grounded(msgspec.Struct, frozen=True):
    """The flight was ended from outside (abandoned, closed): ask again."""


Outcome = Found | Unstored | Crashed | Grounded


def ended(error: BaseException | None) -> Outcome:
    """The outcome of a flight that never landed: `error` ended its task, or somebody outside."""
    if error is None:
        return Grounded()
    failure = Failure(Reach.PROCESS, ErrorRecord(type(error).__name__, str(error)))
    return Crashed(error, error, failure)


@dataclass(slots=True)
class Counters:
    """What `Cache.statistics` adds up; one per event loop, so that threads do not race."""

    calls: int = 0
    l1_hits: int = 0
    l2_hits: int = 0
    coalesced_local: int = 0
    coalesced_remote: int = 0
    led: int = 0
    errors: int = 0
    provider_calls: int = 0
    provider_errors: int = 0
    stored: int = 0
    uncached: int = 0
    unwanted: int = 0
    stale: int = 0
    refreshes: int = 0
    refresh_errors: int = 0
    streams: int = 0
    undecodable: int = 0
    store_faults: int = 0
