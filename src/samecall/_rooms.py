"""The rooms of a cache, one per event loop, and what is added up over all of them."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields

import msgspec

from samecall._arguments import check_observers, knowing
from samecall._books import Books
from samecall._copies import Copies
from samecall._envelopes import PLAIN, Envelopes
from samecall._events import HearsHits, hears_hits
from samecall._failopen import FailOpenStore
from samecall._flight import Flight
from samecall._lineage import Floors
from samecall._memory import MemoryStore
from samecall._outcome import FAULTS, Counters, Outcome
from samecall._policy import Policy
from samecall._ports import (
    CallUncached,
    Clock,
    EntryUndecodable,
    Event,
    LeaseStore,
    Observer,
    StoreFaulted,
)
from samecall._report import Report
from samecall._reporter import Reporter, Worker, added, board_of
from samecall._room import Room
from samecall._seal import UNOPENED
from samecall._tally import Tally
from samecall._trust import UNTRACKED, Trust
from samecall._warn import warn

__all__ = ["Rooms", "Statistics"]

_WARNINGS = 1_000


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the cache was made, in this process.

    Every call is counted in `calls` and, once answered, in one of `l1_hits`, `l2_hits`,
    `coalesced_local` (joined a flight of this process), `coalesced_remote` (waited for another
    process), `led` (its own call answered), or `errors` (it ended with an exception, whose ever,
    its cancellation included). `provider_calls` are those handed to the provider (reasks inside
    one call are not told apart); a call whose callers have all gone is among them and in no
    other count. `uncached` counts what could not be keyed or stored, `unwanted` what the policy
    did not want stored; `stale` the answers given although stale, `refreshes` the calls begun in
    the background to renew an answer, `refresh_errors` those of them that did not;
    `streams` those of the calls that asked for a stream. `flights` and `callers_waiting` are now.
    """

    calls: int = 0
    l1_hits: int = 0
    l2_hits: int = 0
    coalesced_local: int = 0
    coalesced_remote: int = 0
    led: int = 0
    errors: int = 0
    provider_calls: int = 0
    provider_errors: int = 0
    stored: int = 0
    uncached: int = 0
    unwanted: int = 0
    stale: int = 0
    refreshes: int = 0
    refresh_errors: int = 0
    streams: int = 0
    undecodable: int = 0
    store_faults: int = 0
    flights: int = 0
    callers_waiting: int = 0


