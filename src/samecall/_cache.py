"""`Cache`: the story of a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Self, TypeVar, cast

from samecall._arguments import L1, MODES, Mode, check_namespace, instance
from samecall._codec import PlainCodec
from samecall._delivery import Again, deliver
from samecall._entry import Entry, Freshness, Key, Kind, decode_entry, freshness
from samecall._errors import (
    CacheMiss,
    ConfigurationError,
    Undecodable,
    WaitTimeout,
)
from samecall._key import key_from
from samecall._memory import MemoryStore
from samecall._open import is_store, open_store
from samecall._outcome import REFUSALS, Found, Outcome, Request
from samecall._policy import Policy
from samecall._ports import (
    SEEN_ANY,
    SEEN_NOTHING,
    Clock,
    Codec,
    EntryUndecodable,
    LeaseStore,
    MonotonicClock,
    Observer,
)
from samecall._ports import Found as Bytes
from samecall._room import Room
from samecall._rooms import Rooms, Statistics

__all__ = ["L1", "MODES", "Cache", "Mode", "check_namespace"]

T = TypeVar("T")
_UNTRACKED = 1.0  # seconds that L1 may trust a shared store that does not tell of changes
_PLAIN = PlainCodec()


class Cache:
    """Keeps the answers of calls, and makes one call of those that run at the same moment.

    url_or_store: where answers are shared: `memory://`, `redis://`, `rediss://`, `redis+unix://`,
        the same with `valkey`, `embedded://`, a ready `redis.asyncio.Redis`, or a `LeaseStore`.
    namespace: entries of one namespace are never seen by another.
    policy: how calls are kept, waited for and paid, unless a call says otherwise.
    l1: bounds of the copies in this process; None keeps none.
    secret: keys the digests, so that who reads the store cannot test guesses of a prompt; the
        whole fleet must use the same one (16 bytes or more).
    observers: told of every event.

    Works at module level and in any number of event loops; `async with` or `aclose()` ends it in
    good order. Raises `ConfigurationError` for arguments that cannot be used.
    """

    def __init__(
        self,
        url_or_store: object = "memory://",
        *,
        namespace: str = "default",
        policy: Policy | None = None,
        l1: L1 | None = L1(),  # noqa: B008 - frozen
        secret: bytes | None = None,
        observers: Sequence[Observer] = (),
        clock: Clock | None = None,
    ) -> None:
        self.namespace = check_namespace(namespace)
        self.policy = instance(policy if policy is not None else Policy(), Policy, "policy")
        if l1 is not None:
            instance(l1, L1, "l1")
        if secret is not None and len(instance(secret, bytes, "secret")) < 16:
            raise ConfigurationError("secret takes 16 bytes or more")
        self.secret = secret[:64] if secret is not None else None
        self._clock = clock or MonotonicClock()
        size = l1 or L1()
        opener, where = open_store(url_or_store, entries=size.entries, size=size.bytes)
        l1_ttl = min(l1.ttl, _UNTRACKED) if l1 is not None else 0.0
        self._rooms = Rooms(
            opener, where, self.policy, self._make_l1(l1, opener, where), l1_ttl, self._clock,
            tuple(observers), borrowed=is_store(url_or_store),
        )  # fmt: skip

    def _make_l1(
        self, l1: L1 | None, opener: Callable[[], LeaseStore], where: str
    ) -> MemoryStore | None:
        if l1 is None:
            return None
        if where == "memory://":
            return cast("MemoryStore", opener())
        return MemoryStore(entries=l1.entries, bytes=l1.bytes, clock=self._clock)

    # --- the story of a request ------------------------------------------------------------------

    async def get_or_call(
        self,
        key: str | bytes | Key,
        call: Callable[[], Awaitable[T]],
        *,
        policy: Policy | None = None,
        codec: Codec[T] | None = None,
        mode: Mode = "use",
    ) -> T:
        """The answer to `key`: kept, or of a call in the air, or of `call`, awaited once.

        key: `str`, `bytes` or a `Key`. call: takes no argument. codec: how the answer is stored;
        without one it must be plain JSON data or bytes. mode: "use"; "refresh" (call, or join a
        refresh in the air, and store); "bypass" (neither read, wait nor store); "only" (raise
        `CacheMiss` instead of calling).

        Raises what `call` raises; `WaitTimeout` when `policy.wait` ended for a follower;
        `DeadlineExceeded`; `ReentrantCall`; `RemoteCallError` for a leader in another process.
        """
        request = self._request(key, call, policy, codec, mode)
        room = self._rooms.here()
        room.counters.calls += 1
        try:
            while mode != "bypass" and request.refusals < REFUSALS and not room.flights.closed:
                outcome = room.at_hand(request) or await self._ask(room, request, mode)
                try:
                    return cast("T", room.answered(request, deliver(room, request, outcome)))
                except Again:
                    continue
            if mode == "only":
                raise _missing(request.key)
            return cast("T", room.answered(request, await room.till.direct(request)))
        except BaseException as error:
            room.failed(request, error)
            raise

    def _request(
        self,
        key: str | bytes | Key,
        call: Callable[[], Awaitable[T]],
        policy: Policy | None,
        codec: Codec[T] | None,
        mode: Mode,
    ) -> Request:
        if mode not in MODES:
            known = ", ".join(MODES)
            raise ConfigurationError(f"cache_mode takes one of {known}; got {mode!r:.60}")
        if policy is not None and type(policy) is not Policy:
            instance(policy, Policy, "policy")
        if not callable(call):
            raise ConfigurationError(f"call takes an async function; got {type(call).__name__}")
        return Request(
            self._key(key),
            call,
            policy or self.policy,
            codec or _PLAIN,
            SEEN_ANY if mode == "refresh" else SEEN_NOTHING,
            self._clock.now() if self._rooms.observers else 0.0,
        )

    async def _ask(self, room: Room, request: Request, mode: Mode) -> Outcome:
        """The outcome of a flight, or with "only" of a look into the store."""
        if mode == "only":
            policy = request.policy
            found = await room.store.find(request.key, policy.op_timeout)
            entry = self._read(room, request.key, policy, found)
            if entry is None or entry.stamp == request.seen:
                raise _missing(request.key)
            return Found(entry, "l2")
        outcome = await room.board(request)
        if outcome is None:
            wait = request.policy.wait
            raise WaitTimeout(f"no answer within wait of {wait:g} s; the call goes on")
        return outcome

    def _read(self, room: Room, key: Key, policy: Policy, found: Bytes | None) -> Entry | None:
        if found is None:
            return None
        now = self._clock.now()
        try:
            entry = decode_entry(key, found.data, left=found.left, now=now)
        except Undecodable as error:
            room.emit(EntryUndecodable(key, str(error)))
            return None
        fresh = freshness(entry, policy, now) is Freshness.FRESH
        return entry if fresh and entry.kind is Kind.VALUE else None

    # --- asked for by name -----------------------------------------------------------------------

    async def peek(self, key: str | bytes | Key, *, codec: Codec[T] | None = None) -> T | None:
        """The fresh stored answer, or None; calls nobody. Raises `StoreError`."""
        room, at = self._rooms.here(), self._key(key)
        found = await room.store.get(at, self.policy.op_timeout)
        entry = self._read(room, at, self.policy, found)
        if entry is None:
            return None
        try:
            return (codec or cast("Codec[T]", _PLAIN)).decode(entry.payload)
        except Exception as error:  # noqa: BLE001 - as in a call: what cannot be read is not there
            room.emit(EntryUndecodable(at, type(error).__name__))
            return None

    async def forget(self, key: str | bytes | Key) -> None:
        """Nothing that was begun before comes back after: entry, error and flights of `key`.

        Those who wait for a flight already still get its answer. Raises `StoreError`.
        """
        at = self._key(key)
        await self._forget(
            lambda other: other == at, lambda l1: l1.drop(at), self._store_forget(at)
        )

    async def clear(self, namespace: str | None = None) -> None:
        """Forget every entry of a namespace (default: the cache's own). Raises `StoreError`."""
        name = check_namespace(namespace) if namespace is not None else self.namespace
        room = self._rooms.here()
        await self._forget(
            lambda key: isinstance(key, Key) and key.namespace == name,
            lambda l1: l1.drop_namespace(name),
            room.store.clear(name),
        )

    async def _forget(
        self,
        mine: Callable[[Hashable], bool],
        drop: Callable[[MemoryStore], object],
        forgetting: Awaitable[object],
    ) -> None:
        # twice: what started between the first time and the store's deletion may hold the old entry
        l1 = self._rooms.l1
        self._rooms.detach(mine)
        if l1 is not None:
            drop(l1)
        try:
            await forgetting
        finally:
            self._rooms.detach(mine)
            if l1 is not None:
                drop(l1)

    async def _store_forget(self, key: Key) -> None:
        store, policy = self._rooms.here().store, self.policy
        # as long as a flight that is in the air now may still commit
        tombstone = policy.deadline + policy.lease + policy.op_timeout
        await store.forget(key, tombstone, policy.op_timeout)

    def statistics(self) -> Statistics:
        """Counts since this cache was made, in this process and over all its event loops."""
        return self._rooms.statistics()

    def report_uncached(self, reason: str) -> None:
        """Count a call or an answer that cannot be cached; warn once per reason."""
        self._rooms.report_uncached(reason)

    def report_stream(self) -> None:
        """Count a streaming call that passes through."""
        self._rooms.here().counters.streams += 1

    # --- the end ---------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Store what has been answered, release what is open, close what was opened.

        Ends this event loop's part; a later call starts anew.
        """
        await self._rooms.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def _key(self, key: str | bytes | Key) -> Key:
        return key if type(key) is Key else key_from(key, self.namespace, self.secret)


def _missing(key: Key) -> CacheMiss:
    return CacheMiss(f"no entry for key {key.hex[:16]} in {key.namespace!r}")
