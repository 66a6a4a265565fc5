"""samecall: the same call, paid for once."""

from samecall._cache import L1, Cache, Mode
from samecall._entry import Entry, Key, Payload
from samecall._errors import (
    CacheMiss,
    ConfigurationError,
    DeadlineExceeded,
    ReentrantCall,
    RemoteCallError,
    SamecallError,
    SamecallWarning,
    StoreError,
    StreamInterrupted,
    Undecodable,
    Unkeyable,
    Unstorable,
    WaitTimeout,
)
from samecall._policy import Policy
from samecall._rooms import Statistics

__all__ = [
    "L1",
    "Cache",
    "CacheMiss",
    "ConfigurationError",
    "DeadlineExceeded",
    "Entry",
    "Key",
    "Mode",
    "Payload",
    "Policy",
    "ReentrantCall",
    "RemoteCallError",
    "SamecallError",
    "SamecallWarning",
    "Statistics",
    "StoreError",
    "StreamInterrupted",
    "Undecodable",
    "Unkeyable",
    "Unstorable",
    "WaitTimeout",
]
