"""What an observer is told: the event records, and the protocol."""

from samecall._entry import Spent
from samecall._events import (
    TRACE,
    BreakerChanged,
    CallAnswered,
    CallUncached,
    EntryRefreshed,
    EntryUndecodable,
    Event,
    Observer,
    ProviderAsked,
    ProviderCalled,
    StoreFaulted,
)

__all__ = [
    "TRACE",
    "BreakerChanged",
    "CallAnswered",
    "CallUncached",
    "EntryRefreshed",
    "EntryUndecodable",
    "Event",
    "Observer",
    "ProviderAsked",
    "ProviderCalled",
    "Spent",
    "StoreFaulted",
]
