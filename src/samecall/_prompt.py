"""What a store may have besides: it hands out its answers as futures, with no task for each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from samecall._entry import Key
from samecall._errors import StoreError
from samecall._ports import Acquired, Offer

__all__ = ["Ending", "Prompt", "Prompted", "Reply", "Told"]


class Told(Protocol):
    """Hears once what has come of a question; `late`: its future was not kept open for that."""

    def __call__(self, reply: Acquired | StoreError, *, late: bool) -> None: ...


class Ending(StoreError):
    """The event loop is ending, and the store's part in it."""


class Reply(Protocol):
    """What a future is to those who await it, to one who does not: it tells at once."""

    def done(self) -> bool: ...

    def set_result(self, reply: Any, /) -> None: ...

    def set_exception(self, error: StoreError, /) -> None: ...


class Prompt(Protocol):
    """The questions of a hit, asked at once.

    A future, or what is given for one, has the answer or a `StoreError`, at some time; to cancel it
    harms nobody else, and what has not been sent by then is not sent. All raise `StoreError` where
    the store is closed.
    """

    def acquire_into(
        self, reply: Reply, key: Key, token: bytes, seen: bytes, lease: float, told: Told
    ) -> None:
        """`LeaseStore.acquire`, answered into `reply`; `told` hears in any case, and first."""
        ...

    def committing(
        self, key: Key, token: bytes, seen: bytes, data: bytes, ttl: float, epoch: bytes
    ) -> asyncio.Future[bool]:
        """`LeaseStore.commit`; sent even if the future is cancelled."""
        ...

    def telling(
        self, namespace: str, tags: Sequence[str], ttl: float, offers: Sequence[Offer] = ()
    ) -> Sequence[asyncio.Future[bytes]]:
        """`Store.generations`, one by one; answered before what is asked later."""
        ...


class Prompted(Protocol):
    """A store that may be prompt, depending on where it leads."""

    @property
    def prompt(self) -> Prompt | None: ...
