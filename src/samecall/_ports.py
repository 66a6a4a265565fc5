"""What an outsider implements (store, codec, clock, observer) and the records they exchange."""

from __future__ import annotations

import enum
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import msgspec

from samecall._entry import Key, Payload

__all__ = [
    "SEEN_ANY",
    "SEEN_NOTHING",
    "Acquired",
    "Bell",
    "BreakerChanged",
    "CallAnswered",
    "CallUncached",
    "Clock",
    "Codec",
    "EntryUndecodable",
    "ErrorRecord",
    "Event",
    "Failed",
    "Failure",
    "Found",
    "Hit",
    "Lead",
    "LeaseStore",
    "MonotonicClock",
    "Observer",
    "ProviderCalled",
    "Reach",
    "Store",
    "StoreFaulted",
    "Wait",
]

T = TypeVar("T")

SEEN_NOTHING = b""
"""`seen` of a caller that takes any intact value."""
SEEN_ANY = b"*"
"""`seen` of a caller that takes none of the values there now (a refresh)."""


@dataclass(frozen=True, slots=True)
class Found:
    """Bytes at a key and the seconds that the store will keep them."""

    data: bytes
    left: float


@dataclass(frozen=True, slots=True)
class Hit(Found):
    """ACQUIRE: a value is there."""


@dataclass(frozen=True, slots=True)
class Failed(Found):
    """ACQUIRE: a leader failed a moment ago; `data` is an entry of kind ERROR or REFUSED."""


@dataclass(frozen=True, slots=True)
class Wait:
    """ACQUIRE: `token` leads; its lease ends in `left` seconds unless renewed."""

    token: bytes
    left: float
    seen: bytes
    """Stamp of the value that is there now (`SEEN_NOTHING`: none)."""


@dataclass(frozen=True, slots=True)
class Lead:
    """ACQUIRE: the lease is ours."""

    seen: bytes
    """Stamp of the value that is there now (`SEEN_NOTHING`: none); COMMIT wants it back."""


Acquired = Hit | Failed | Wait | Lead


class Bell(Protocol):
    """Rings when something happened at one key. A ring is a hint: the key is the truth."""

    async def wait(self, timeout: float) -> bytes | None:
        """The next message: entry bytes that ride in it, or b"" for "look again".

        None when `timeout` seconds went by. A lost or renewed subscription rings with b"".
        """
        ...


class Store(Protocol):
    """A place that holds entries. Every method may raise `StoreError`, and nothing else."""

    async def get(self, key: Key) -> Found | None:
        """The bytes at `key`, unread."""
        ...

    async def set(self, key: Key, data: bytes, ttl: float) -> None:
        """Put bytes at `key` for `ttl` seconds, whoever leads."""
        ...

    async def forget(self, key: Key, tombstone: float) -> None:
        """Delete value, error and lease; for `tombstone` seconds no open flight may commit."""
        ...

    async def clear(self, namespace: str) -> int:
        """Delete all entries of a namespace; how many there were."""
        ...

    async def ping(self) -> None:
        """Return if the store answers and takes writes."""
        ...

    async def aclose(self) -> None:
        """Free what this store opened itself."""
        ...


