"""A consumer's place in a stream that is in the air: the tape of whoever leads, item by item.

Until it has its first item a consumer may take any generation; from then on it is bound to that
one. When that one breaks it goes on from the stored value of the same stamp, or not at all.
"""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import msgspec

from samecall._books import bill
from samecall._codec import UNREADABLE
from samecall._delivery import Again
from samecall._entry import Kind
from samecall._errors import WaitTimeout
from samecall._flight import Phase
from samecall._listener import Kept, Listener
from samecall._outcome import REFUSALS, Found, Outcome, Unstored
from samecall._ports import EntryUndecodable, ErrorRecord
from samecall._room import Room
from samecall._stream import End, Tape
from samecall._watching import Watchers, pause

__all__ = ["NOTHING", "Landed", "Over", "Seat"]

NOTHING: Any = object()


class Over(Exception):
    """The stream has come to its end."""


class Landed(Exception):
    """The tape gives no more; this outcome says how it goes on."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


class Seat:
    """One consumer's place; counted among the flight's callers until `leave`."""

    def __init__(self, room: Room, request: Listener) -> None:
        request.enter()
        self._room = room
        self._request = request
        self._flight, self._owner = room.join(request)
        room.flights.enter(self._flight)
        self.tape: Tape | None = None
        self._at = 0
        self._looked = False
        self._sure = self._shunned = b""
        """Tokens: of the present generations, and of those before."""

    async def item(self) -> Any:
        """The next item; raises `Over`, `Landed`, `Again`, or what the stream raised."""
        wait, now = self._request.policy.wait, asyncio.get_running_loop().time
        ends = None if wait is None else now() + wait
        while True:
            tape = self._tuned()
            if self._at == 0 and tape is not None and not await self._is_present(tape):
                continue
            if tape is not None and self._ready(tape):
                return self._taken(tape)
            if tape is not None and tape.end is not None:
                self._ended(tape, tape.end)
            if await self._is_done(tape):
                continue
            patient = ends is None or not self._waits_for_others(tape)
            if not patient and ends is not None and now() >= ends:
                await self._tire()
            generation = self._flight.generation.watchers
            changes = (generation,) if tape is None else (generation, self._tells(tape))
            await pause(None if patient else ends, *changes)

    async def _tire(self) -> NoReturn:
        """The end of `wait`."""
        request, policy = self._request, self._request.policy
        self.share()
        if policy.on_timeout == "call" and self._at == 0 and not await self._room.spares(request):
            request.refusals = REFUSALS
            raise Again
        raise WaitTimeout(f"no item within wait of {policy.wait:g} s; the call goes on")

    def at_hand(self) -> Any:
        """The next item if it need not be waited for, else `NOTHING`; raises `Again`."""
        tape = self.tape
        if self._at == 0 or tape is None or not self._ready(tape):
            return NOTHING
        return self._taken(tape)

    def tell(self, outcome: Outcome | None) -> None:
        """Note in the request where the items come from."""
        request, tape = self._request, self.tape
        request.how = "coalesced_local" if tape is None or tape.local else "coalesced_remote"
        if tape is not None and self._leads(tape):
            request.how = "led"
        request.leader = self._flight.generation.leader
        request.entry = outcome.entry if isinstance(outcome, Found) else None

    def leave(self) -> None:
        """Give up the place; the last one to go may end the call."""
        self._leave_tape()
        if self._owner:
            self._request.leave()
        flight = self._flight
        flight.generation.bound -= self._at > 0
        self._room.flights.leave(flight)

    def share(self) -> None:
        """Have the stale entry that the flight's owner has come upon."""
        self._room.spare(self._flight, self._request)

    # --- the tape --------------------------------------------------------------------------------

    def _leads(self, tape: Tape | None) -> bool:
        """Whether it is this consumer's own call that fills the tape."""
        return tape is not None and tape is self._request.tape

    def _tells(self, tape: Tape) -> Watchers:
        return tape.owner if self._leads(tape) else tape.watchers

    def _waits_for_others(self, tape: Tape | None) -> bool:
        return not self._owner or (self._flight.phase is Phase.FOLLOWING and not self._leads(tape))

    def _tuned(self) -> Tape | None:
        """The tape of who leads, unless this consumer is bound to another one."""
        leader = self._flight.generation.leader
        if leader in (b"", self._shunned) or self._at:
            return self.tape
        if self.tape is None or self.tape.token != leader:
            self._leave_tape()
            request, elsewhere = self._request, self._flight.phase is Phase.FOLLOWING
            tune = self._room.studio.tune
            self.tape = tune(request.key, leader, request.policy, elsewhere=elsewhere)
        return self.tape

    async def _is_present(self, tape: Tape) -> bool:
        """Whether what is on the tape, if it is that far, is an answer to who asks now.

        A call that began before a `forget_tag` or a `clear` goes on, and so does its recording.
        """
        if not tape.chunks and tape.end is None:
            return True
        if self._sure == tape.token or self._flight.phase is not Phase.FOLLOWING:
            return True
        request = self._request
        if await self._room.generations.are(request.key, tape, request.policy):
            self._sure = tape.token
            return True
        self._leave_tape()
        self.tape, self._shunned = None, tape.token
        return False

    def _leave_tape(self) -> None:
        if self.tape is not None:
            self._room.studio.leave(self.tape)

    def _ready(self, tape: Tape) -> bool:
        return bool(self._request.items) if self._leads(tape) else self._at < len(tape.chunks)

    def _taken(self, tape: Tape) -> Any:
        request = self._request
        if self._leads(tape):
            item = request.items.popleft()
            request.taken.set()
            if type(item) is Kept:
                item = self._decoded(item.chunk)
        else:
            item = self._decoded(tape.chunks[self._at])
        if self._at == 0:
            self._flight.generation.bind()
            request.takes(tape.token)
        self._at += 1
        return item

    def _decoded(self, chunk: bytes) -> Any:
        try:
            return self._request.stream.decode(chunk)
        except Exception as error:  # as for entries: a miss, whatever it is
            self._room.emit(EntryUndecodable(self._request.key, type(error).__name__))
            self._request.refusals = REFUSALS
            raise Again from error

    # --- its end ---------------------------------------------------------------------------------

    def _ended(self, tape: Tape, end: End) -> None:
        """What the end of a tape says to who has taken all of it."""
        request = self._request
        if self._leads(tape):
            return
        self.tell(None)
        match end:
            case End.DONE:
                # the entry may not be there yet, or never will be
                request.spent = bill(request, tape)
                raise Over
            case End.ERROR:
                raise request.codec.rebuild(_told(tape.error))
            case End.UNSTORABLE:
                request.refusals = REFUSALS
                raise Again
            case End.BROKEN if self._at:
                raise Again
            case End.BROKEN | End.OVERFLOW:
                return  # what becomes of the flight tells how it goes on

    async def _is_done(self, tape: Tape | None) -> bool:
        """Whether there is more on the tape after all; raises where the flight tells the rest."""
        outcome = self._flight.outcome
        if tape is not None and isinstance(outcome, (Found, Unstored)) and outcome.live is tape:
            self.tell(outcome)
            raise Over if self._leads(tape) or tape.end is None else Again
        bound = tape if self._at and tape is not None else None
        other = bound is not None and self._flight.generation.leader != bound.token
        if outcome is None and not other:
            return False
        if bound is None:
            raise Landed(outcome) if outcome is not None else Again
        found = outcome if isinstance(outcome, Found) and not other else None
        same = found is not None and found.entry.stamp == bound.token
        if found is not None and same and found.entry.kind is Kind.VALUE:
            raise Landed(found)
        # one that ended well is a whole answer, though nothing may be stored of it
        landed = bound.local and outcome is not None and found is None and not bound.whole
        if landed and outcome is not None and not other:
            raise Landed(outcome)  # what became of the call that fills the tape
        # another generation, an error, or nothing: what is on this tape still comes first
        if bound.local and self._room.studio.records(bound):
            return False
        if not self._looked and bound.end is None and not bound.local:
            self._looked = True
            await self._room.studio.look_again(bound)
            return True
        if bound.whole:
            self.tell(None)
            raise Over
        if found is not None and same:
            raise Landed(found)
        raise Again


def _told(data: bytes) -> ErrorRecord:
    try:
        return msgspec.msgpack.decode(data, type=ErrorRecord)
    except UNREADABLE as error:
        raise Again from error
