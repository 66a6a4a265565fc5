r"""The stored record: `Key`, `Entry` and its bytes on the wire (the envelope).

An envelope is

    offset  length  what
    0       2       magic b"\xa5s"
    2       1       version of this layout
    3       16      stamp: random, names this generation of the entry
    19      32      fingerprint: the digest of the key it answers
    51      8       checksum: BLAKE2b-64 over all other bytes
    59      -       body: MessagePack array, see `_Body`

The stamp stands at a fixed place because the Lua scripts compare it.
"""

from __future__ import annotations

import enum
import math
import os
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from samecall._errors import Undecodable, Unstorable

if TYPE_CHECKING:
    from samecall._policy import Policy

__all__ = [
    "HEADER",
    "MAGIC",
    "STAMP_END",
    "STAMP_START",
    "Entry",
    "Freshness",
    "Kept",
    "Key",
    "Kind",
    "Payload",
    "Spent",
    "body_of",
    "decode_entry",
    "encode_entry",
    "entry_of",
    "freshness",
    "new_stamp",
    "seal",
]

MAGIC = b"\xa5s\x01"
STAMP_START, STAMP_END = 3, 19
_FINGERPRINT_END = 51
_FORMS, _DRAWN = 8, 256
_ENDLESS = math.inf
HEADER = 59


class Key(msgspec.Struct, frozen=True, order=True):
    """One call: its 256-bit digest and the namespace that it lives in."""

    digest: bytes
    namespace: str = "default"

    @property
    def hex(self) -> str:
        """The digest as 64 hexadecimal characters."""
        return self.digest.hex()


class Kind(enum.IntEnum):
    """What an entry holds."""

    VALUE = 0
    ERROR = 1
    """A typed error that the leader met (`_ports.ErrorRecord`)."""
    REFUSED = 2
    """A completion that failed the leader's validation: every waiter parses it itself."""


class Kept:
    """A payload that stays in memory, by which codecs keep forms of it, weakly.

    `grow`: told of the bytes that each form takes, by who holds the payload in bounds.
    """

    __slots__ = ("__weakref__", "_forms", "_grow")

    def __init__(self, grow: Callable[[int], None]) -> None:
        self._grow, self._forms = grow, 0

    def takes(self, size: int) -> bool:
        """Count a form of about `size` bytes; False: there are enough."""
        if takes := self._forms < _FORMS:
            self._forms += 1
            self._grow(size)
        return takes


class Spent(msgspec.Struct, array_like=True, frozen=True):
    """What an answer was paid with, as its provider told: tokens of all attempts together."""

    model: str
    provider: str = ""
    input: Annotated[int, msgspec.Meta(ge=0)] = 0
    output: Annotated[int, msgspec.Meta(ge=0)] = 0


class Payload(msgspec.Struct, frozen=True, eq=False):
    """What a codec makes of an answer: `tag` says which form `data` has.

    `spent` is stored beside `data`, so that a hit knows what it saves without parsing. `kept`:
    by what forms of it may be kept; None: it does not stay.
    """

    tag: str
    data: bytes
    spent: Spent | None = None
    kept: Kept | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Payload):
            return NotImplemented
        return (self.tag, self.data, self.spent) == (other.tag, other.data, other.spent)

    def __hash__(self) -> int:
        return hash((self.tag, self.data))

    def __repr__(self) -> str:
        return f"Payload({self.tag!r}, {len(self.data)} bytes)"  # an answer is nobody else's to see

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("tag", self.tag), ("bytes", len(self.data))]


class _Body(msgspec.Struct, array_like=True, frozen=True):
    kind: int
    tag: str
    data: bytes
    fresh_for: float
    kept_for: float
    cost: float = 0.0
    spent: Spent | None = None
    trace: bytes = b""
    tags: tuple[str, ...] = ()
    generations: tuple[bytes, ...] = ()


class Entry(msgspec.Struct, frozen=True):
    """A stored answer. Durations are seconds; `born` is on the reader's monotonic clock.

    trace: where the leader's call is told of, see `_events.TRACE`. generations: of its namespace,
        then of each of its `tags`, as they were when its call began.
    """

    kind: Kind
    payload: Payload
    stamp: bytes
    fresh_for: float
    kept_for: float
    cost: float = 0.0
    born: float = 0.0
    size: int = 0
    trace: bytes = b""
    tags: tuple[str, ...] = ()
    generations: tuple[bytes, ...] = ()


_stamps: list[bytes] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_stamps.clear)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Body)


