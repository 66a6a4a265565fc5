"""RELEASEs that are still owed: nobody answered for them, or they may have come too early.

A RELEASE that is not sent, because the breaker is open, or that is sent and lost leaves a lease
which nobody holds, and who asks next waits for its end. And one that comes before its ACQUIRE frees
nothing:

    1. we      ACQUIRE, whose connection falls silent and is given up
    2. we      RELEASE, over a new one: there is no lease to free
    3. Redis   carries out the ACQUIRE, which was under way all the time

So each of them is sent again, a few times in a few seconds, while the store answers. What is still
there after that ends with its TTL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from samecall._entry import Key
from samecall._errors import NodeUnreachable, StoreUnreachable
from samecall._ports import Acquired, Lead
from samecall._waiting import swallow

__all__ = ["Debts"]

_FIRST, _TRIES = 0.1, 6  # seconds until the first try; each pause is twice the last: 6.3 s in all
_MOST, _AT_ONCE = 10_000, 256
_GRAIN = 0.002  # seconds that a timer may come too early
_NEVER = float("inf")
_UNKNOWN = (StoreUnreachable, NodeUnreachable)  # it may have been carried out, or be so yet


@dataclass(slots=True)
class _Debt:
    key: Key
    doubtful: bool
    due: float = _NEVER
    tries: int = 0


class Debts:
    """The debts of one event loop.

    `release` sends one RELEASE and says what came of it, None for nobody knows; `start` makes a
    task; `may` says whether the store is asked at all: while it is not, no try is made or counted.
    """

    def __init__(
        self,
        release: Callable[[Key, bytes], Awaitable[bool | None]],
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        may: Callable[[], bool],
    ) -> None:
        self._release = release
        self._start = start
        self._may = may
        self._sent: dict[bytes, int] = {}  # by token: of how many ACQUIREs is the fate in doubt?
        self._owed: dict[bytes, _Debt] = {}  # by token
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._owed)

    def sent(self, token: bytes) -> None:
        """An ACQUIRE under this token is on its way, maybe for longer than anybody waits for it."""
        self._sent[token] = self._sent.get(token, 0) + 1

    def watch(self, key: Key, token: bytes, acquiring: asyncio.Task[Acquired]) -> None:
        """What comes of this is to be `heard`."""
        acquiring.add_done_callback(partial(self._ended, key, token))

    def _ended(self, key: Key, token: bytes, acquiring: asyncio.Task[Acquired]) -> None:
        if not acquiring.cancelled():
            self.heard(key, token, acquiring.exception() or acquiring.result())

    def heard(self, key: Key, token: bytes, reply: Acquired | BaseException) -> None:
        """What has come of an ACQUIRE, whoever still waits for it."""
        if isinstance(reply, _UNKNOWN):
            return
        doubtful = self._sent.get(token, 0) - 1  # a lost lease is asked for under the same token
        if not isinstance(reply, Lead) and doubtful <= 0:
            self._sent.pop(token, None)
            self._owed.pop(token, None)
        elif token in self._sent:
            self._sent[token] = max(0, doubtful)
        else:  # its claim has ended; the store answers, whatever the breaker says
            self._owed[token] = _Debt(key, doubtful=False)
            self._pay(token)

    def knows(self, token: bytes) -> bool:
        """Whether an ACQUIRE under this token has ever been sent."""
        return token in self._sent

    def doubts(self, token: bytes) -> bool:
        """Whether an ACQUIRE under this token may be on its way."""
        return self._sent.get(token, 0) > 0

    def settled(self, key: Key, token: bytes, *, freed: bool | None, doubted: bool) -> None:
        """The claim under this token has ended.

        freed: whether a RELEASE found the lease; False for other commands, None if nobody answered.
        doubted: the ACQUIRE was in doubt when that command went out, which may have come first.
        """
        unheard = self._sent.pop(token, None)
        if unheard is None or freed or (freed is False and not doubted):
            return
        if self._closed:  # nobody is asked any more: a timer would wait for that for ever
            return
        doubtful = unheard > 0
        if len(self._owed) >= _MOST:
            del self._owed[next(iter(self._owed))]
        debt = self._owed[token] = _Debt(key, doubtful)
        if doubtful or freed is None:
            self._later(debt)
        else:
            self._pay(token)

    def _later(self, debt: _Debt) -> None:
        loop = asyncio.get_running_loop()
        debt.due = loop.time() + _FIRST * 2**debt.tries
        if self._timer is None:  # a timer: no task outlives a loop that is not closed in good order
            self._timer = loop.call_at(debt.due, self._turn)

    def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        now = loop.time() + _GRAIN
        due = [token for token, debt in self._owed.items() if debt.due <= now][:_AT_ONCE]
        for token in due:
            if self._may():
                self._pay(token)
            else:
                self._later(self._owed[token])
        ends = min((debt.due for debt in self._owed.values()), default=_NEVER)
        if self._timer is None and ends < _NEVER:
            self._timer = loop.call_at(ends, self._turn)

    def _pay(self, token: bytes) -> None:
        self._owed[token].due = _NEVER  # until it has been tried
        self._start(self._try(token)).add_done_callback(swallow)

    async def _try(self, token: bytes) -> None:
        debt = self._owed.get(token)
        if debt is None:  # paid meanwhile
            return
        debt.tries = _TRIES if self._closed else debt.tries + 1  # once closed, this one is all
        freed = await self._release(debt.key, token)
        if freed or (freed is False and not debt.doubtful) or debt.tries >= _TRIES:
            self._owed.pop(token, None)
        elif token in self._owed:
            self._later(debt)

    async def aclose(self, grace: float) -> None:
        """Try each once more if the store is asked at all, for at most `grace` seconds; no more."""
        if self._owed and self._may():
            tries = [self._start(self._try(token)) for token in self._owed]
            await asyncio.wait(tries, timeout=max(0.0, grace))
        self._owed.clear()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
