"""One leader per key across processes: one flight's way through the protocol, as states.

    NEW --acquire--> ANSWERED                     an entry was there, or came while waiting
        --acquire--> LEADING --settle--> SETTLED  the lease is ours; one of COMMIT, FAIL, RELEASE
        --acquire--> ALONE   --settle--> SETTLED  no store to ask: lead in this process only

While another process leads, `resolve` waits: subscribe, look again, then look whenever the bell
rings, when the lease ends, and every 2 s in between. The second look is needed because

    1. we      ACQUIRE -> WAIT
    2. leader  COMMIT, which publishes to nobody
    3. we      SUBSCRIBE

would otherwise wait for a bell that has rung already.
"""

from __future__ import annotations

import asyncio
import enum
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from samecall._entry import (
    STAMP_END,
    STAMP_START,
    Entry,
    Freshness,
    Key,
    Kind,
    decode_entry,
    freshness,
)
from samecall._errors import Undecodable
from samecall._failopen import FailOpenStore
from samecall._policy import Policy
from samecall._ports import (
    SEEN_ANY,
    SEEN_NOTHING,
    Acquired,
    Bell,
    Clock,
    EntryUndecodable,
    Event,
    Failed,
    Hit,
    Lead,
    Wait,
)

__all__ = ["Claim", "ClaimState"]

_LONGEST_LOOK = 2.0
_RENEW_AT_LEAST = 5.0
_SILENT_AT_LEAST = 2 * _RENEW_AT_LEAST / 3
_FOREVER = float("inf")
_ROUNDS = 8


class ClaimState(enum.Enum):
    """Where a claim stands; see the module."""

    NEW = "new"
    WAITING = "waiting"
    ANSWERED = "answered"
    LEADING = "leading"
    ALONE = "alone"
    SETTLED = "settled"