class LeaseStore(Store, Protocol):
    """A store through which processes agree on one leader per key (design: ACQUIRE ... RELEASE)."""

    async def acquire(self, key: Key, token: bytes, seen: bytes, lease: float) -> Acquired:
        """Look at value, error and lease, and take the lease if nothing answers.

        A value whose stamp is `seen` counts as absent, any value if `seen` is `SEEN_ANY`. An own
        lease gives `Lead` again, so that a retry after a lost reply is safe. A lease without a
        TTL, or a value of the wrong type, counts as absent.
        """
        ...

    async def renew(self, key: Key, token: bytes, lease: float) -> bool:
        """Lengthen an own lease to `lease` seconds; False if it is lost."""
        ...

    async def commit(self, key: Key, token: bytes, seen: bytes, data: bytes, ttl: float) -> bool:
        """Store the value if the lease is ours, or if there is none, no tombstone, and the value's
        stamp is still `seen`. Deletes an own lease, clears the error, rings. False: refused.
        """
        ...

    async def fail(self, key: Key, token: bytes, data: bytes, ttl: float) -> bool:
        """If the lease is ours: store a short-lived error beside the value, free it, ring."""
        ...

    async def release(self, key: Key, token: bytes) -> bool:
        """If the lease is ours: free it and ring. Safe for a token that never led."""
        ...

    def listen(self, key: Key) -> AbstractAsyncContextManager[Bell]:
        """Subscribe to a key; entered once the store has confirmed it."""
        ...


class Reach(enum.Enum):
    """How far a leader's error may travel."""

    OWN = "own"
    """The leader's own limits (its timeout, token budget): the next caller leads again."""
    PROCESS = "process"
    """Everybody who waits in this process (401, 403, connection errors)."""
    FLEET = "fleet"
    """Everybody who waits, and for `error_ttl` everybody who asks."""


class ErrorRecord(msgspec.Struct, array_like=True, frozen=True):
    """A leader's error as it crosses processes: told, never unpickled."""

    class_name: str
    message: str
    status: int | None = None
    retry_after: float | None = None
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Failure:
    """What a codec says of an error that `call` raised.

    `completion`: what the provider answered, where only its validation failed; it is shared as
    refused and every waiter parses it itself.
    """

    reach: Reach
    record: ErrorRecord
    completion: Payload | None = None


class Codec(Protocol[T]):
    """Object to bytes and back, and errors likewise. Belongs to one caller of one call."""

    def encode(self, value: T) -> Payload:
        """The stored form of an answer; raises `Unstorable` if it has none."""
        ...

    def decode(self, payload: Payload) -> T:
        """A new object of the caller's own. Any exception means: not decodable, a miss."""
        ...

    def refused(self, payload: Payload) -> T:
        """A completion that failed its leader's validation, for this caller to parse itself.

        Returns the answer, or raises what the bare client would raise.
        """
        ...

    def explain(self, error: BaseException) -> Failure:
        """How far an error of `call` may travel, and in what words."""
        ...

    def rebuild(self, record: ErrorRecord) -> BaseException:
        """The exception for a caller in another process than the leader's."""
        ...


class Clock(Protocol):
    """Monotonic seconds; a test hands in one that it moves by hand."""

    def now(self) -> float: ...


class MonotonicClock:
    """The machine's own monotonic clock."""

    __slots__ = ()

    def now(self) -> float:
        return time.monotonic()


@dataclass(frozen=True, slots=True)
class CallAnswered:
    """A caller has its answer. `how`: l1, l2, led, coalesced_local, coalesced_remote, bypass."""

    key: Key
    how: str
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderCalled:
    """The provider was called: how long it took and what class of error it raised, if any."""

    key: Key
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class CallUncached:
    """A call or an answer went uncached; `reason` names what cannot be keyed or stored."""

    reason: str


@dataclass(frozen=True, slots=True)
class EntryUndecodable:
    """Bytes at a key were refused and count as a miss."""

    key: Key
    reason: str


@dataclass(frozen=True, slots=True)
class StoreFaulted:
    """A store operation failed or took too long."""

    operation: str
    error: str


@dataclass(frozen=True, slots=True)
class BreakerChanged:
    """The breaker around a store opened (calls go on without it) or closed again."""

    open: bool
    at: float = field(default_factory=time.time)


Event = (
    CallAnswered | ProviderCalled | CallUncached | EntryUndecodable | StoreFaulted | BreakerChanged
)


class Observer(Protocol):
    """Hears what happens, in the event loop's thread: be quick. Its exceptions become warnings."""

    def on_event(self, event: Event) -> None: ...
