"""A provider on loopback for tests and demonstrations: counted, scripted, no money spent."""

from __future__ import annotations

from samecall.testing.provider._ask import Ask
from samecall.testing.provider._behaviour import (
    Answer,
    Behaviour,
    Cut,
    CutAfter,
    Hang,
    HoldAfter,
    Malformed,
    Status,
)
from samecall.testing.provider._desk import Request
from samecall.testing.provider._instance import instance
from samecall.testing.provider._process import Counts, RemoteStub
from samecall.testing.provider._stub import StubProvider

__all__ = [
    "Answer",
    "Ask",
    "Behaviour",
    "Counts",
    "Cut",
    "CutAfter",
    "Hang",
    "HoldAfter",
    "Malformed",
    "RemoteStub",
    "Request",
    "Status",
    "StubProvider",
    "instance",
]
