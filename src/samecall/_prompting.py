"""Asking a prompt store: bounded in time, with neither a task nor a timer for each question."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from samecall._breaker import Breaker, Guard
from samecall._entry import Key
from samecall._errors import ConfigurationError, StoreError
from samecall._ports import Acquired, Event, Offer
from samecall._prompt import Ending, Prompt
from samecall._vigil import Overdue, Vigil
from samecall._waiting import swallow

__all__ = ["Begun", "Heard", "Prompting", "Question"]

T = TypeVar("T")
_VIGILS = 64
_ACQUIRE = "acquire"


class Heard(Protocol):
    """Hears what has come of an ACQUIRE, whoever still waits for it."""

    def __call__(
        self, key: Key, token: bytes, reply: Acquired | StoreError, *, late: bool
    ) -> None: ...


@dataclass(slots=True)
class Begun:
    """What came of an ACQUIRE before there is a claim; seconds on the cache's clock."""

    token: bytes
    asked: float
    reply: Acquired | Exception | None
    """What came of it; None: nobody knows."""
    current: bool | None = None
    """Whether the entry that it found is of the present generations; None: to be compared."""
    taken: bool = False
    sent: bool = True
    """Whether it went out at all, and what is to be copied was noted before."""


class Question:
    """What a prompt store answers into, and who asked is told at once: no turn of the loop between.

    A question about one key, under one token. Once it is answered it holds nothing else: a vigil
    holds on to it for a while.
    """

    __slots__ = ("_before", "_guard", "_heard", "_timeout", "_wanted", "key", "token")

    def __init__(self, key: Key, token: bytes) -> None:
        self.key = key
        self.token = token
        self._wanted = True

    def hear(self, told: Any) -> None:
        """Told once: what the store says; None, nobody knows; what has to be raised; `Ending`."""

    def sent(self, guard: Prompting, heard: Heard, timeout: float) -> None:
        """It is on its way; `heard` hears of its token in any case."""
        self._guard = guard
        self._heard = heard
        self._timeout = timeout
        self._before = guard.answers

    def __call__(self, reply: Acquired | StoreError, *, late: bool) -> None:
        """See `_prompt.Told`."""
        self._heard(self.key, self.token, reply, late=late)

    def done(self) -> bool:
        return not self._wanted

    def cancel(self) -> None:
        """Nobody wants to hear it any more; what has not been sent by then is not sent."""
        self._wanted = False

    def set_result(self, reply: object, /) -> None:
        if self._wanted:
            self._wanted = False
            self.hear(self._guard.heard(_ACQUIRE, reply, self._before, self._timeout))

    def set_exception(self, error: StoreError, /) -> None:
        told: Exception | None = error if isinstance(error, Ending) else None
        try:
            self._guard.missed(_ACQUIRE, error, self._before)
        except ConfigurationError as mistake:
            told = mistake
        if self._wanted:
            self._wanted = False
            self.hear(told)


class Prompting(Guard):
    """A guard that also asks what a store hands out as futures."""

    def __init__(
        self,
        ping: Callable[[], Coroutine[Any, Any, None]],
        emit: Callable[[Event], None],
        where: str,
        prompt: Prompt | None,
        *,
        in_parts: bool = False,
    ) -> None:
        super().__init__(ping, emit, where, in_parts=in_parts)
        self.prompt = prompt
        self._vigils: dict[float, Vigil] = {}

    def ask_generations(
        self, namespace: str, tags: Sequence[str], ttl: float, offers: Sequence[Offer] = ()
    ) -> Sequence[asyncio.Future[bytes]] | None:
        """Ask now, if the store hands out its answers."""
        if self.state is Breaker.OPEN or self.prompt is None:
            return None
        try:
            asked = self.prompt.telling(namespace, tags, ttl, offers)
        except StoreError:  # closed: who asks in the other way is told
            return None
        for each in asked:
            each.add_done_callback(swallow)  # nobody may be left to look
        return asked

    async def ask_at_once(
        self, operation: str, ask: Callable[[], asyncio.Future[T]], timeout: float
    ) -> T | None:
        """The answer to what `ask` sends, within `timeout`; None: nobody knows."""
        if self.state is Breaker.OPEN:
            return None
        try:
            asked = ask()
        except StoreError as error:
            self.missed(operation, error, self.answers)
            return None
        try:
            return await self._one(operation, asked, timeout)
        finally:
            self._vigil(timeout).forget(asked)

    async def _one(
        self, operation: str, asked: asyncio.Future[T], timeout: float, *, hurried: bool = False
    ) -> T | None:
        """The answer to one question; None: nobody knows."""
        before = self.answers
        try:
            self._vigil(timeout).add(asked)
            # a caller that is cancelled cancels this future, and nothing that is on its way
            reply = await asked
        except Exception as error:  # noqa: BLE001 - trouble is never the caller's
            self.missed(operation, error, before)
            return None
        return self.heard(operation, reply, before, timeout, hurried=hurried)

    def heard(
        self,
        operation: str,
        reply: T | Overdue,
        before: int,
        timeout: float,
        *,
        hurried: bool = False,
    ) -> T | None:
        """What has come within `timeout` of what began when there were `before` answers."""
        if isinstance(reply, Overdue):
            self._silent(operation, timeout, before, hurried=hurried)
            return None
        self.answers += 1
        return reply

    async def _all(
        self, operation: str, asked: Sequence[asyncio.Future[T]], timeout: float
    ) -> tuple[T, ...] | None:
        """The answers to questions that were asked together; None: nobody knows them all."""
        answers: list[T] = []
        vigil = self._vigil(timeout)
        for future in asked:
            vigil.add(future)  # now: each of them is as late as the others
        for future in asked:
            answer = await self._one(operation, future, timeout)
            if answer is None:
                return None
            answers.append(answer)
        return tuple(answers)

    def _vigil(self, timeout: float) -> Vigil:
        vigil = self._vigils.get(timeout)
        if vigil is None:
            if len(self._vigils) >= _VIGILS:  # what waits under one goes on without this table
                self._vigils.clear()
            vigil = self._vigils[timeout] = Vigil(timeout)
        return vigil
