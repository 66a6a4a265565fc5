"""Public doubles and contract suites, for tests of samecall and of what is built on it.

The contract suites need pytest, which nothing else here imports; their home is
`samecall.testing.contracts`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samecall.testing._doubles import GatedProvider, ManualClock
    from samecall.testing._faulty import FaultyStore
    from samecall.testing._proxy import FaultProxy
    from samecall.testing._virtual import VirtualClock, VirtualLoop, run_virtual
    from samecall.testing.clusters import LocalCluster
    from samecall.testing.contracts import LeaseStoreContract, RecordingContract, StoreContract
    from samecall.testing.provider import StubProvider
    from samecall.testing.sentinels import LocalSentinel
    from samecall.testing.servers import LocalServer

__all__ = [
    "FaultProxy",
    "FaultyStore",
    "GatedProvider",
    "LeaseStoreContract",
    "LocalCluster",
    "LocalSentinel",
    "LocalServer",
    "ManualClock",
    "RecordingContract",
    "StoreContract",
    "StubProvider",
    "VirtualClock",
    "VirtualLoop",
    "run_virtual",
]

_HOMES = {
    "FaultProxy": "samecall.testing._proxy",
    "FaultyStore": "samecall.testing._faulty",
    "GatedProvider": "samecall.testing._doubles",
    "LeaseStoreContract": "samecall.testing.contracts",
    "LocalCluster": "samecall.testing.clusters",
    "LocalSentinel": "samecall.testing.sentinels",
    "LocalServer": "samecall.testing.servers",
    "ManualClock": "samecall.testing._doubles",
    "RecordingContract": "samecall.testing.contracts",
    "StoreContract": "samecall.testing.contracts",
    "StubProvider": "samecall.testing.provider",
    "VirtualClock": "samecall.testing._virtual",
    "VirtualLoop": "samecall.testing._virtual",
    "run_virtual": "samecall.testing._virtual",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
