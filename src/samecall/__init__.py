"""samecall: the same call, paid for once."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samecall._cache import L1, Cache, Mode
    from samecall._cassette import Cassette
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
    from samecall._memoize import BlockingMemoized, Memoized, MemoizedStream
    from samecall._moving import Imported
    from samecall._policy import Policy
    from samecall._rooms import Statistics
    from samecall._seal import Seal
    from samecall._warming import Warmed

__all__ = [
    "L1",
    "BlockingMemoized",
    "Cache",
    "CacheMiss",
    "Cassette",
    "ConfigurationError",
    "DeadlineExceeded",
    "Entry",
    "Imported",
    "Key",
    "Memoized",
    "MemoizedStream",
    "Mode",
    "Payload",
    "Policy",
    "ReentrantCall",
    "RemoteCallError",
    "SamecallError",
    "SamecallWarning",
    "Seal",
    "Statistics",
    "StoreError",
    "StreamInterrupted",
    "Undecodable",
    "Unkeyable",
    "Unstorable",
    "WaitTimeout",
    "Warmed",
]

_HOMES = {
    "samecall._cache": (
        "Cache",
        "L1",
        "Mode",
    ),
    "samecall._cassette": ("Cassette",),
    "samecall._entry": (
        "Entry",
        "Key",
        "Payload",
    ),
    "samecall._errors": (
        "CacheMiss",
        "ConfigurationError",
        "DeadlineExceeded",
        "ReentrantCall",
        "RemoteCallError",
        "SamecallError",
        "SamecallWarning",
        "StoreError",
        "StreamInterrupted",
        "Undecodable",
        "Unkeyable",
        "Unstorable",
        "WaitTimeout",
    ),
    "samecall._memoize": (
        "BlockingMemoized",
        "Memoized",
        "MemoizedStream",
    ),
    "samecall._moving": ("Imported",),
    "samecall._policy": ("Policy",),
    "samecall._rooms": ("Statistics",),
    "samecall._seal": ("Seal",),
    "samecall._warming": ("Warmed",),
}


def __getattr__(name: str) -> object:
    # asked for once each: asyncio alone takes longer to import than who only wants the version has
    for home, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            value: object = getattr(import_module(home), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'samecall' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
