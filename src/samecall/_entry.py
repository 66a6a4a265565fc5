r"""The stored record: `Key`, `Policy`, `Entry` and its bytes on the wire (the envelope).

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

import dataclasses
import enum
import math
import os
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from samecall._errors import ConfigurationError, Undecodable, Unstorable

__all__ = [
    "HEADER",
    "MAGIC",
    "STAMP_END",
    "STAMP_START",
    "Entry",
    "Freshness",
    "Key",
    "Kind",
    "Payload",
    "Policy",
    "decode_entry",
    "encode_entry",
    "freshness",
    "new_stamp",
    "seconds",
]

MAGIC = b"\xa5s\x01"
STAMP_START, STAMP_END = 3, 19
_FINGERPRINT_END = 51
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


class Payload(msgspec.Struct, frozen=True):
    """What a codec makes of an answer: `tag` says which form `data` has."""

    tag: str
    data: bytes


class _Body(msgspec.Struct, array_like=True, frozen=True):
    kind: int
    tag: str
    data: bytes
    fresh_for: float
    kept_for: float
    cost: float = 0.0


class Entry(msgspec.Struct, frozen=True):
    """A stored answer. Durations are seconds; `born` is on the reader's monotonic clock."""

    kind: Kind
    payload: Payload
    stamp: bytes
    fresh_for: float
    kept_for: float
    cost: float = 0.0
    born: float = 0.0
    size: int = 0


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Body)


def new_stamp() -> bytes:
    """16 random bytes that name one generation of an entry."""
    return os.urandom(16)


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
        body = _body_of(entry)
    except UnicodeEncodeError as error:
        raise Unstorable(f"the tag {entry.payload.tag!r:.60} is no text") from error
    head = MAGIC + entry.stamp + key.digest
    return head + _checksum(head, body) + body


def _sound(*numbers: float) -> bool:
    return all(math.isfinite(number) and number >= 0 for number in numbers)


def _body_of(entry: Entry) -> bytes:
    return _encoder.encode(
        _Body(
            int(entry.kind),
            entry.payload.tag,
            entry.payload.data,
            entry.fresh_for,
            entry.kept_for,
            entry.cost,
        )
    )


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
    try:
        body = _decoder.decode(view[HEADER:])
        kind = Kind(body.kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Undecodable(f"the body is of another schema: {type(error).__name__}") from None
    if not _sound(body.fresh_for, body.kept_for, body.cost):
        raise Undecodable("a lifetime or cost is not finite, or less than 0")
    age = max(0.0, body.kept_for - left)
    return Entry(
        kind=kind,
        payload=Payload(body.tag, body.data),
        stamp=data[STAMP_START:STAMP_END],
        fresh_for=body.fresh_for,
        kept_for=body.kept_for,
        cost=body.cost,
        born=now - age,
        size=len(data),
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


_YEAR = 366 * 86_400.0
Duration = float | timedelta


def seconds(
    value: object,
    name: str,
    *,
    zero: bool = False,
    most: float = 10 * _YEAR,
) -> float:
    """`value` (int, float or timedelta) as seconds; `ConfigurationError` names the argument."""
    takes = f"seconds (int or float) or a timedelta, {'0 or more' if zero else 'more than 0'}"
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    else:
        raise ConfigurationError(f"{name} takes {takes}; got {type(value).__name__} {value!r:.60}")
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero) or number > most:
        raise ConfigurationError(f"{name} takes {takes}, at most {most:g}; got {value!r:.60}")
    return number


def _count(value: object, name: str, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{name} takes a whole number from {least}; got {value!r:.60}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How calls are kept, waited for and paid; every duration is seconds or a `timedelta`.

    ttl: how long an answer is fresh (default one day).
    ttl_jitter: fraction of `ttl` by which each entry's life is shortened at random, so that
        entries made together do not expire together (0 to 1, default 0).
    max_age: this reader takes no answer older than this (default: as old as it may be).
    error_ttl: how long a shared error or refused completion answers others (default 2 s; 0: off).
    retry_after_cap: a provider's Retry-After longer than `error_ttl` wins up to this (60 s).
    share_errors: whether a leader's error reaches the callers that waited for it (default True).
    lease: life of the Redis claim, renewed every third of it while the call runs (default 5 s).
    wait: how long a follower waits for somebody else's call (default None: as long as it runs).
    op_timeout: bound on the store's share of one call (default 0.2 s).
    deadline: bound on one flight; then its callers get a TimeoutError and the key is free (600 s).
    on_abandon: when the last caller of a flight has gone, "finish" it for the cache (default)
        or "abandon" it.
    bulkhead: provider calls in the air in this process while no lease protects them (default 256).
    max_entry: an answer whose envelope is larger (bytes) is returned and not stored (16 MiB).
    """

    ttl: float = 86_400.0
    ttl_jitter: float = 0.0
    max_age: float | None = None
    error_ttl: float = 2.0
    retry_after_cap: float = 60.0
    share_errors: bool = True
    lease: float = 5.0
    wait: float | None = None
    op_timeout: float = 0.2
    deadline: float = 600.0
    on_abandon: Literal["finish", "abandon"] = "finish"
    bulkhead: int = 256
    max_entry: int = 16 * 2**20

    if TYPE_CHECKING:  # the constructor takes timedeltas too; the fields are seconds afterwards

        def __init__(
            self,
            *,
            ttl: Duration = 86_400.0,
            ttl_jitter: float = 0.0,
            max_age: Duration | None = None,
            error_ttl: Duration = 2.0,
            retry_after_cap: Duration = 60.0,
            share_errors: bool = True,
            lease: Duration = 5.0,
            wait: Duration | None = None,
            op_timeout: Duration = 0.2,
            deadline: Duration = 600.0,
            on_abandon: Literal["finish", "abandon"] = "finish",
            bulkhead: int = 256,
            max_entry: int = 16 * 2**20,
        ) -> None: ...

    def __post_init__(self) -> None:
        put = object.__setattr__  # frozen: this is the one place that normalises
        for name in ("ttl", "lease", "op_timeout", "deadline"):
            put(self, name, seconds(getattr(self, name), name))
        for name in ("error_ttl", "retry_after_cap"):
            put(self, name, seconds(getattr(self, name), name, zero=True))
        for name in ("wait", "max_age"):
            if getattr(self, name) is not None:
                put(self, name, seconds(getattr(self, name), name, zero=True))
        if self.lease < 0.05:
            raise ConfigurationError(f"lease takes 0.05 seconds or more; got {self.lease!r}")
        jitter: Any = self.ttl_jitter
        if isinstance(jitter, bool) or not isinstance(jitter, (int, float)) or not 0 <= jitter < 1:
            raise ConfigurationError(f"ttl_jitter takes 0 to below 1; got {jitter!r:.60}")
        if self.on_abandon not in ("finish", "abandon"):
            raise ConfigurationError(
                f'on_abandon takes "finish" or "abandon"; got {self.on_abandon!r:.60}'
            )
        if not isinstance(self.share_errors, bool):
            raise ConfigurationError(f"share_errors takes True or False; got {self.share_errors!r}")
        _count(self.bulkhead, "bulkhead")
        _count(self.max_entry, "max_entry")

    def replace(self, **changes: Any) -> Policy:
        """This policy with some fields changed."""
        return dataclasses.replace(self, **changes)
