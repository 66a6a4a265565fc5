"""`Cache`: the story of a request."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Sequence,
)
from os import PathLike
from typing import Any, Self, TypeVar, cast

from samecall._arguments import L1, MODES, Mode, check_namespace, check_tags, instance
from samecall._asking import ask, missing
from samecall._delivery import Again, deliver, instead
from samecall._entry import Key
from samecall._envelopes import Envelopes
from samecall._errors import ConfigurationError
from samecall._forgetting import Forgetting
from samecall._listener import listener
from samecall._memoize import Memoizing
from samecall._memory import MemoryStore
from samecall._moving import Imported, export_to, import_from
from samecall._named import PLAIN_CODEC, Named
from samecall._open import is_store, open_store
from samecall._outcome import REFUSALS, Request
from samecall._playback import one_of, play
from samecall._policy import Policy
from samecall._ports import (
    SEEN_ANY,
    SEEN_NOTHING,
    Clock,
    Codec,
    LeaseStore,
    MonotonicClock,
    Observer,
    StreamCodec,
)
from samecall._rooms import Rooms, Statistics
from samecall._seal import Seal
from samecall._several import Turns
from samecall._stream import TrackCodec
from samecall._warming import Warmed, warm

__all__ = ["L1", "MODES", "Cache", "Mode", "check_namespace"]

T = TypeVar("T")


class Cache(Named, Memoizing):
    """Keeps the answers of calls, and makes one call of those that run at the same moment.

    url_or_store: where answers are shared: `memory://`, `disk:///path`, `redis://`, `rediss://`,
        `redis+unix://`, `redis+cluster://`, `redis+sentinel://`, the same with `valkey`,
        `embedded://`, a ready client of `redis.asyncio`, a `LeaseStore`, or a list, nearest first.
    namespace: entries of one namespace are never seen by another.
    policy: how calls are kept, waited for and paid, unless a call says otherwise.
    l1: bounds of the copies in this process; None keeps none.
    secret: keys the digests, so that who reads the store cannot test guesses of a prompt; the
        whole fleet must use the same one (16 bytes or more).
    seal: keys that entries are sealed with, so that who writes to the store without one can cause
        misses only, and who reads it reads nothing.
    observers: told of every event.
    report: whether this process leaves a record of its counts in the store, at most once a second,
        for `samecall top` and `stats`.

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
        seal: Seal | None = None,
        observers: Sequence[Observer] = (),
        report: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self.namespace = check_namespace(namespace)
        self.policy = instance(policy if policy is not None else Policy(), Policy, "policy")
        if l1 is not None:
            instance(l1, L1, "l1")
        if secret is not None and len(instance(secret, bytes, "secret")) < 16:
            raise ConfigurationError("secret takes 16 bytes or more")
        self.secret = secret
        self._clock = clock or MonotonicClock()
        size = l1 or L1()
        opener, where = open_store(url_or_store, entries=size.entries, size=size.bytes)
        l1_ttl = l1.ttl if l1 is not None else 0.0
        if seal is not None:
            instance(seal, Seal, "seal")
        # what stays in this process, L1 and store in one, stays as it is
        alone = where == "memory://" and seal is None and l1 is not None
        self._rooms = Rooms(
            opener, where, self.policy, self._make_l1(l1, opener, alone=alone), l1_ttl, self._clock,
            observers, borrowed=is_store(url_or_store), namespace=self.namespace,
            reports=instance(report, bool, "report"), envelopes=Envelopes(seal, not alone),
        )  # fmt: skip
        self._forgetting = Forgetting(self._rooms, self.policy)
        self._turns = Turns()

    def _make_l1(
        self, l1: L1 | None, opener: Callable[[], LeaseStore], *, alone: bool
    ) -> MemoryStore | None:
        if l1 is None:
            return None
        if alone:
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
        tags: Collection[str] = (),
        asked: object = None,
    ) -> T:
        """The answer to `key`: kept, or of a call in the air, or of `call`, awaited once.

        key: `str`, `bytes` or a `Key`. call: takes no argument. codec: how the answer is stored;
        without one it must be plain JSON data or bytes. mode: "use"; "refresh" (call, or join a
        refresh in the air, and store); "bypass" (neither read, wait nor store); "only" (raise
        `CacheMiss` instead of calling). tags: names by which `forget_tag` finds what this call
        stores. asked: what `Policy.should_store` is told of the call, instead of `key`.

        Raises what `call` raises; `WaitTimeout` when `policy.wait` ended for a follower;
        `DeadlineExceeded`; `ReentrantCall`; `RemoteCallError` for a leader in another process.
        """
        if mode in ("refresh", "only") and (policy or self.policy).variants > 1:
            several = self._several(key, policy or self.policy, mode)
            one, single = await several.one(), several.policy
            answer = await self.get_or_call(
                one, call, policy=single, codec=codec, mode=mode, tags=tags, asked=asked or key
            )
            await several.settle(one)
            return answer
        request = self._request(key, call, policy, codec, mode, tags, asked)
        room = self._rooms.here()
        books = room.books
        books.opened(request)
        try:
            while mode != "bypass" and request.refusals < REFUSALS and not room.flights.closed:
                outcome = room.at_hand(request) or await ask(room, request, mode)
                try:
                    return cast("T", books.answered(request, deliver(room, request, outcome)))
                except Again:
                    continue
            if mode == "only":
                raise missing(request.key)
            return cast("T", books.answered(request, await room.till.direct(request)))
        except BaseException as error:  # noqa: BLE001 - it is raised, unless a stale answer will do
            return cast("T", await instead(room, request, error))

    def at_hand(self, key: Key, codec: Codec[T], policy: Policy | None = None) -> T | None:
        """The answer that this process has in memory, as an L1 hit; None: ask `get_or_call`."""
        room = self._rooms.here()
        policy = policy or self.policy
        if policy.variants > 1 or policy.early_refresh:
            return None
        began = room.books.starts()
        entry = room.look(key, SEEN_NOTHING, policy)
        if entry is None:
            return None
        try:
            answer = codec.decode(entry.payload)
        except Exception:  # noqa: BLE001 - get_or_call meets it too, and counts it
            return None
        room.books.at_hand(key, entry, began)
        return answer

    def stream(
        self,
        key: str | bytes | Key,
        call: Callable[[], Awaitable[AsyncIterator[T]]],
        *,
        policy: Policy | None = None,
        codec: StreamCodec[T] | None = None,
        mode: Mode = "use",
        tags: Collection[str] = (),
        asked: object = None,
    ) -> AsyncGenerator[T]:
        """The items that answer `key`: kept, of a stream in the air from its start, or of `call`.

        As `get_or_call`, for a `call` that gives an async iterator; both share an entry. Raises
        `StreamInterrupted` where a stream broke after this consumer had some of it.
        """
        if mode in ("refresh", "only") and (policy or self.policy).variants > 1:
            several = self._several(key, policy or self.policy, mode)
            more: dict[str, Any] = {"mode": mode, "tags": tags, "asked": asked or key}
            return one_of(
                several,
                lambda one: self.stream(one, call, policy=several.policy, codec=codec, **more),
            )
        view = TrackCodec(codec)
        asks = self._request(key, call, policy, view, mode, tags, asked)
        request = listener(asks, view, self._clock)
        return play(self._rooms.here, request, mode)

    def _request(
        self,
        key: str | bytes | Key,
        call: Callable[[], Awaitable[object]],
        policy: Policy | None,
        codec: Codec[Any] | None,
        mode: Mode,
        tags: Collection[str] = (),
        asked: object = None,
    ) -> Request:
        if mode not in MODES:
            known = ", ".join(MODES)
            raise ConfigurationError(f"cache_mode takes one of {known}; got {mode!r:.60}")
        if policy is not None and type(policy) is not Policy:
            instance(policy, Policy, "policy")
        if not callable(call):
            raise ConfigurationError(f"call takes an async function; got {type(call).__name__}")
        policy = policy or self.policy
        return Request(
            self._key(key) if policy.variants == 1 else self._picked(key, policy),
            call,
            policy,
            codec or PLAIN_CODEC,
            SEEN_ANY if mode == "refresh" else SEEN_NOTHING,
            tags=check_tags(tags) if tags else (),
            asked=key if asked is None else asked,
            calls=mode != "only",
        )

    # --- many at once ----------------------------------------------------------------------------

    async def warm(
        self,
        calls: Iterable[Callable[[], Awaitable[object]]],
        *,
        concurrency: int = 8,
        progress: Callable[[Warmed], None] | None = None,
    ) -> Warmed:
        """Make these calls, at most `concurrency` at a time, so that their answers are kept.

        calls: async functions without arguments, such as `lambda: client.create(...)`; taken as
        they are needed. progress: told after each. Errors of calls are counted and do not end it.
        """
        return await warm(calls, concurrency, progress, self._rooms.here().flights.storing)

    async def export(self, path: str | PathLike[str], *, namespace: str | None = None) -> int:
        """Write the values of a namespace (default: the cache's own) to a file; how many.

        JSON Lines; there once it is whole. Sealed entries move sealed. Raises `StoreError` and
        `OSError`.
        """
        name = self.namespace if namespace is None else check_namespace(namespace)
        return await export_to(self._rooms.here(), path, name, self.policy, self.secret)

    async def import_(self, path: str | PathLike[str], *, namespace: str | None = None) -> Imported:
        """Store the entries of an exported file, in its namespace or another.

        Raises `Undecodable` with the number of the line that is damaged, stands twice or cannot be
        opened; what stands before it is stored. Raises `StoreError` and `OSError`.
        """
        name = None if namespace is None else check_namespace(namespace)
        return await import_from(self._rooms.here(), path, name, self.policy, self.secret)

    # --- what is counted -------------------------------------------------------------------------

    def statistics(self) -> Statistics:
        """Counts since this cache was made, in this process and over all its event loops."""
        return self._rooms.statistics()

    def report_uncached(self, reason: str) -> None:
        """Count a call or an answer that cannot be cached; warn once per reason."""
        self._rooms.report_uncached(reason)

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
