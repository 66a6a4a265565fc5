"""What happens, told: the frozen event records, and who hears them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol

import msgspec

from samecall._entry import Key, Spent

__all__ = [
    "TRACE",
    "TRACE_MOST",
    "BreakerChanged",
    "CallAnswered",
    "CallUncached",
    "EntryRefreshed",
    "EntryUndecodable",
    "Event",
    "HearsHits",
    "Observer",
    "ProviderAsked",
    "ProviderCalled",
    "StoreFaulted",
    "hears_hits",
]


TRACE: ContextVar[bytes] = ContextVar("samecall_trace", default=b"")
"""Set by an observer that hears `ProviderAsked`, in the flight's own context: where this call is
told of. It travels with the entry, so that callers elsewhere can be linked to it.
"""
TRACE_MOST = 32
"""Bytes of it that travel; a longer one stays here."""


class CallAnswered(msgspec.Struct, frozen=True, gc=False):
    """A caller has its answer, or its exception (`error`: the name of its class).

    how: l1, l2, led, coalesced_local, coalesced_remote, bypass; "" if it ended before that was
        known. spent: what the answer was once paid with. leader: names the flight that made it, in
        whichever process (`ProviderCalled.leader`). trace: what that flight's observer left.
    """

    key: Key
    how: str
    seconds: float
    error: str | None = None
    spent: Spent | None = None
    leader: bytes = b""
    trace: bytes = b""


class ProviderAsked(msgspec.Struct, frozen=True, gc=False):
    """The provider is about to be called. Told in the context that the call will run in.

    about: the model that is asked, with nothing spent, where the codec knows. leader: names this
        flight; b"" for a call that bypasses the cache.
    """

    key: Key
    about: Spent | None = None
    leader: bytes = b""


class ProviderCalled(msgspec.Struct, frozen=True, gc=False):
    """The provider was called: how long it took and what class of error it raised, if any.

    Told in the same context as its `ProviderAsked`. spent: what it cost, where the codec knows.
    """

    key: Key
    seconds: float
    error: str | None = None
    spent: Spent | None = None
    leader: bytes = b""


class CallUncached(msgspec.Struct, frozen=True, gc=False):
    """A call or an answer went uncached; `reason` names what cannot be keyed or stored."""

    reason: str


class EntryRefreshed(msgspec.Struct, frozen=True, gc=False):
    """A refresh in the background has ended; `error` says by what class of error, if it failed."""

    key: Key
    error: str | None = None


class EntryUndecodable(msgspec.Struct, frozen=True, gc=False):
    """Bytes at a key were refused and count as a miss."""

    key: Key
    reason: str


class StoreFaulted(msgspec.Struct, frozen=True, gc=False):
    """A store operation failed or took too long."""

    operation: str
    error: str


class BreakerChanged(msgspec.Struct, frozen=True, gc=False):
    """The breaker around a store opened (calls go on without it) or closed again."""

    open: bool
    at: float = msgspec.field(default_factory=time.time)


Event = (
    CallAnswered
    | ProviderAsked
    | ProviderCalled
    | CallUncached
    | EntryRefreshed
    | EntryUndecodable
    | StoreFaulted
    | BreakerChanged
)


HearsHits = Callable[[Key, float, Spent | None, bytes], None]
"""Hears `key, seconds, spent, leader` of a hit in memory, as `CallAnswered` has them."""


class Observer(Protocol):
    """Hears what happens, in the event loop's thread: be quick. Its exceptions become warnings.

    An observer may have an `on_hit(key, seconds, spent, leader)` besides, in the same class as its
    `on_event`. Where all observers of a cache have one, hits in memory are told there, and no
    `CallAnswered` is made for them.
    """

    def on_event(self, event: Event) -> None: ...


def hears_hits(observer: Observer) -> HearsHits | None:
    """An observer's shorter way for hits in memory; None: none, or its class goes round it."""
    hit: HearsHits | None = getattr(observer, "on_hit", None)
    for each in type(observer).__mro__:
        if "on_event" in each.__dict__ or "on_hit" in each.__dict__:
            return hit if "on_hit" in each.__dict__ else None
    return None