@dataclass(eq=False)
class Rooms:
    """Makes a room for each event loop that asks, and knows them all."""

    open: Callable[[], LeaseStore]
    where: str
    policy: Policy
    l1: MemoryStore | None
    l1_ttl: float
    clock: Clock
    observers: Sequence[Observer]
    borrowed: bool = False
    namespace: str = "default"
    reports: bool = True
    envelopes: Envelopes = PLAIN
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _rooms: dict[asyncio.AbstractEventLoop, Room] = field(
        default_factory=dict[asyncio.AbstractEventLoop, Room]
    )
    _left: list[object] = field(default_factory=list[object])
    _counters: dict[asyncio.AbstractEventLoop, Counters] = field(
        default_factory=dict[asyncio.AbstractEventLoop, Counters]
    )
    _past: Counters = field(default_factory=Counters)
    _tallies: dict[asyncio.AbstractEventLoop, Tally] = field(
        default_factory=dict[asyncio.AbstractEventLoop, Tally]
    )
    _past_tally: Tally = field(default_factory=Tally)
    _worker: Worker | None = None
    copies: Copies = field(init=False)
    _hears: tuple[tuple[Observer, Callable[[Event], None]], ...] = ()
    _hits: tuple[HearsHits, ...] = ()
    _warned: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        knowing(self.clock, "now", "clock")
        self.observers = check_observers(self.observers)
        hits = [hears_hits(observer) for observer in self.observers]
        self._hits = tuple(hit for hit in hits if hit is not None) if all(hits) else ()
        self._hears = tuple((observer, observer.on_event) for observer in self.observers)
        # a store of this cache alone is changed by nobody else
        trusted = float("inf") if self.where == "memory://" else min(self.l1_ttl, UNTRACKED)
        self.copies = Copies(
            self.clock, trusted, self._outdate, Floors() if self.envelopes.seals else None
        )
        if self.l1 is not None:
            self.l1.admits = self.copies.admits
        _all.add(self)

    def _outdate(self) -> None:
        if self.l1 is not None:
            self.l1.era += 1

    def here(self) -> Room:
        """The room of the running event loop."""
        loop = asyncio.get_running_loop()
        room = self._rooms.get(loop)
        return room if room is not None else self._furnish(loop)

    def _furnish(self, loop: asyncio.AbstractEventLoop) -> Room:
        with self._lock:
            for old in [old for old in self._counters if old.is_closed()]:
                self._rooms.pop(old, None)
                self._past = _sum((self._past, self._counters.pop(old)))
                if old in self._tallies:
                    self._past_tally = added((self._past_tally, self._tallies.pop(old)))
            counters = self._counters.setdefault(loop, Counters())

        def emit(event: Event) -> None:
            kind = type(event)
            if kind is StoreFaulted:
                counters.store_faults += 1
            elif isinstance(event, EntryUndecodable):
                counters.undecodable += 1
                if event.reason in UNOPENED:
                    self._warn_once(f"entries count as misses: {event.reason} (see seal=)", 1)
            self.tell(event)

        store = FailOpenStore(self.open(), emit, self.where, borrowed=self.borrowed)
        books = Books(
            self.clock, emit, self.tell, counters, observed=bool(self.observers), hits=self._hits
        )
        reporter = self._reporter(loop, store, books)
        room = Room(
            store=store,
            l1=self.l1,
            trust=Trust(self.l1, self.l1_ttl, store.store, self.copies.take_back),
            clock=self.clock,
            emit=emit,
            counters=counters,
            books=books,
            reporter=reporter,
            bulkhead=asyncio.Semaphore(self.policy.bulkhead),
            report=self.report_uncached,
            home=self,
            envelopes=self.envelopes,
            copies=self.copies,
        )
        with self._lock:
            self._rooms[loop] = room
        room.trust.watch(self.namespace)
        return room

    def _reporter(
        self, loop: asyncio.AbstractEventLoop, store: FailOpenStore, books: Books
    ) -> Reporter | None:
        if not self.reports or board_of(store.store) is None:
            return None
        with self._lock:
            if self._worker is None:
                self._worker = Worker()
            books.tally = self._tallies.setdefault(loop, Tally())
            worker = self._worker

        def report() -> Report:
            if books.tally is not None:
                books.tally.fold()
            with self._lock:
                counters = _sum((self._past, *self._counters.values()))
                tallies = (self._past_tally, *self._tallies.values())
            return worker.report(counters, tallies)

        def quiet() -> None:
            books.quiet = True

        reporter = Reporter(
            store, self.namespace, worker.name, report, quiet, books.emit, self.policy.op_timeout
        )
        books.changed = reporter.wake
        return reporter

    def tell(self, event: Event) -> None:
        """Hand an event to the observers; what they raise becomes a warning."""
        for observer, hear in self._hears:
            try:
                hear(event)
            # an observer must never cost an answer
            except FAULTS as error:
                warn(f"observer {type(observer).__name__} raised {type(error).__name__}", 2)

    def report_uncached(self, reason: str) -> None:
        """Count a call or an answer that cannot be cached; warn once per reason."""
        self.here().counters.uncached += 1
        self.tell(CallUncached(reason))
        self._warn_once(f"not cached: {reason}", 3)

    def _warn_once(self, message: str, level: int) -> None:
        if message not in self._warned and len(self._warned) < _WARNINGS:
            self._warned.add(message)
            warn(message, level)

    def detach(self, mine: Callable[[Flight[Outcome]], bool], *, done: bool = False) -> None:
        """These flights keep nothing from now on, in every loop of this process.

        done: the store has been told. Who asks from then on joins none of their streams here.
        """
        for room in self:
            for flight in room.flights.detach(mine):
                if done:
                    room.studio.bury(flight.generation.leader)

    def __iter__(self) -> Iterator[Room]:
        with self._lock:
            return iter(tuple(self._rooms.values()))

    def statistics(self) -> Statistics:
        """The sums over all loops, those that have ended included."""
        with self._lock:
            sums = _sum((self._past, *self._counters.values()))
        now = [room.flights.statistics() for room in self]
        return Statistics(
            **dataclasses.asdict(sums),
            flights=sum(flights.flights for flights in now),
            callers_waiting=sum(flights.callers_waiting for flights in now),
        )

    async def aclose(self) -> None:
        """End the room of the running loop in good order; a later call makes a new one."""
        with self._lock:
            room = self._rooms.pop(asyncio.get_running_loop(), None)
        if room is not None:
            await room.aclose(self.policy.op_timeout)

    def after_fork(self) -> None:
        """The child shares the parent's sockets and selectors: leave them alone, for ever."""
        self._left.append(self._rooms)
        self._lock = threading.Lock()  # a thread that is not here may have held the old one
        self.copies.after_fork()
        self._rooms, self._counters, self._past = {}, {}, Counters()
        self._tallies, self._past_tally, self._worker = {}, Tally(), None


def _sum(counters: Iterable[Counters]) -> Counters:
    every = tuple(counters)
    return Counters(
        **{item.name: sum(getattr(one, item.name) for one in every) for item in fields(Counters)}
    )


_all: weakref.WeakSet[Rooms] = weakref.WeakSet()


def _after_fork() -> None:
    for rooms in tuple(_all):
        rooms.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
