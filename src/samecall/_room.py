"""What a cache keeps for one event loop: its store, its flights, and how a flight goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from samecall._books import Books
from samecall._breaker import Breaker
from samecall._calling import Till
from samecall._copies import Copies
from samecall._entry import Entry, Freshness, Key, Kind, freshness
from samecall._envelopes import PLAIN, Envelopes
from samecall._errors import Undecodable
from samecall._failopen import FailOpenStore
from samecall._flight import Flight, Flights, Phase
from samecall._freshness import usable
from samecall._generations import Generations
from samecall._keeping import Keeper
from samecall._leading import Leader
from samecall._lease import Claim, ClaimState
from samecall._lineage import Lineage
from samecall._look import Looks
from samecall._memory import MemoryStore
from samecall._outcome import Counters, Found, Outcome, Request, ended
from samecall._policy import Policy
from samecall._ports import SEEN_ANY, SEEN_NOTHING, Clock, EntryUndecodable, Event
from samecall._ports import Found as Bytes
from samecall._prompting import Begun
from samecall._refreshing import Refresher
from samecall._reporter import Reporter
from samecall._stream import Studio
from samecall._trust import Trust

__all__ = ["Room"]

_FRESH = Freshness.FRESH
_GRAIN = 1.0  # seconds by which a store may be wrong about the age of what it has just taken
_BLIPS = 20  # looks, within one lease, for a store that is away


@dataclass(slots=True, eq=False)
class Room:
    """One event loop's part of a cache."""

    store: FailOpenStore
    l1: MemoryStore | None
    trust: Trust
    clock: Clock
    emit: Callable[[Event], None]
    counters: Counters
    books: Books
    reporter: Reporter | None
    bulkhead: asyncio.Semaphore
    report: Callable[[str], None]
    home: object = None
    envelopes: Envelopes = PLAIN
    copies: Copies = field(kw_only=True)
    flights: Flights[Outcome] = field(init=False)
    till: Till = field(init=False)
    keeper: Keeper = field(init=False)
    leader: Leader = field(init=False)
    generations: Generations = field(init=False)
    refresher: Refresher = field(init=False)
    studio: Studio = field(init=False)
    looks: Looks = field(init=False)

    def __post_init__(self) -> None:
        self.flights = Flights[Outcome](ended, self.home)
        self.trust.doubt, self.trust.doubt_all = self.flights.doubt, self.flights.doubt_all
        self.till = Till(self.clock, self.books, self.report)
        self.generations = Generations(
            self.store, self.copies, self.clock, self.trust.generations, self._lineage()
        )
        self.refresher = Refresher(self.flights, self.fly, self.clock, self.counters, self.emit)
        self.keeper = Keeper(
            self.store, self.l1, self.trust, self.clock, self.counters, self.books, self.report,
            self.envelopes, self.generations,
        )  # fmt: skip
        self.looks = Looks(self.flights, self.keeper, self.fly)
        self.studio = Studio(self.store, self.emit, self.envelopes.seals)
        self.leader = Leader(
            self.till, self.keeper, self.flights, self.bulkhead, self.clock, self.studio
        )

    def _lineage(self) -> Lineage | None:
        seals = self.envelopes.seals
        if seals is None:
            return None
        # a store that nobody else writes to is asked once, and goes on as it was told
        alone = self.copies.trusted == float("inf")
        valid_for = None if alone else seals.generation_validity
        return Lineage(seals, valid_for, self.copies.over)

    # --- who flies -------------------------------------------------------------------------------

    def at_hand(self, request: Request) -> Outcome | None:
        """What answers without a flight."""
        if self.l1 is None:
            return None
        entry = self.look(request.key, request.seen, request.policy)
        if entry is not None:
            return Found(entry, "l1")
        return self._past(request) or self._landed(request)

    def judge(self, request: Request, entry: Entry) -> bool:
        """Whether a value answers this request as old as it is, though maybe stale by now.

        One that does not may still be better than nothing, and is put by for that.
        """
        policy, now = request.policy, self.clock.now()
        if freshness(entry, policy, now) is _FRESH:
            return True
        if usable(entry, policy, now, policy.stale_while_revalidate):
            request.stale = True
            return True
        request.spare = entry  # who joins the flight may take it, though this one does not
        return False

    async def spares(self, request: Request) -> bool:
        """Whether what was put by may answer this request; nothing that was forgotten since."""
        entry, policy, space = request.spare, request.policy, request.key.namespace
        if entry is None or not usable(entry, policy, self.clock.now(), policy.stale_if_error):
            return False
        told = await self.generations.told(space, entry.tags, policy)
        over = self.copies.over(space, ("", *entry.tags), entry.generations)
        return not over if told is None else told == entry.generations

    def _landed(self, request: Request) -> Found | None:
        # an answer that is being stored is in this memory as much as one that is: nobody waits
        flight = self.flights.find((request.key, request.seen)) if self.l1 is not None else None
        outcome = None if flight is None else flight.outcome
        if not isinstance(outcome, Found) or outcome.entry.kind is not Kind.VALUE:
            return None
        return Found(outcome.entry, "l1") if self._suits(outcome, request) else None

    async def board(self, request: Request) -> Outcome | None:
        """The outcome of the flight for this request, joined or started; None: `wait` is over."""
        flight, owner = self.join(request)
        outcome = await self.flights.wait(flight, request.policy.wait, owner=owner)
        if not owner or flight.detached:
            self.spare(flight, request)
        return outcome

    def spare(self, flight: Flight[Outcome], request: Request) -> None:
        """What the one who started a flight has put by will do for those who joined it, too."""
        if flight.detached:  # forgotten since, and some may have joined it after that
            request.spare = None
        elif request.spare is None and request.seen != SEEN_ANY and flight.about is not None:
            request.spare = flight.about.spare

    def join(self, request: Request) -> tuple[Flight[Outcome], bool]:
        """The flight for this request; whether it was started for it."""
        flight = self._joinable(request)
        if flight is not None:
            return flight, False
        abandon = request.policy.on_abandon == "abandon"
        flight = self.flights.open((request.key, request.seen), request.key, abandon=abandon)
        flight.about = request
        self.looks.begin(flight, request)
        return flight, True

    def _joinable(self, request: Request) -> Flight[Outcome] | None:
        flight = self.flights.find((request.key, request.seen))
        if flight is not None and (flight.outcome is None or self._suits(flight.outcome, request)):
            return flight
        # Who takes nothing that is there joins whoever is calling; and with no store to tell
        # flights of one key apart, everybody does.
        flight = self.flights.leader(request.key)
        if flight is not None and (request.seen != SEEN_NOTHING or flight.phase is Phase.ALONE):
            return flight
        return None

    def _suits(self, outcome: Outcome, request: Request) -> bool:
        """Whether a flight that has landed, and still stores, answers one who asks only now.

        Never with an error of its caller's own: who asks again would get it again, for ever.
        """
        return (
            isinstance(outcome, Found)
            and request.seen != SEEN_ANY
            and freshness(outcome.entry, request.policy, self.clock.now()) is _FRESH
        )

    async def fly(
        self, flight: Flight[Outcome], request: Request, begun: Begun | None = None
    ) -> None:
        """Look again, ask the store once, then follow or lead."""
        # A store that is away has no word on a stream that some callers have begun to take: it may
        # be back soon, and the stream still be running.
        for _ in range(_BLIPS):
            if not await self._away(flight, request, begun):
                return
            begun = None
            await asyncio.sleep(request.policy.lease / _BLIPS)

    async def _away(self, flight: Flight[Outcome], request: Request, begun: Begun | None) -> bool:
        """One attempt; True if it came to nothing because the store is away."""
        space = request.key.namespace
        if begun is None:
            if (found := self.at_hand(request)) is not None:
                flight.land(found)
                return False
            request.fill = self.trust.begin(request.key)
            self.generations.ahead(space, request.tags, request.policy)
        else:
            begun.taken = True
            if not begun.sent:
                request.fill = self.trust.begin(request.key)
        claim = Claim(
            self.store, request.key, request.policy, request.seen, self.clock, self.emit,
            flight.follow, self.envelopes, partial(self._admits, request),
            partial(self.trust.asks, request.fill), begun,
        )  # fmt: skip
        try:
            entry = await claim.resolve()
            if entry is not None:
                until = self.copies.end(space, ("", *entry.tags))
                self.keeper.keep(flight, request, entry, until, request.era)
                waited = claim.waited or flight.generation.begun
                flight.land(Found(entry, "coalesced_remote" if waited else "l2"))
            elif not flight.generation.serves(flight.callers):
                # all were bound to a generation that has broken: nobody is left to lead for
                return claim.state is ClaimState.ALONE and flight.callers > 0
            elif claim.state is ClaimState.ALONE:
                await self.leader.lead_alone(flight, request, claim)
            else:
                request.spare = claim.still(request.spare)
                flight.enter(Phase.LEADING)
                await self.leader.lead(flight, request, claim)
            return False
        finally:
            self.trust.end(request.fill)
            await claim.close()

    async def _admits(self, request: Request, claim: Claim, entry: Entry) -> bool:
        """Whether what the store has answers the flight of this request."""
        # what was made while we waited is never too old, whatever `max_age` says; what only came
        # while we did may be from anywhere
        came = claim.waited and entry.born > claim.began - _GRAIN
        made = came or entry.kind is not Kind.VALUE
        spare = request.spare
        taken = made or self.judge(request, entry)
        if not taken and request.spare is spare:
            return False
        request.era = self.copies.era
        current, claim.compared = claim.compared, None
        if current is None:
            current = await self.generations.are(request.key, entry, request.policy)
        if not current:
            request.spare, request.stale = spare, False
        return taken and current

    def look(self, key: Key, seen: bytes, policy: Policy) -> Entry | None:
        """A fresh entry from L1, unless this caller has refused what is there."""
        if self.l1 is None or seen != SEEN_NOTHING:
            return None
        entry = self.l1.look(key)
        if entry is None or freshness(entry, policy, self.clock.now()) is not _FRESH:
            return None
        return entry

    def _past(self, request: Request) -> Found | None:
        """A stale entry from L1 that will do."""
        if self.l1 is None or request.seen != SEEN_NOTHING or not request.policy.spare_for:
            return None
        entry = self.l1.look(request.key)
        return Found(entry, "l1") if entry is not None and self.judge(request, entry) else None

    async def settled(self, key: Key) -> None:
        """As `Flights.settled`; a store that is away is told later, and nobody waits for that."""
        if self.store.state is Breaker.CLOSED:
            await self.flights.settled(key)

    async def find(
        self, key: Key, policy: Policy, found: Bytes | None, window: float = 0.0
    ) -> Entry | None:
        """The value in what the store has at `key`, stale for `window` seconds at the most."""
        if found is None:
            return None
        now = self.clock.now()
        try:
            entry = self.envelopes.read(key, found.data, left=found.left, now=now)
        except Undecodable as error:
            self.emit(EntryUndecodable(key, str(error)))
            return None
        if entry.kind is not Kind.VALUE or not usable(entry, policy, now, window):
            return None
        return entry if await self.generations.are(key, entry, policy) else None

    async def aclose(self, grace: float) -> None:
        """Let answers be stored, release what is open, close the store."""
        await self.flights.aclose(grace)
        await self.generations.aclose()
        await self.studio.aclose()
        if self.reporter is not None:
            await self.reporter.aclose()
        await self.store.aclose(grace)
