"""The one place where entries become envelopes and envelopes entries, for every store and L1.

On its way out an entry's payload is made smaller, then the whole is sealed; what reads goes the
same way back. L1 holds the entry as it was: it is the fastest to decode. Compressed and sealed
payloads are entries of the same layout, under tags that no codec has:

    z:<tag>   the payload of <tag>, see `_zstd`
    sealed    kind, payload, lifetimes, cost and the moment it was made, see `_seal`
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field

import msgspec

from samecall._entry import (
    MAGIC,
    Entry,
    Key,
    Kind,
    Payload,
    body_of,
    decode_entry,
    encode_entry,
    entry_of,
)
from samecall._errors import Undecodable
from samecall._seal import CLOCKS, NO_SEAL, NOT_SEALED, Seal
from samecall._warn import warn
from samecall._zstd import expand, has_library, squeeze

__all__ = ["PLAIN", "Envelopes"]

_SQUEEZED, _SEALED = "z:", "sealed"
_SLACK = 600.0
"""Seconds that two machines' clocks may differ, where it makes answers a little older."""
_MOST = 10_000


class _Inner(msgspec.Struct, array_like=True, frozen=True):
    """What a seal holds."""

    made: float
    body: bytes


_inner = msgspec.msgpack.Decoder(_Inner)


@dataclass(slots=True, eq=False)
class Envelopes:
    """Both ways of an envelope; holds what is the same for all entries of a cache.

    compresses: whether payloads over `compress_over` are made smaller.
    """

    seals: Seal | None = None
    compresses: bool = True
    _warned: bool = field(default=False, repr=False)
    _forgotten: OrderedDict[Key, float] = field(default_factory=OrderedDict[Key, float], repr=False)

    def forgets(self, key: Key) -> None:
        """What was sealed for `key` before now is an answer no more, in whatever store it turns up.

        Give or take what clocks may differ by. It is known here alone, and of the last keys.
        """
        if self.seals is not None:
            self._forgotten.pop(key, None)
            self._forgotten[key] = time.time()
            if len(self._forgotten) > _MOST:
                self._forgotten.popitem(last=False)

    def seal(self, key: Key, entry: Entry, compress_over: int | None = None) -> tuple[Entry, bytes]:
        """The entry with its size, and its envelope; raises `Unstorable`, see `encode_entry`."""
        out, held = entry, len(entry.payload.data)
        if self.compresses and compress_over is not None and held > compress_over:
            out = _squeezed(entry)
        if self.seals is not None:
            out = _sealed(self.seals, key, out)
        data = encode_entry(key, out)
        return msgspec.structs.replace(entry, size=max(len(data), held)), data

    def read(self, key: Key, data: bytes, *, left: float, now: float) -> Entry:
        """The entry in an envelope; raises `Undecodable`, see `decode_entry`."""
        entry = decode_entry(key, data, left=left, now=now)
        if self.seals is not None:
            entry = _opened(self.seals, key, entry, left, now, since=self._since(key))
        elif entry.payload.tag == _SEALED:
            raise Undecodable(NO_SEAL)
        if not entry.payload.tag.startswith(_SQUEEZED):
            return entry
        return self._expanded(entry)

    def _since(self, key: Key) -> float:
        """The moment before which nothing is an answer."""
        since = self._forgotten.get(key, 0.0) - CLOCKS
        return since if since < time.time() else 0.0  # else the clock was wrong, and set back

    def _expanded(self, entry: Entry) -> Entry:
        if not has_library() and not self._warned:
            self._warned = True
            warn(
                "entries in the store are compressed, and count as misses: "
                "pip install 'samecall[zstd]'"
            )
        tag, held = entry.payload.tag.removeprefix(_SQUEEZED), expand(entry.payload.data)
        payload = msgspec.structs.replace(entry.payload, tag=tag, data=held)
        return msgspec.structs.replace(entry, payload=payload, size=max(entry.size, len(held)))


def _squeezed(entry: Entry) -> Entry:
    payload = entry.payload
    data = squeeze(payload.data)
    if data is None:
        return entry
    smaller = msgspec.structs.replace(payload, tag=_SQUEEZED + payload.tag, data=data)
    return msgspec.structs.replace(entry, payload=smaller)


def _sealed(seals: Seal, key: Key, entry: Entry) -> Entry:
    inner = msgspec.msgpack.encode(_Inner(time.time(), body_of(entry)))
    payload = Payload(_SEALED, seals.close(inner, _bound(key, entry)))
    return Entry(entry.kind, payload, entry.stamp, entry.fresh_for, entry.kept_for)


def _opened(seals: Seal, key: Key, entry: Entry, left: float, now: float, *, since: float) -> Entry:
    if entry.payload.tag != _SEALED:
        raise Undecodable(NOT_SEALED)
    try:
        inner = _inner.decode(seals.open(entry.payload.data, _bound(key, entry)))
    except (msgspec.MsgspecError, ValueError) as error:
        raise Undecodable("what it seals is of another schema") from error
    told = entry_of(inner.body, stamp=entry.stamp, left=left, now=now)
    if told.kind is not entry.kind:
        raise Undecodable("it says something else than what it seals")
    if inner.made - told.cost < since:
        raise Undecodable("it was forgotten, and put back")
    # at the least: how long it is kept says who writes. An error put back would be more than a miss
    slack = _SLACK if told.kind is Kind.VALUE else CLOCKS
    age = time.time() - inner.made - slack
    if age > told.kept_for:
        raise Undecodable("its life was over long ago")
    return msgspec.structs.replace(told, size=entry.size, born=min(told.born, now - age))


def _bound(key: Key, entry: Entry) -> bytes:
    """What an entry is bound to: moved to another key, kind or generation it does not open."""
    kind = int(entry.kind).to_bytes(1, "big")
    return MAGIC + entry.stamp + key.digest + kind + key.namespace.encode("utf-8", "surrogatepass")


PLAIN = Envelopes(compresses=False)
"""Envelopes as they are."""
