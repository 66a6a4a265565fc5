"""A store around a store: bounded in time, behind a breaker, its trouble never the caller's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from samecall._breaker import Breaker
from samecall._debts import Debts
from samecall._entry import Key
from samecall._errors import StoreError
from samecall._hearing import LOOK, BoundBell, DeafBell, Hearing, subscribe
from samecall._ports import Acquired, Bell, Event, Found, LeaseStore, Offer
from samecall._prompt import Prompt, Reply, Told
from samecall._prompting import Prompting, Question
from samecall._replies import Replaced
from samecall._waiting import SHARE, patience, swallow

__all__ = ["FailOpenStore"]

T = TypeVar("T")
_GRAIN = 0.001
_Commit = tuple[Key, bytes, bytes, bytes, float, bytes]
_OWED = 1.0  # seconds for a RELEASE that nobody waits for


class FailOpenStore(Prompting):
    """Asks `store` while it answers. Belongs to one event loop.

    The methods that a call's way leads through never raise for the store's sake, not even what a
    store must not raise; they say None: no store, go on without. Of `timeout` the store has its
    `SHARE`, so that its caller is on its way within it. A login refused or a file of another kind
    at the very first ACQUIRE is told at once: that is a mistake in the configuration.
    """

    def __init__(
        self,
        store: LeaseStore,
        emit: Callable[[Event], None],
        where: str,
        *,
        borrowed: bool = False,
    ) -> None:
        prompt, in_parts = getattr(store, "prompt", None), getattr(store, "in_parts", False)
        super().__init__(store.ping, emit, where, prompt, in_parts=in_parts)
        self.store = store
        self._borrowed = borrowed  # its owner closes it
        self._hearing = Hearing()
        self._hears = self._heard_of
        self._debts = Debts(self._owed, self._start, lambda: self.state is Breaker.CLOSED)

    # --- on a call's way -------------------------------------------------------------------------

    async def acquire(
        self,
        key: Key,
        token: bytes,
        seen: bytes,
        lease: float,
        timeout: float,
        *,
        hurried: bool = False,
    ) -> Acquired | None:
        """ACQUIRE in `timeout`, `hurried` if it is due more; see `_debts` for what is late."""
        if self.state is Breaker.OPEN:
            near = getattr(self.store, "at_hand", None)  # of `Tiers`; it raises nothing
            return None if near is None else await near(key, seen)
        self._debts.sent(token)
        if self.prompt is not None:
            asked: asyncio.Future[Acquired] = asyncio.get_running_loop().create_future()
            told = partial(self._hears, key, token)
            self._send(self.prompt, asked, key, token, seen, lease, told)
            return await self._one("acquire", asked, timeout * SHARE, hurried=hurried)
        task = self._start(self.store.acquire(key, token, seen, lease))
        self._debts.watch(key, token, task)
        return await self._finish("acquire", task, timeout * SHARE, hurried=hurried)

    def acquiring(self, question: Question, seen: bytes, lease: float, timeout: float) -> bool:
        """As `acquire`, without a task: `question` is told, also what `acquire` would raise.

        False: this store is to be asked by `acquire`.
        """
        prompt, token = self.prompt, question.token
        if prompt is None or self.state is Breaker.OPEN:
            return False
        timeout *= SHARE
        question.sent(self, self._hears, timeout)
        self._debts.sent(token)
        self._send(prompt, question, question.key, token, seen, lease, question)
        self._vigil(timeout).add(question)
        return True

    def _send(
        self,
        prompt: Prompt,
        reply: Reply,
        key: Key,
        token: bytes,
        seen: bytes,
        lease: float,
        told: Told,
    ) -> None:
        try:
            prompt.acquire_into(reply, key, token, seen, lease, told)
        except StoreError as error:  # closed
            told(error, late=False)
            reply.set_exception(error)

    def _heard_of(
        self, key: Key, token: bytes, reply: Acquired | StoreError, *, late: bool
    ) -> None:
        self._debts.heard(key, token, reply)
        if late and not isinstance(reply, StoreError):
            self.answers += 1

    async def renew(self, key: Key, token: bytes, lease: float, timeout: float) -> bool | None:
        """RENEW; False: the lease is lost, None: nobody knows."""
        return await self.ask("renew", lambda: self.store.renew(key, token, lease), timeout)

    async def commit(
        self,
        key: Key,
        token: bytes,
        seen: bytes,
        data: bytes,
        ttl: float,
        epoch: bytes,
        timeout: float,
        sent: Callable[[], None] = lambda: None,
    ) -> bool | None:
        """COMMIT; None: nobody knows whether it is stored. `sent`: called once it is on its way."""
        args = (key, token, seen, data, ttl, epoch)
        doubted = self._debts.doubts(token)  # as it goes out: it may come before the ACQUIRE
        stored = await self._commit(args, timeout, sent)
        if stored is not None:  # else a RELEASE follows
            self._debts.settled(key, token, freed=False, doubted=doubted)
        return stored

    async def _commit(self, args: _Commit, timeout: float, sent: Callable[[], None]) -> bool | None:
        if self.state is Breaker.OPEN:
            sent()
            return None
        if self.prompt is None:
            task = self._start(self.store.commit(*args))
            sent()
            return await self._finish("commit", task, timeout)
        try:
            asked = self.prompt.committing(*args)
        except StoreError as error:
            sent()
            self.missed("commit", error, self.answers)
            return None
        sent()
        return await self._one("commit", asked, timeout)

    async def fail(
        self, key: Key, token: bytes, data: bytes, ttl: float, epoch: bytes, timeout: float
    ) -> bool | None:
        """FAIL."""
        args = (key, token, data, ttl, epoch)
        return await self._settle("fail", lambda: self.store.fail(*args), key, token, timeout)

    async def release(self, key: Key, token: bytes, timeout: float) -> bool | None:
        """RELEASE one's own lease; one that nobody answers for is owed, see `_debts`."""
        if self.away and not self._debts.knows(token):
            return None
        release = self.store.release
        return await self._settle("release", lambda: release(key, token), key, token, timeout)

    async def _settle(
        self,
        operation: str,
        work: Callable[[], Coroutine[Any, Any, bool]],
        key: Key,
        token: bytes,
        timeout: float,
    ) -> bool | None:
        doubted = self._debts.doubts(token)  # as it goes out: it may come before the ACQUIRE
        answer = await self.ask(operation, work, timeout)
        if operation == "release":
            self._debts.settled(key, token, freed=answer, doubted=doubted)
        elif answer is not None:  # else a RELEASE follows
            self._debts.settled(key, token, freed=False, doubted=doubted)
        return answer

    def leave(self, key: Key, token: bytes, timeout: float) -> None:
        """RELEASE what an ACQUIRE may have taken that nobody goes on from; not waited for."""
        self._start(self.release(key, token, timeout)).add_done_callback(swallow)

    async def _owed(self, key: Key, token: bytes) -> bool | None:
        return await self._finish("release", self._start(self.store.release(key, token)), _OWED)

    async def depose(self, key: Key, token: bytes, timeout: float) -> bool | None:
        """RELEASE somebody else's lease."""
        return await self.ask("release", lambda: self.store.release(key, token), timeout)

    async def find(self, key: Key, timeout: float) -> Found | None:
        """GET; None also where there is no store to ask."""
        return await self.ask("get", lambda: self.store.get(key), timeout)

    async def generations(
        self,
        namespace: str,
        tags: Sequence[str],
        ttl: float,
        timeout: float,
        asked: Sequence[asyncio.Future[bytes]] | None = None,
        offers: Sequence[Offer] = (),
    ) -> tuple[bytes, ...] | None:
        """The generations of tags, `asked` for already if so; None: nobody knows."""
        if asked is not None:
            told = await self._all("generations", asked, timeout * SHARE)
        else:
            # a store that knows of no offers serves all caches but those that seal
            more = (offers,) if offers else ()
            read = partial(self.store.generations, namespace, tags, ttl, *more)
            told = await self.ask("generations", read, timeout * SHARE)
        if any(isinstance(one, Replaced) for one in told or ()):
            self.noted("generations", "what stood there was none, and is replaced")
        return None if told is None else tuple(map(bytes, told))

    def listen(self, key: Key, timeout: float) -> AbstractAsyncContextManager[BoundBell | DeafBell]:
        """A subscribed bell, or a deaf one where the store cannot subscribe in time."""
        return self.hear(lambda: self.store.listen(key), timeout)

    @asynccontextmanager
    async def hear(
        self, listen: Callable[[], AbstractAsyncContextManager[Bell]], timeout: float
    ) -> AsyncGenerator[BoundBell | DeafBell]:
        """The bell of any subscription, or a deaf one."""
        if self.state is Breaker.OPEN:
            yield DeafBell()
            return
        bell: asyncio.Future[Bell] = asyncio.get_running_loop().create_future()
        bell.add_done_callback(swallow)
        leave = asyncio.Event()
        # a task of its own, which enters and leaves: the caller waits for neither end of it
        task = self._start(subscribe(listen, bell, leave))
        task.add_done_callback(swallow)
        try:
            yield await self._heard(task, bell, timeout)
        finally:
            leave.set()
            if not bell.done():
                task.cancel()

    async def _heard(
        self, task: asyncio.Task[None], bell: asyncio.Future[Bell], timeout: float
    ) -> BoundBell | DeafBell:
        now, due = asyncio.get_running_loop().time, timeout * SHARE
        began = now()
        await patience(bell, due * (1 - LOOK))
        if bell.done() and not bell.cancelled():
            if (error := bell.exception()) is None:
                fault = partial(self._fault, "wait", opens=False)
                return BoundBell(bell.result(), fault, timeout, self._hearing)
            self._fault("listen", f"{type(error).__name__}: {error}", opens=False)
        else:
            task.cancel()
            self._fault("listen", f"no answer in {due * (1 - LOOK):g} s", opens=False)
        return DeafBell(max(LOOK, 1 - (now() - began) / due))

    # --- asked for by name: trouble is told ------------------------------------------------------

    async def get(self, key: Key, timeout: float) -> Found | None:
        """GET; raises `StoreError`."""
        return await self._tell("get", self.store.get(key), timeout)

    async def put(self, key: Key, data: bytes, ttl: float, timeout: float) -> None:
        """SET, whoever leads; raises `StoreError`."""
        await self._tell("set", self.store.set(key, data, ttl), timeout)

    async def forget(self, key: Key, tombstone: float, timeout: float) -> None:
        """Forget; raises `StoreError`."""
        await self._tell("forget", self.store.forget(key, tombstone), timeout)

    async def renew_generation(self, namespace: str, tag: str, timeout: float) -> None:
        """Let a generation end; raises `StoreError`."""
        renewing = self.store.renew_generation(namespace, tag)
        await self._tell("renew_generation", renewing, timeout)

    def walk(self, namespace: str) -> AsyncIterator[tuple[Key, Found]]:
        """Walk over a namespace, however long that takes; raises `StoreError`."""
        return self.store.walk(namespace)

    async def aclose(self, grace: float) -> None:
        """End the probe, give what is on its way `grace` seconds, close the store."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + grace
        # what ends may begin something: a late release; a timer may come a little too early
        while self._tasks and (left := ends - loop.time()) > _GRAIN:
            await asyncio.wait(self._tasks, timeout=left)
        await self._debts.aclose(ends - loop.time())
        await self._end()
        if not self._borrowed:
            await self.store.aclose()
