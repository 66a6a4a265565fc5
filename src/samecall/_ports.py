"""What an outsider implements (store, codec, clock, observer) and the records they exchange."""

from __future__ import annotations

import enum
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec

from samecall._entry import Key, Payload
from samecall._events import (
    BreakerChanged,
    CallAnswered,
    CallUncached,
    EntryRefreshed,
    EntryUndecodable,
    Event,
    Observer,
    ProviderAsked,
    ProviderCalled,
    StoreFaulted,
)
from samecall._replies import (
    EPOCH_NONE,
    EPOCH_UNTOLD,
    SEEN_ANY,
    SEEN_NOTHING,
    Acquired,
    Failed,
    Found,
    Hit,
    Lead,
    Offer,
    Wait,
)

__all__ = [
    "EPOCH_NONE",
    "EPOCH_UNTOLD",
    "SEEN_ANY",
    "SEEN_NOTHING",
    "Acquired",
    "Bell",
    "BreakerChanged",
    "CallAnswered",
    "CallUncached",
    "Clock",
    "Codec",
    "EntryRefreshed",
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
    "Offer",
    "ProviderAsked",
    "ProviderCalled",
    "Reach",
    "Store",
    "StoreFaulted",
    "StreamCodec",
    "Wait",
]

T = TypeVar("T")


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
        """Delete value, error and lease; for `tombstone` seconds no open flight may commit.

        Each time leaves another epoch; a shorter `tombstone` does not shorten one that stands.
        """
        ...

    async def generations(
        self, namespace: str, tags: Sequence[str], ttl: float, offers: Sequence[Offer] = ()
    ) -> tuple[bytes, ...]:
        """The generation of each tag: random bytes that last until something is forgotten by it.

        The tag "" is the namespace itself. One that is missing is made, never counted; each lives
        for `ttl` seconds more at the least. offers: one a tag, sealed; without, the store makes 16
        bytes, and what is neither a sealed one nor of its own making may have another in its place.
        """
        ...

    async def renew_generation(self, namespace: str, tag: str) -> None:
        """From now on the tag has another generation than ever before."""
        ...

    async def clear(self, namespace: str) -> int:
        """Delete all entries of a namespace, however long that takes; how many there were."""
        ...

    def walk(self, namespace: str) -> AsyncIterator[tuple[Key, Found]]:
        """The values of a namespace, in any order and in small steps; calls go on meanwhile.

        One that is there all the while comes at least once; one that comes or goes may come.
        """
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

    async def commit(
        self,
        key: Key,
        token: bytes,
        seen: bytes,
        data: bytes,
        ttl: float,
        epoch: bytes = EPOCH_NONE,
    ) -> bool:
        """Store the value if the lease is ours, or if there is none and the value's stamp is still
        `seen`; and in both cases no tombstone of another epoch stands: an ACQUIRE that was carried
        out twice may have taken the lease anew after a `forget`. With `EPOCH_UNTOLD` an own lease
        counts as none. Deletes an own lease; if it stores, clears the error. Rings. False: refused.
        """
        ...

    async def fail(
        self, key: Key, token: bytes, data: bytes, ttl: float, epoch: bytes = EPOCH_NONE
    ) -> bool:
        """If the lease is ours: free it, and store a short-lived error beside the value unless a
        tombstone of another epoch stands; ring. False: nothing is stored.
        """
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

    def shown(self, value: T) -> object:
        """The answer as its caller sees it: what `Policy.should_store` and `lifetime` judge."""
        ...

    def refused(self, payload: Payload) -> T:
        """The answer in a completion that its leader refused; raises as the bare client would."""
        ...

    def explain(self, error: BaseException) -> Failure:
        """How far an error of `call` may travel, and in what words."""
        ...

    def rebuild(self, record: ErrorRecord) -> BaseException:
        """The exception for a caller in another process than the leader's."""
        ...


class StreamCodec(Protocol[T]):
    """One caller's view of a stream; a chunk is opaque bytes to the cache."""

    def encode(self, item: T) -> bytes:
        """One item as a chunk; raises `Unstorable` if it has no stored form."""
        ...

    def decode(self, chunk: bytes) -> T:
        """A new item of the caller's own. Any exception means: not decodable."""
        ...

    def pack(self, chunks: Sequence[bytes], times: Sequence[float]) -> Payload:
        """A whole stream in its compact stored form; raises `Unstorable`.

        times: for each chunk the seconds since the call began. Called in a thread if it is long.
        """
        ...

    def unpack(self, payload: Payload) -> tuple[Sequence[bytes], Sequence[float]]:
        """The chunks and times of a stored stream, as many as were packed and equal to them.

        Raises `Undecodable`, also for what a call that did not stream has stored and no chunks can
        be made of.
        """
        ...

    def explain(self, error: BaseException) -> Failure:
        """How far an error of the stream may travel, and in what words."""
        ...

    def rebuild(self, record: ErrorRecord) -> BaseException:
        """The exception for a consumer in another process than the leader's."""
        ...


class Clock(Protocol):
    """Monotonic seconds; a test hands in one that it moves by hand."""

    def now(self) -> float: ...


class MonotonicClock:
    """The machine's own monotonic clock."""

    __slots__ = ()

    now = staticmethod(time.monotonic)  # twice as fast as a method: every watched hit asks it twice
