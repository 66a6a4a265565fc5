"""A leader's hold on its lease while its call runs: renewed, and looked into when it is lost.

    HELD --RENEW says lost--> ask once more, under the same token, for what was there when we led:
         LEAD, no `forget` since   HELD: the lease had run out, and nobody has led meanwhile
         LEAD, after a `forget`    OVER, and what was taken is given back
         HIT, ERROR, WAIT          OVER: somebody else has answered, or leads
         no reply in time          ask again once RENEW is answered, whatever that says: the lease
                                   may be ours again, and only LEAD tells of a `forget`

Who calls without an answer to its ACQUIRE asks in the same way as soon as the store answers, and
from then on holds a lease as others do; a stream, which nobody records then, gives it back and asks
again at the pace of renewals.

The call goes on when its hold is over, for those who wait for it, and COMMIT decides. But nobody
joins it any more. Without that

    1. we           ACQUIRE -> LEAD, and call
    2. another      forget
    3. a caller     in this process joins our flight, and is given what was begun before 2

would go on until our call ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from samecall._entry import Key
from samecall._failopen import FailOpenStore
from samecall._policy import Policy
from samecall._ports import EPOCH_NONE, EPOCH_UNTOLD, Lead
from samecall._watching import wake

__all__ = ["RENEW_AT_LEAST", "Hold", "nothing_more"]

RENEW_AT_LEAST = 5.0
"""Seconds of the longest lease by which a leader goes when it renews, every third of it."""


class Hold:
    """One leader's hold on its lease.

    held: key and token; base and epoch, as LEAD told them, or `EPOCH_UNTOLD`. leads: not once the
        claim is settled. overtaken: called when another leads or has answered.
        forgotten: called when what the call makes is worth nothing to whoever asks from now on.
        current: whether what it makes is of the present generations.
    """

    def __init__(
        self,
        store: FailOpenStore,
        held: tuple[Key, bytes, bytes, bytes],
        policy: Policy,
        leads: Callable[[], bool],
    ) -> None:
        self.overtaken: Callable[[], object] = _nothing
        self.forgotten: Callable[[], object] = _nothing
        self.current: Callable[[], Awaitable[bool]] = _always
        self._leads = leads
        self._store = store
        self._key, self._token, self._base, self._epoch = held
        self._policy = policy
        self._renews = True
        self._told = self._epoch != EPOCH_UNTOLD
        self._takes = True
        self._lapsed = False
        self._unheard = False
        self._hurried = False
        self._waiter: asyncio.Future[None] | None = None
        self._every = min(policy.lease, RENEW_AT_LEAST) / 3
        self._alarm: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def kept(self, *, renews: bool = True, takes: bool = True) -> Hold:
        """What keeps it while the body of `async with` runs, which is given `nothing_more`.

        renews: else somebody does, who says when it is `lapsed`. takes: a lease, if there is none
        yet, and keeps it. What nobody records takes it for a moment, to see whether it was
        forgotten: who waits for its end would want to follow.
        """
        self._renews = renews
        self._takes = takes
        return self

    # by hand: a generator around each call would cost as much as all that is done here
    async def __aenter__(self) -> Callable[[], Awaitable[None]]:
        # a timer, and a task only for a call that is longer: most of what a task costs is its start
        self._alarm = asyncio.get_running_loop().call_later(self._every, self._start)
        return nothing_more

    async def __aexit__(self, *exc_info: object) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if self._task is not None:
            self._task.cancel()
        # no ring with claim and flight is left for the collector
        self._alarm = self._task = None
        self._leads, self.current = _never, _always
        self.overtaken = self.forgotten = _nothing

    def hurry(self) -> None:
        """Something was told of the key or its generations: look now."""
        if self._leads():
            self._hurried = True
            if self._waiter is not None:
                wake(self._waiter)
            elif self._task is None and self._alarm is not None:
                self._alarm.cancel()
                self._start()

    def lapsed(self) -> None:
        """A reply said that the lease is not ours."""
        self._lapsed = True
        self.hurry()

    def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        wanted, self._hurried = True, False
        while True:
            if wanted and not await self.current():
                wanted = False
                self.forgotten()
            if self._renews and (kept := await self._renew()) is not None:
                self._lapsed = self._unheard or not (kept and self._told)
            if self._lapsed and self._leads() and not await self._again():
                return
            await self._pause(self._every)

    async def _pause(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if not self._hurried:
            self._waiter = loop.create_future()
            alarm = loop.call_later(seconds, wake, self._waiter)
            try:
                await self._waiter
            finally:
                self._waiter = None
                alarm.cancel()
        self._hurried = False

    async def _renew(self) -> bool | None:
        lease, timeout = self._policy.lease, self._policy.op_timeout
        return await self._store.renew(self._key, self._token, lease, timeout)

    async def _again(self) -> bool:
        """Ask for a lease that was lost, or never told; False: the hold is over."""
        policy = self._policy
        asked = self._key, self._token, self._base, policy.lease, policy.op_timeout
        reply = await self._store.acquire(*asked)
        self._unheard = reply is None
        if reply is None:  # RENEW will tell whether it is ours, and not what was forgotten
            self._renews = True
            return True
        if not isinstance(reply, Lead):
            self.overtaken()
            return False
        if reply.epoch in (EPOCH_NONE, self._epoch):
            if not (self._told or self._takes):  # it was a look: who waits for it would follow
                await self._give_back()
                return True
            self._renews, self._lapsed, self._told = True, False, True
            return True
        self.forgotten()
        await self._give_back()
        return False

    async def _give_back(self) -> None:
        if self._leads():  # else its end has freed the lease, or owes it
            await self._store.release(self._key, self._token, self._policy.op_timeout)


async def nothing_more() -> None:
    """What is left to do for an answer that nobody could follow."""


def _nothing() -> None: ...


def _never() -> bool:
    return False


async def _always() -> bool:
    return True
