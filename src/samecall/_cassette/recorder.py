"""The store of a cassette: what is recorded is laid ready in it, what is new is told."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence

from samecall._entry import Entry, Key, Kind, Payload, seal
from samecall._key import digest_of
from samecall._memory import MemoryStore
from samecall._ports import EPOCH_NONE, Offer

__all__ = ["LIFE", "Recorder"]

LIFE = 3_650 * 86_400.0
"""Seconds: a recorded call does not grow old."""
_ROOM = 2**40


class Recorder(MemoryStore):
    """A store in memory that tells of what it is given to keep."""

    def __init__(self, heard: Callable[[Key, bytes], Awaitable[None]]) -> None:
        super().__init__(entries=_ROOM, bytes=_ROOM)
        self._heard = heard
        self._renewed: dict[tuple[str, str], bytes] = {}
        self._forgotten = 0
        self._laid: dict[Key, int] = {}

    def lay(self, key: Key, answer: Payload, tags: tuple[str, ...] = ()) -> None:
        """Have a recorded answer ready, also after it was forgotten."""
        if self._laid.get(key) == self._forgotten:
            return
        self._laid[key] = self._forgotten
        now, of = self._now(), self._generations_of(key.namespace, ("", *tags))
        entry = Entry(
            Kind.VALUE, answer, os.urandom(16), LIFE, LIFE, born=now, tags=tags, generations=of
        )
        entry, data = seal(key, entry)
        self.keep(key, entry, len(data), now + LIFE)

    async def generations(
        self, namespace: str, tags: Sequence[str], ttl: float, offers: Sequence[Offer] = ()
    ) -> tuple[bytes, ...]:
        """See `_ports.Store`; the same in every process, until something is forgotten."""
        return self._generations_of(namespace, tags)

    def _generations_of(self, namespace: str, tags: Sequence[str]) -> tuple[bytes, ...]:
        return tuple(
            self._renewed.get((namespace, tag)) or _generation_of(namespace, tag) for tag in tags
        )

    async def renew_generation(self, namespace: str, tag: str) -> None:
        """See `_ports.Store`."""
        self._forgotten += 1
        self._renewed[namespace, tag] = os.urandom(16)

    async def forget(self, key: Key, tombstone: float) -> None:
        """See `_ports.Store`."""
        self._forgotten += 1
        await super().forget(key, tombstone)

    async def commit(
        self,
        key: Key,
        token: bytes,
        seen: bytes,
        data: bytes,
        ttl: float,
        epoch: bytes = EPOCH_NONE,
    ) -> bool:
        """See `_ports.LeaseStore`."""
        stored = await super().commit(key, token, seen, data, ttl, epoch)
        if stored:
            self._laid[key] = self._forgotten
            await self._heard(key, data)
        return stored


def _generation_of(namespace: str, tag: str) -> bytes:
    return digest_of((namespace, tag))[:16]