def new_stamp() -> bytes:
    """16 random bytes that name one generation of an entry."""
    try:
        return _stamps.pop()
    except IndexError:  # many are drawn at once: each time costs a call of the operating system
        drawn = os.urandom(16 * _DRAWN)
        _stamps.extend(drawn[at : at + 16] for at in range(16, 16 * _DRAWN, 16))
        return drawn[:16]


def _checksum(head: bytes | memoryview, body: bytes | memoryview) -> bytes:
    digest = blake2b(head, digest_size=8)
    digest.update(body)
    return digest.digest()


def encode_entry(key: Key, entry: Entry) -> bytes:
    """The envelope of `entry`, bound to `key` by its fingerprint.

    Raises `Unstorable` for what `decode_entry` would refuse.
    """
    if (
        len(entry.stamp) != STAMP_END - STAMP_START
        or len(key.digest) != _FINGERPRINT_END - STAMP_END
    ):
        raise Unstorable("a stamp has 16 bytes and a digest 32")
    if not _sound(entry.fresh_for, entry.kept_for, entry.cost):
        raise Unstorable("a lifetime or cost is not finite, or less than 0")
    try:
        body = body_of(entry)
    except UnicodeEncodeError as error:
        raise Unstorable(f"the tag {entry.payload.tag!r:.60} is no text") from error
    head = MAGIC + entry.stamp + key.digest
    return head + _checksum(head, body) + body


def _sound(one: float, two: float, three: float) -> bool:
    return 0 <= one < _ENDLESS and 0 <= two < _ENDLESS and 0 <= three < _ENDLESS  # no NaN is


def body_of(entry: Entry) -> bytes:
    """All of an entry but its stamp, as it stands in an envelope."""
    return _encoder.encode(
        _Body(
            int(entry.kind),
            entry.payload.tag,
            entry.payload.data,
            entry.fresh_for,
            entry.kept_for,
            entry.cost,
            entry.payload.spent,
            entry.trace,
            entry.tags,
            entry.generations,
        )
    )


def seal(key: Key, entry: Entry) -> tuple[Entry, bytes]:
    """An entry that knows its size, and its envelope; see `encode_entry`."""
    data = encode_entry(key, entry)
    return msgspec.structs.replace(entry, size=len(data)), data


def decode_entry(key: Key, data: bytes, *, left: float, now: float) -> Entry:
    """Read an envelope that the store will keep for another `left` seconds.

    Its age is what has gone of its own `kept_for`, so it comes from the store's clock alone.
    Raises `Undecodable` for anything but an intact entry of `key`.
    """
    if len(data) < HEADER or data[:STAMP_START] != MAGIC:
        raise Undecodable("no entry of this version")
    if data[STAMP_END:_FINGERPRINT_END] != key.digest:
        raise Undecodable("the entry answers another call")
    view = memoryview(data)
    if _checksum(view[:_FINGERPRINT_END], view[HEADER:]) != data[_FINGERPRINT_END:HEADER]:
        raise Undecodable("the checksum differs")
    return entry_of(view[HEADER:], stamp=data[STAMP_START:STAMP_END], left=left, now=now)


def entry_of(body: bytes | memoryview, *, stamp: bytes, left: float, now: float) -> Entry:
    """The entry that a body tells of; raises `Undecodable`."""
    try:
        told = _decoder.decode(body)
        kind = Kind(told.kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Undecodable(f"the body is of another schema: {type(error).__name__}") from None
    if not _sound(told.fresh_for, told.kept_for, told.cost):
        raise Undecodable("a lifetime or cost is not finite, or less than 0")
    age = max(0.0, told.kept_for - left)
    return Entry(
        kind=kind,
        payload=Payload(told.tag, told.data, told.spent),
        stamp=stamp,
        fresh_for=told.fresh_for,
        kept_for=told.kept_for,
        cost=told.cost,
        born=now - age,
        size=HEADER + len(body),
        trace=told.trace,
        tags=told.tags,
        generations=told.generations,
    )


class Freshness(enum.Enum):
    """Before the soft TTL, between soft and hard TTL, after it."""

    FRESH = "fresh"
    STALE = "stale"
    EXPIRED = "expired"


def freshness(entry: Entry, policy: Policy, now: float) -> Freshness:
    """How `entry` stands at `now` (the reader's monotonic clock) under the reader's policy."""
    age = now - entry.born
    fresh_for = entry.fresh_for
    if policy.max_age is not None:
        fresh_for = min(fresh_for, policy.max_age)
    if age < fresh_for:
        return Freshness.FRESH
    return Freshness.STALE if age < entry.kept_for else Freshness.EXPIRED
