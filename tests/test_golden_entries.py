"""Entries that older versions have written: read as they were meant, or refused; never an error.

`golden_entries.json` holds their bytes; a change of the layout adds to it and changes none of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from samecall._entry import Key, Kind, decode_entry, encode_entry
from samecall._errors import Undecodable

ROOM = Path(__file__).parent
GOLDEN: dict[str, Any] = json.loads((ROOM / "golden_entries.json").read_text())
KEY = Key(bytes(range(32)))


@pytest.mark.parametrize("name", GOLDEN)
def test_what_older_versions_wrote_is_read(name: str) -> None:
    """What a layout did not know yet has its default."""
    told = GOLDEN[name]
    data = bytes.fromhex(told["bytes"])
    entry = decode_entry(KEY, data, left=30.0, now=1_000.0)
    assert (entry.kind, entry.payload.tag, entry.payload.data) == (Kind.VALUE, "plain", b"\xa3yes")
    assert (entry.fresh_for, entry.kept_for, entry.cost) == (60.0, 90.0, 1.5)
    assert entry.born == 940.0
    assert list(entry.tags) == told["tags"]
    assert [each.hex() for each in entry.generations] == told["generations"]


def test_what_this_version_writes_is_among_them() -> None:
    """The last one is byte for byte what is written now."""
    told = GOLDEN[list(GOLDEN)[-1]]
    entry = decode_entry(KEY, bytes.fromhex(told["bytes"]), left=90.0, now=0.0)
    assert encode_entry(KEY, entry).hex() == told["bytes"]


@pytest.mark.parametrize("name", GOLDEN)
def test_none_of_them_answers_another_key(name: str) -> None:
    """The fingerprint is compared in every layout."""
    with pytest.raises(Undecodable):
        decode_entry(Key(bytes(32)), bytes.fromhex(GOLDEN[name]["bytes"]), left=1.0, now=0.0)
