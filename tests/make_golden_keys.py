"""Writes tests/golden_keys.json: digests that must never change under one scheme.

Run it by hand, and only together with a new scheme number in `samecall._key`:

    python tests/make_golden_keys.py
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from pydantic import BaseModel, SecretStr

from samecall._key import digest_of, key_from

GOLDEN = Path(__file__).with_name("golden_keys.json")


class Colour(enum.Enum):
    RED = "red"


class Shade(enum.StrEnum):
    RED = "red"


class Flags(enum.Flag):
    A = 1
    B = 2


class Model(BaseModel):
    name: str
    inner: Model | None = None


class Open(BaseModel, extra="allow"):
    name: str


class Struct(msgspec.Struct):
    name: str


@dataclasses.dataclass
class Data:
    name: str


def values() -> dict[str, Any]:
    """One value for every rule of the canonical form, by a name."""
    return {
        "none": None,
        "true": True,
        "false": False,
        "int 0": 0,
        "int 1": 1,
        "int -1": -1,
        "int of 20,000 bits": 1 << 20_000,
        "float 1": 1.0,
        "float 0.1": 0.1,
        "float -0": -0.0,
        "float nan": math.nan,
        "float inf": math.inf,
        "float -inf": -math.inf,
        "float smallest": 5e-324,
        "text empty": "",
        "text 1": "1",
        "text umlaut": "Grüße",
        "text astral": "😀",
        "text lone surrogate": "\ud800",
        "text nul": "\0",
        "text 4095": "x" * 4_095,
        "text 4096": "x" * 4_096,
        "text long umlauts": "ü" * 5_000,
        "bytes empty": b"",
        "bytes": b"\x00\xff",
        "bytes 4095": b"x" * 4_095,
        "bytes 4096": b"x" * 4_096,
        "list empty": [],
        "list": [1, "1", [None]],
        "dict empty": {},
        "dict": {"b": 1, "a": 2, "ü": 3, "": 4, "aa": 5},
        "dict of ints": {10: "a", 9: "b", -1: "c"},
        "dict mixed": {1: "a", "1": "b", None: "c", (1, 2): "d"},
        "set": {"b", "a", "c", "aa"},
        "set mixed": {1, "1", None, 2.5},
        "decimal": Decimal("1.10"),
        "decimal nan": Decimal("NaN"),
        "decimal -inf": Decimal("-Infinity"),
        "enum": Colour.RED,
        "str enum": Shade.RED,
        "flags": Flags.A | Flags.B,
        "datetime": datetime(2026, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001 - a rule of its own
        "datetime utc": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "datetime offset": datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        "datetime zone": datetime(2026, 7, 2, tzinfo=ZoneInfo("UTC")),
        "date": date(2026, 1, 2),
        "time": time(3, 4, 5, 6),
        "timedelta": timedelta(days=-1, microseconds=1),
        "uuid": UUID(int=7),
        "path": PurePosixPath("a/b.png"),
        "path of windows": PureWindowsPath("C:\\a\\b.png"),
        "secret": SecretStr("hunter2"),
        "model": Model(name="a", inner=Model(name="b")),
        "model with extra": Open(name="a", more=1),
        "struct": Struct("a"),
        "dataclass": Data("a"),
        "call": {
            "model": "gpt-4o",
            "messages": [
                {"role": "system", "content": "Extract."},
                {"role": "user", "content": [{"type": "text", "text": "Ada, 36"}]},
            ],
            "temperature": 0.2,
            "max_tokens": 100,
            "strict": True,
        },
    }


def digests() -> dict[str, str]:
    """All golden vectors as this Python makes them."""
    made = {name: digest_of(value).hex() for name, value in values().items()}
    secret = b"fleet"
    made["secret: call"] = digest_of(values()["call"], secret=secret).hex()
    made["long secret: call"] = digest_of(values()["call"], secret=secret * 30).hex()
    made["key of text"] = key_from("a", "n").hex
    made["key of bytes"] = key_from(b"a", "n").hex
    made["key of text with secret"] = key_from("a", "n", secret).hex
    return made


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(digests(), indent=1, ensure_ascii=True) + "\n")
