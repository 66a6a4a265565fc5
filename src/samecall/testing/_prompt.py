"""A store that hands out its answers without a task for each who asks, over one that does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any, Self, TypeVar

from samecall._entry import Key
from samecall._ports import LeaseStore, Offer
from samecall._prompt import Ending, Reply, Told

__all__ = ["PromptStore"]

T = TypeVar("T")


class PromptStore:
    """As the store of a Redis server is: see `samecall._prompt`. All else is the other store's."""

    def __init__(self, store: LeaseStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @property
    def prompt(self) -> Self:
        """Itself."""
        return self

    def acquire_into(
        self, reply: Reply, key: Key, token: bytes, seen: bytes, lease: float, told: Told
    ) -> None:
        """See `_prompt.Prompt`."""
        _into(reply, self._store.acquire(key, token, seen, lease), told)

    def committing(
        self, key: Key, token: bytes, seen: bytes, data: bytes, ttl: float, epoch: bytes
    ) -> asyncio.Future[bool]:
        """See `_prompt.Prompt`."""
        return _future(self._store.commit(key, token, seen, data, ttl, epoch))

    def telling(
        self, namespace: str, tags: Sequence[str], ttl: float, offers: Sequence[Offer] = ()
    ) -> Sequence[asyncio.Future[bytes]]:
        """See `_prompt.Prompt`."""
        asked = [(namespace, (tag,), ttl) for tag in tags]
        if not offers:
            return [_future(_one(self._store.generations(*each))) for each in asked]
        pairs = zip(asked, offers, strict=True)
        return [_future(_one(self._store.generations(*each, (offer,)))) for each, offer in pairs]


async def _one(asked: Awaitable[tuple[bytes, ...]]) -> bytes:
    (generation,) = await asked
    return generation


def _future(work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    _into(future, work, _unheard)
    return future


def _unheard(reply: object, *, late: bool) -> None:
    """Nobody asks what comes of it, whoever waits."""


def _into(reply: Reply, work: Coroutine[Any, Any, Any], told: Told) -> None:
    task = asyncio.get_running_loop().create_task(work)

    def ended(task: asyncio.Task[Any]) -> None:
        late = reply.done()
        error: Any = Ending("its loop is closing") if task.cancelled() else task.exception()
        told(task.result() if error is None else error, late=late)
        if late:
            return
        if error is None:
            reply.set_result(task.result())
        else:
            reply.set_exception(error)

    task.add_done_callback(ended)
