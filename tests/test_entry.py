"""Entries: every sound one comes back, and no other bytes are ever taken for one."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samecall._entry import (
    HEADER,
    MAGIC,
    Entry,
    Key,
    Kind,
    Payload,
    _checksum,
    decode_entry,
    encode_entry,
    new_stamp,
)
from samecall._errors import Undecodable, Unstorable

KEY = Key(b"k" * 32)
sound = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
keys = st.builds(Key, st.binary(min_size=32, max_size=32))
entries = st.builds(
    Entry,
    kind=st.sampled_from(Kind),
    payload=st.builds(Payload, st.text(st.characters(exclude_categories=["Cs"])), st.binary()),
    stamp=st.binary(min_size=16, max_size=16),
    fresh_for=sound,
    kept_for=sound,
    cost=sound,
)
ENTRY = Entry(Kind.VALUE, Payload("json", b"answer"), new_stamp(), 60.0, 120.0, 0.5)


def refused(key: Key, data: bytes) -> bool:
    """Whether these bytes are refused in the one way there is."""
    try:
        decode_entry(key, data, left=1.0, now=1.0)
    except Undecodable:
        return True
    return False


def sealed(body: bytes) -> bytes:
    """An envelope of `KEY` with a right checksum around any body."""
    head = MAGIC + b"s" * 16 + KEY.digest
    return head + _checksum(head, body) + body


@given(keys, entries)
def test_every_entry_comes_back(key: Key, entry: Entry) -> None:
    """What was encoded is what is decoded."""
    data = encode_entry(key, entry)
    again = decode_entry(key, data, left=entry.kept_for, now=7.0)
    assert again == msgspec.structs.replace(entry, born=7.0, size=len(data))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    """Bytes that nobody encoded are no entry."""
    assert refused(KEY, data)
    assert refused(KEY, MAGIC + data)
    assert refused(KEY, MAGIC + b"s" * 16 + KEY.digest + data)


@given(st.binary(max_size=300))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    """Also behind a right checksum nothing but `Undecodable` is raised."""
    refused(KEY, sealed(body))


@given(st.data())
def test_a_truncated_entry_is_refused(data: st.DataObject) -> None:
    """Wherever it was cut."""
    whole = encode_entry(KEY, ENTRY)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert refused(KEY, whole[:cut])
    assert refused(KEY, whole + b"\0")


def test_every_flipped_bit_is_refused() -> None:
    """Whichever bit it is."""
    whole = encode_entry(KEY, ENTRY)
    for place in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        assert refused(KEY, bytes(flipped)), f"bit {place} of {len(whole) * 8}"


@given(keys, keys)
def test_an_entry_of_another_key_is_refused(one: Key, two: Key) -> None:
    """Swapped entries never answer."""
    assert refused(two, encode_entry(one, ENTRY)) is (one.digest != two.digest)


def test_an_entry_of_another_version_is_refused() -> None:
    """However sound it may be: its layout is not ours to guess."""
    whole = encode_entry(KEY, ENTRY)
    head = MAGIC[:-1] + b"\x02" + whole[len(MAGIC) : HEADER - 8]
    other = head + _checksum(head, whole[HEADER:]) + whole[HEADER:]
    assert len(other) == len(whole)
    assert refused(KEY, other)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        msgspec.msgpack.encode([0, "t", b"x", 1.0]),
        msgspec.msgpack.encode([9, "t", b"x", 1.0, 1.0]),
        msgspec.msgpack.encode([2**64 - 1, "t", b"x", 1.0, 1.0]),
        msgspec.msgpack.encode([0, "t", "text", 1.0, 1.0]),
        msgspec.msgpack.encode([0, "t", b"x", math.nan, 1.0]),
        msgspec.msgpack.encode([0, "t", b"x", 1.0, math.inf]),
        msgspec.msgpack.encode([0, "t", b"x", 1.0, -1.0]),
        msgspec.msgpack.encode([0, "t", b"x", 1.0, 1.0, math.nan]),
        msgspec.msgpack.encode([0, "t", b"x", 1.0, 1.0]) + b"\0",
        b"\x95\x00\xa1\xff\xc4\x01x" + (b"\xcb" + bytes(8)) * 2,
        b"\x97\x00\xa1t\xc4\x01x" + (b"\xcb" + bytes(8)) * 3 + b"\x91" * 100_000 + b"\xc0",
    ],
    ids=[
        "empty", "short", "kind", "huge-kind", "text", "nan", "inf", "negative", "cost", "more",
        "no-utf8", "deep",
    ],
)  # fmt: skip
def test_a_body_of_another_schema_is_refused(body: bytes) -> None:
    """A right checksum does not make an entry."""
    assert refused(KEY, sealed(body))


@pytest.mark.parametrize(
    "change",
    [
        {"stamp": b""},
        {"stamp": b"s" * 17},
        {"fresh_for": math.nan},
        {"kept_for": math.inf},
        {"kept_for": -1.0},
        {"cost": math.inf},
        {"payload": Payload("\ud800", b"")},
    ],
    ids="-".join,
)
def test_what_could_not_be_read_is_not_written(change: dict[str, Any]) -> None:
    """The writer refuses what the reader would."""
    with pytest.raises(Unstorable):
        encode_entry(KEY, msgspec.structs.replace(ENTRY, **change))
    with pytest.raises(Unstorable):
        encode_entry(Key(b"short"), ENTRY)


def test_age_comes_from_the_stores_clock() -> None:
    """`born` lies as far back as the store has used up of the entry's life."""
    data = encode_entry(KEY, ENTRY)
    assert decode_entry(KEY, data, left=20.0, now=1_000.0).born == 900.0
    assert decode_entry(KEY, data, left=500.0, now=1_000.0).born == 1_000.0
    assert len(data) > HEADER
