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
from collections.abc import Awaitable, Callable

from samecall._entry import Entry, Key, Kind
from samecall._envelopes import PLAIN, Envelopes
from samecall._errors import Undecodable
from samecall._failopen import FailOpenStore
from samecall._hearing import LONGEST_LOOK
from samecall._holding import RENEW_AT_LEAST, Hold
from samecall._news import take_turns
from samecall._policy import Policy
from samecall._ports import (
    EPOCH_NONE,
    EPOCH_UNTOLD,
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
from samecall._prompting import Begun
from samecall._stamps import is_token, new_token, stamp_of
from samecall._waiting import Renewals
from samecall._watching import ClaimState

__all__ = ["TOMBSTONE", "Claim", "ClaimState"]

TOMBSTONE = 3_600.0
"""Seconds for which a `forget` is remembered; see `Claim.commit`."""

_SILENT_AT_LEAST = 2 * RENEW_AT_LEAST / 3
_FOREVER, _ROUNDS = float("inf"), 8
_HOLDS = ClaimState.LEADING, ClaimState.ALONE


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
        following: Callable[[bytes], None] = lambda _: None,
        envelopes: Envelopes = PLAIN,
        admits: Callable[[Claim, Entry], Awaitable[bool]] | None = None,
        asking: Callable[[], None] = lambda: None,
        begun: Begun | None = None,
    ) -> None:
        self.state = ClaimState.NEW
        self.waited = False
        self.stored: bool | None = None
        self._store = store
        self.key = key
        self._policy = policy
        self._seen = seen
        self._clock = clock
        self._emit = emit
        self._following = following
        self._envelopes = envelopes
        self._admits = admits or _admits_all
        self._asking = asking
        self._begun = begun
        self.compared = None if begun is None else begun.current
        self._token = new_token(key) if begun is None else begun.token
        self._refused: bytes | None = None  # an error that is no answer
        self._base = SEEN_NOTHING  # stamp of the value that COMMIT replaces
        self.epoch = EPOCH_UNTOLD
        self._asked = self.began = clock.now() if begun is None else begun.asked

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
            entry = await self._judge(reply)
            if entry is not None or self.state in (ClaimState.LEADING, ClaimState.ALONE):
                return entry
        self.state = ClaimState.ALONE  # the store gives nothing but garbage for this key
        return None

    async def _acquire(self, share: float = 1.0) -> Acquired | None:
        reply = await self._ask(self._seen, share)
        if not isinstance(reply, Failed) or reply.data != self._refused:
            return reply
        reply = await self._ask(SEEN_ANY)  # past an error that is no answer: who leads?
        if isinstance(reply, Lead) and reply.seen not in (SEEN_NOTHING, self._seen):
            # a value has come in between; a store that is silent now is not asked once more
            return None if await self._release() is None else await self._ask(self._seen)
        return reply

    async def _ask(self, seen: bytes, share: float = 1.0) -> Acquired | None:
        if self._begun is not None:
            reply, self._begun = self._begun.reply, None
            if isinstance(reply, Exception):
                raise reply
        else:
            reply = await self._asked_for(seen, share)
        if not isinstance(reply, Wait) or is_token(reply.token, self.key):
            return reply
        self._emit(EntryUndecodable(self.key, "what stands at its lease is no lease of this key"))
        return None if await self._depose(reply) is None else await self._asked_for(seen)

    async def _asked_for(self, seen: bytes, share: float = 1.0) -> Acquired | None:
        policy, self._asked = self._policy, self._clock.now()
        self._asking()
        args = self.key, self._token, seen, policy.lease, policy.op_timeout * share
        return await self._store.acquire(*args, hurried=share < 1)

    async def _judge(self, reply: Acquired | None) -> Entry | None:
        match reply:
            case None:
                self.state = ClaimState.ALONE
            case Lead(seen=base, epoch=epoch, odd=odd):
                self.state, self._base, self.epoch = ClaimState.LEADING, base, epoch
                for what in odd:
                    self._emit(EntryUndecodable(self.key, f"what stands at its {what} is none"))
            case Hit(data=data, left=left) | Failed(data=data, left=left):
                entry = self._read(data, left, error=isinstance(reply, Failed))
                if entry is not None and await self._admits(self, entry):
                    self.state = ClaimState.ANSWERED
                    return entry
                if isinstance(reply, Failed):
                    self._refused = data
                else:
                    self._seen = stamp_of(data)
            case Wait():  # pragma: no cover - _follow returns only what ends the wait
                pass
        return None

    def _read(self, data: bytes, left: float, *, error: bool | None) -> Entry | None:
        try:
            entry = self._envelopes.read(self.key, data, left=left, now=self._clock.now())
            if error is not None and (entry.kind is not Kind.VALUE) is not error:
                raise Undecodable("an error where a value belongs, or the reverse")
            return entry
        except Undecodable as refusal:
            self._emit(EntryUndecodable(self.key, str(refusal)))
            return None

    # --- another process leads -------------------------------------------------------------------

    async def _follow(self, wait: Wait) -> Acquired | None:
        self.state, self.waited = ClaimState.WAITING, True
        self._following(wait.token)
        if self._seen == SEEN_ANY:
            self._seen = wait.seen or SEEN_NOTHING  # a refresh takes what this leader will commit
        patience = max(self._policy.lease, _SILENT_AT_LEAST)
        began = self._clock.now()
        renewals = Renewals(wait, began)
        async with self._store.listen(self.key, self._policy.op_timeout) as bell:
            share = bell.share
            while True:
                asked = self._clock.now()
                reply, share = await self._acquire(share), 1.0
                if not isinstance(reply, Wait):
                    bell.found()
                    return reply
                if asked - began > self._policy.deadline + patience:
                    return None  # no call lasts so long: whoever renews there has us as hostages
                self._following(reply.token)
                silent = renewals.silence(reply, asked, self._clock.now())
                if silent < patience:
                    pause = min(reply.left, bell.pause(), patience - silent)
                elif await self._depose(reply) is not None:
                    continue
                else:  # the store does not take the release: never ask without a pause
                    pause = LONGEST_LOOK
                ridden = await self._rung(bell, max(pause, 0.0) + 0.002, reply.token)
                if ridden is not None:
                    return ridden

    async def _rung(self, bell: Bell, pause: float, leader: bytes) -> Acquired | None:
        # An entry that rides is the truth only if the leader that we last saw made it: a message
        # that was long on its way may be older than a `forget`, or than what we have refused.
        data = await bell.wait(pause) or b""
        await take_turns(data)
        stamp = stamp_of(data)
        if stamp != leader or stamp == self._seen:
            return None
        entry = self._read(data, _FOREVER, error=None)
        kind = Hit if entry is not None and entry.kind is Kind.VALUE else Failed
        return None if entry is None else kind(data, _FOREVER)

    async def _depose(self, wait: Wait) -> bool | None:
        # A live leader renews at least every 5/3 s whatever its lease; this one has missed two of
        # these, and all of our own lease: it is dead, and its lease was merely longer than ours.
        return await self._store.depose(self.key, wait.token, self._policy.op_timeout)

    # --- we lead ---------------------------------------------------------------------------------

    def still(self, put_by: Entry | None) -> Entry | None:
        """What was there and put by, unless forgotten since: gone, and not only evicted."""
        stands = self.epoch not in (EPOCH_NONE, EPOCH_UNTOLD)
        gone = stands and put_by is not None and put_by.stamp != self._base
        return None if gone else put_by

    def hold(self) -> Hold:
        """What keeps the lease while the call runs."""
        held = self.key, self._token, self._base, self.epoch
        return Hold(self._store, held, self._policy, lambda: self.state in _HOLDS)

    async def commit(self, data: bytes, ttl: float, sent: Callable[[], None]) -> bool | None:
        """COMMIT; was it stored? None: nobody knows. `sent`: called once it is on its way.

        Refused, the lease is somebody else's or the key was forgotten.
        """
        self.state = ClaimState.SETTLED
        # Without a lease only a tombstone tells of a `forget` since we asked, and it may be over:
        # a stamp that no value has lets the COMMIT pass under the lease alone.
        old = self._clock.now() - self._asked > TOMBSTONE / 2
        # So does a refresh of what is no longer there: with this stamp COMMIT calls back the copies
        # that processes may still have of it.
        led = self.epoch != EPOCH_UNTOLD
        anew = led and self._seen == SEEN_ANY and not self._base
        base = SEEN_ANY if old or anew else self._base
        send = self._store.commit
        args = self.key, self._token, base, data, ttl, self.epoch
        try:
            stored = await send(*args, max(self._policy.lease, self._policy.op_timeout), sent)
            self.stored = stored
        except asyncio.CancelledError:
            # The loop is ending, and what carried the bytes may have been cancelled with us. A
            # commit that did arrive makes this one a no-op: it finds its own stamp there.
            self.stored = await send(*args, self._policy.op_timeout)
            raise
        if stored is None:
            await self._release()
        return stored

    async def fail(self, data: bytes, ttl: float) -> None:
        """FAIL: tell everybody who waits, and for `ttl` seconds everybody who asks."""
        if self.state is ClaimState.ALONE:  # a lease that came late proves nothing
            await self.close()
            return
        self.state = ClaimState.SETTLED
        args = self.key, self._token, data, ttl, self.epoch
        try:
            told = await self._store.fail(*args, self._policy.op_timeout)
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

    async def _release(self) -> bool | None:
        return await self._store.release(self.key, self._token, self._policy.op_timeout)


async def _admits_all(claim: Claim, entry: Entry) -> bool:
    return True