class Claim:
    """One flight's claim on one key."""

    def __init__(
        self,
        store: FailOpenStore,
        key: Key,
        policy: Policy,
        seen: bytes,
        clock: Clock,
        emit: Callable[[Event], None],
        following: Callable[[], None] = lambda: None,
    ) -> None:
        self.state = ClaimState.NEW
        self.waited = False
        self._store = store
        self.key = key
        self._policy = policy
        self._seen = seen
        self._clock = clock
        self._emit = emit
        self._following = following
        self._token = os.urandom(16)
        self._base = SEEN_NOTHING  # stamp of the value that COMMIT replaces

    @property
    def stamp(self) -> bytes:
        """The stamp for what this flight makes: its token, so that waiters know whose it is."""
        return self._token

    # --- who leads -------------------------------------------------------------------------------

    async def resolve(self) -> Entry | None:
        """The entry that answers, waiting for another process if it leads; None: we lead."""
        for _ in range(_ROUNDS):
            reply = await self._acquire()
            if isinstance(reply, Wait):
                reply = await self._follow(reply)
            entry = self._judge(reply)
            if entry is not None or self.state in (ClaimState.LEADING, ClaimState.ALONE):
                return entry
        self.state = ClaimState.ALONE  # the store gives nothing but garbage for this key
        return None

    async def _acquire(self) -> Acquired | None:
        policy = self._policy
        return await self._store.acquire(
            self.key, self._token, self._seen, policy.lease, policy.op_timeout, self._late
        )

    async def _late(self, reply: Acquired) -> None:
        # an ACQUIRE that had timed out took the lease after all: settle it unless we still lead
        if isinstance(reply, Lead) and self.state is ClaimState.SETTLED:
            await self._store.give_back(self.key, self._token, self._policy.op_timeout)

    def _judge(self, reply: Acquired | None) -> Entry | None:
        match reply:
            case None:
                self.state = ClaimState.ALONE
            case Lead(seen=base):
                self.state, self._base = ClaimState.LEADING, base
            case Hit(data=data, left=left) | Failed(data=data, left=left):
                entry = self._read(data, left, error=isinstance(reply, Failed))
                if entry is not None and self._takes(entry):
                    self.state = ClaimState.ANSWERED
                    return entry
                self._seen = SEEN_ANY if isinstance(reply, Failed) else _stamp_of(data)
            case Wait():  # pragma: no cover - _follow returns only what ends the wait
                pass
        return None

    def _takes(self, entry: Entry) -> bool:
        # what was made while we waited is never too old, whatever `max_age` says
        if self.waited or entry.kind is not Kind.VALUE:
            return True
        return freshness(entry, self._policy, self._clock.now()) is Freshness.FRESH

    def _read(self, data: bytes, left: float, *, error: bool = False) -> Entry | None:
        try:
            entry = decode_entry(self.key, data, left=left, now=self._clock.now())
            if (entry.kind is not Kind.VALUE) is not error:
                raise Undecodable("an error where a value belongs, or the reverse")
            return entry
        except Undecodable as refusal:
            self._emit(EntryUndecodable(self.key, str(refusal)))
            return None

    # --- another process leads -------------------------------------------------------------------

    async def _follow(self, wait: Wait) -> Acquired | None:
        self.state, self.waited = ClaimState.WAITING, True
        self._following()
        if self._seen == SEEN_ANY:
            self._seen = wait.seen or SEEN_NOTHING  # a refresh takes what this leader will commit
        patience = max(self._policy.lease, _SILENT_AT_LEAST)
        renewals = _Renewals(wait, self._clock.now())
        async with self._store.listen(self.key, self._policy.op_timeout) as bell:
            while True:
                asked = self._clock.now()
                reply = await self._acquire()
                if not isinstance(reply, Wait):
                    return reply
                silent = renewals.silence(reply, asked, self._clock.now())
                if silent < patience:
                    pause = min(reply.left, _LONGEST_LOOK, patience - silent)
                elif await self._depose(reply):
                    continue
                else:  # the store does not take the release: never ask without a pause
                    pause = _LONGEST_LOOK
                ridden = await self._rung(bell, max(pause, 0.0) + 0.002, reply.token)
                if ridden is not None:
                    return ridden

    async def _rung(self, bell: Bell, pause: float, leader: bytes) -> Acquired | None:
        # An entry that rides is the truth only if the leader that we last saw made it: a message
        # that was long on its way may be older than a `forget`, or than what we have refused.
        data = await bell.wait(pause) or b""
        stamp = _stamp_of(data)
        if stamp != leader or stamp == self._seen:
            return None
        try:
            entry = decode_entry(self.key, data, left=_FOREVER, now=self._clock.now())
        except Undecodable as refusal:
            self._emit(EntryUndecodable(self.key, str(refusal)))
            return None
        return (Hit if entry.kind is Kind.VALUE else Failed)(data, _FOREVER)

    async def _depose(self, wait: Wait) -> bool:
        # A live leader renews at least every 5/3 s whatever its lease; this one has missed two of
        # these, and all of our own lease: it is dead, and its lease was merely longer than ours.
        gone = await self._store.release(self.key, wait.token, self._policy.op_timeout)
        return gone is not None

    # --- we lead ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def renewed(self) -> AsyncGenerator[None]:
        """Renew the lease every third of it while the body runs."""
        task = asyncio.get_running_loop().create_task(self._renew())
        try:
            yield
        finally:
            task.cancel()

    async def _renew(self) -> None:
        lease = self._policy.lease
        pause = min(lease, _RENEW_AT_LEAST) / 3
        while True:
            await asyncio.sleep(pause)
            kept = await self._store.renew(self.key, self._token, lease, self._policy.op_timeout)
            if kept is False and self.state is ClaimState.LEADING:
                return  # lost: the call goes on, and COMMIT decides

    async def commit(self, data: bytes, ttl: float) -> bool | None:
        """COMMIT; was it stored? None: nobody knows.

        Refused, the lease is somebody else's or the key was forgotten.
        """
        alone, self.state = self.state is ClaimState.ALONE, ClaimState.SETTLED
        # A lease that an ACQUIRE took after we had given it up is younger than the call: under it
        # the answer would pass a `forget` that came in between.
        token = os.urandom(16) if alone else self._token
        send = self._store.commit
        args = self.key, token, self._base, data, ttl
        try:
            if alone:
                await self._release()
            stored = await send(*args, max(self._policy.lease, self._policy.op_timeout))
        except asyncio.CancelledError:
            # The loop is ending, and what carried the bytes may have been cancelled with us. A
            # commit that did arrive makes this one a refused no-op.
            await send(*args, self._policy.op_timeout)
            raise
        if stored is None:
            await self._release()
        return stored

    async def fail(self, data: bytes, ttl: float) -> None:
        """FAIL: tell everybody who waits, and for `ttl` seconds everybody who asks."""
        if self.state is ClaimState.ALONE:  # as in COMMIT: a lease that came late proves nothing
            await self.close()
            return
        self.state = ClaimState.SETTLED
        try:
            told = await self._store.fail(self.key, self._token, data, ttl, self._policy.op_timeout)
        except asyncio.CancelledError:
            await self._release()
            raise
        if told is None:
            await self._release()

    async def close(self) -> None:
        """RELEASE, unless the claim is settled or never was one. Every exit path ends here."""
        if self.state in (ClaimState.SETTLED, ClaimState.ANSWERED):
            return
        self.state = ClaimState.SETTLED
        try:
            await self._release()
        except asyncio.CancelledError:
            await self._release()
            raise

    async def _release(self) -> None:
        await self._store.release(self.key, self._token, self._policy.op_timeout)


class _Renewals:
    """When the lease that we wait for last showed a sign of life.

    A reply that was sent for at `asked` and read at `now` with `left` seconds tells that the lease
    ends between `asked + left` and `now + left`. Only a later end than was possible before is a
    renewal: a slow reply or a busy loop is none.
    """

    def __init__(self, wait: Wait, now: float) -> None:
        self._token, self._ends, self._sign = wait.token, now + wait.left, now

    def silence(self, wait: Wait, asked: float, now: float) -> float:
        """Seconds without a renewal or a new leader."""
        ends = now + wait.left
        if wait.token != self._token or asked + wait.left > self._ends:
            self._token, self._ends, self._sign = wait.token, ends, now
        self._ends = min(self._ends, ends)
        return now - self._sign


def _stamp_of(data: bytes) -> bytes:
    stamp = data[STAMP_START:STAMP_END]
    return stamp if len(stamp) == STAMP_END - STAMP_START else SEEN_ANY
