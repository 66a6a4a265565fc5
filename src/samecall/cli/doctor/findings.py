"""One thing that was looked at, and what came of it."""

from __future__ import annotations

import enum

import msgspec

__all__ = ["Finding", "Health"]


class Health(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; nothing is wrong."""
    WARNING = "warning"
    """It works, and will be slow, unsafe or costly."""
    FAILED = "failed"
    """samecall cannot do its work; calls go on and are paid again."""


class Finding(msgspec.Struct, frozen=True):
    """What was looked at, how it is, and what to do about it."""

    check: str
    health: Health
    says: str
    mend: str = ""
