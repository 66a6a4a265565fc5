"""A copy in a near store: a head, then the envelope as the far store had it."""

from __future__ import annotations

import struct
from hashlib import blake2b

from samecall._entry import Key, decode_entry
from samecall._errors import Undecodable
from samecall._ports import Found
from samecall._stamps import stamp_of

__all__ = ["age_of", "near_key", "near_space", "unwrap", "wrap"]

_MAGIC = b"\xa5n\x01"
_HEAD = struct.Struct(">3s16sdd8s")


def near_space(namespace: str) -> str:
    """Where copies of a namespace live."""
    return f"{namespace}~near"


def near_key(key: Key) -> Key:
    """Where the copy of an entry lives."""
    return Key(key.digest, near_space(key.namespace))


def age_of(key: Key, data: bytes, left: float) -> float:
    """Seconds since an answer was stored, by the far store's clock; of what is none: for ever."""
    try:
        return -decode_entry(key, data, left=left, now=0.0).born
    except Undecodable:
        return float("inf")


def wrap(data: bytes, left: float, ttl: float) -> bytes:
    """A copy that is kept for `ttl` seconds, of an envelope that has `left` seconds to live."""
    # the stamp stands where every store looks for it
    return _HEAD.pack(_MAGIC, stamp_of(data), left, ttl, _checksum(data)) + data


def unwrap(found: Found) -> Found | None:
    """What was wrapped, with what is left of its life now; None for anything else."""
    if len(found.data) < _HEAD.size:
        return None
    magic, _, left, ttl, checksum = _HEAD.unpack_from(found.data)
    data = found.data[_HEAD.size :]
    # a copy that was damaged must not cost a call: the far store has the sound one
    if magic != _MAGIC or checksum != _checksum(data):
        return None
    left -= max(0.0, ttl - found.left)
    return Found(data, left) if left > 0 else None


def _checksum(data: bytes) -> bytes:
    return blake2b(data, digest_size=8).digest()
