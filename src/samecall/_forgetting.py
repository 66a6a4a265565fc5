"""What is asked to be gone: from the store, from L1, and from the flights that are in the air."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from samecall._entry import Key
from samecall._errors import StoreError, Undecodable
from samecall._flight import Flight
from samecall._lease import TOMBSTONE
from samecall._policy import Policy
from samecall._rooms import Rooms

__all__ = ["Forgetting"]


@dataclass(slots=True, eq=False)
class Forgetting:
    """Forgets for all event loops of a cache; its methods raise `StoreError`."""

    rooms: Rooms
    policy: Policy

    async def one(self, key: Key) -> None:
        """Entry, error and flights of `key`."""
        store, l1 = self.rooms.here().store, self.rooms.l1
        self.rooms.envelopes.forgets(key)

        def drop() -> None:
            if l1 is not None:
                l1.drop(key)
            for room in self.rooms:
                room.studio.bury_all(key)

        await self._forget(
            lambda flight: flight.key == key,
            drop,
            # not this policy's deadline: what is in the air elsewhere has another
            store.forget(key, TOMBSTONE, self.policy.op_timeout),
        )

    async def this(self, key: Key, stamp: bytes) -> None:
        """The one entry with this stamp, stored or still in the air; never raises."""
        room, l1, timeout = self.rooms.here(), self.rooms.l1, self.policy.op_timeout
        for other in self.rooms:
            other.flights.spoil(key, stamp)
        # they go on for those who take them, here or elsewhere
        for flight in room.flights.spoil(key, stamp):
            room.flights.desert(flight)
            ends = flight.callers == 0 or flight.outcome is not None  # it may be storing just now
            if flight.task is not None and ends:
                await asyncio.wait({flight.task}, timeout=timeout)
        kept = None if l1 is None else l1.look(key)
        if l1 is not None and kept is not None and kept.stamp == stamp:
            l1.drop(key)
        try:
            found = await room.store.get(key, timeout)
            if found is None:
                return
            entry = room.envelopes.read(key, found.data, left=found.left, now=room.clock.now())
            if entry.stamp == stamp:  # no tombstone: another's call may have begun since
                await room.store.forget(key, 0.0, timeout)
        except (StoreError, Undecodable):
            return

    async def try_all(self, keys: Iterable[Key]) -> None:
        """Several keys, as far as the store takes it; never raises."""
        await asyncio.gather(*map(self.one, keys), return_exceptions=True)

    async def tag(self, namespace: str, tag: str) -> None:
        """All that bears a tag; the tag "" is on everything in the namespace."""
        generations, timeout = self.rooms.here().generations, self.policy.op_timeout

        def bears(flight: Flight[Any]) -> bool:
            key: object = flight.key
            if not isinstance(key, Key) or key.namespace != namespace:
                return False
            return not tag or flight.about is None or tag in flight.about.tags

        await self._forget(
            bears,
            lambda: self.rooms.copies.forgotten(namespace, tag),
            generations.renew(namespace, tag, timeout),
        )

    async def reclaim(self, namespace: str) -> None:
        """Delete what is stored in a namespace, a few at a time, in whatever time that takes."""
        if self.rooms.l1 is not None:
            self.rooms.l1.drop_namespace(namespace)
        await self.rooms.here().store.store.clear(namespace)

    async def _forget(
        self,
        mine: Callable[[Flight[Any]], bool],
        drop: Callable[[], object],
        forgetting: Awaitable[object],
    ) -> None:
        # twice: what started between the first time and the store's deletion may hold the old entry
        self.rooms.detach(mine)
        drop()
        try:
            await forgetting
        finally:
            self.rooms.detach(mine, done=True)
            drop()
