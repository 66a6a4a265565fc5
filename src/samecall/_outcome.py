"""What a caller asks, what a flight ends in, and what is counted of both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from samecall._entry import Entry, Key
from samecall._policy import Policy
from samecall._ports import SEEN_NOTHING, Codec, Failure

__all__ = [
    "COUNTED",
    "REFUSALS",
    "Counters",
    "Crashed",
    "Found",
    "Grounded",
    "Outcome",
    "Request",
    "Unstored",
]

REFUSALS = 3
"""Entries that a caller may refuse before it makes a call of its own."""
COUNTED = {
    "l1": "l1_hits",
    "l2": "l2_hits",
    "coalesced_local": "coalesced_local",
    "coalesced_remote": "coalesced_remote",
    "led": "led",
    "bypass": "led",
}
"""The counter of each way to an answer."""


@dataclass(slots=True, eq=False)
class Request:
    """One caller's question; `seen` grows as the caller refuses what it is given."""

    key: Key
    call: Callable[[], Awaitable[Any]]
    policy: Policy
    codec: Codec[Any]
    seen: bytes = SEEN_NOTHING
    began: float = 0.0
    refusals: int = 0
    how: str = ""
    """Where the answer, or the exception, comes from."""

    def refuse(self, stamp: bytes) -> None:
        """This caller does not take the entry with this stamp."""
        self.seen = stamp
        self.refusals += 1


@dataclass(frozen=True, slots=True)
class Found:
    """An entry answers. `live`: the call's own result, for the caller whose call it was."""

    entry: Entry
    how: str
    owner: Request | None = None
    live: Any = None


@dataclass(frozen=True, slots=True)
class Unstored:
    """The call answered, and its answer has no stored form."""

    live: Any
    owner: Request


@dataclass(frozen=True, slots=True)
class Crashed:
    """The call raised `error`, which its owner gets; `told` is what others get copies of."""

    error: BaseException
    told: BaseException
    failure: Failure
    owner: Request | None = None


@dataclass(frozen=True, slots=True)
class Grounded:
    """The flight was ended from outside (abandoned, closed): ask again."""


Outcome = Found | Unstored | Crashed | Grounded


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
    streams: int = 0
    undecodable: int = 0
    store_faults: int = 0
