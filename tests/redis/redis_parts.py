"""Keys, entries and times that the tests of the Redis store share."""

from __future__ import annotations

import os

from samecall._entry import Entry, Key, Kind, Payload, encode_entry, new_stamp

PATIENT = 30.0
"""An op_timeout that no healthy server meets on any machine."""


def new_key(namespace: str | None = None) -> Key:
    """A key that no other test uses."""
    return Key(os.urandom(32), f"ns-{os.urandom(6).hex()}" if namespace is None else namespace)


def new_data(key: Key, body: bytes = b"answer", kind: Kind = Kind.VALUE) -> bytes:
    """An envelope with a new stamp."""
    return encode_entry(key, Entry(kind, Payload("test", body), new_stamp(), 60.0, 60.0))
