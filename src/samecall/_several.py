"""Calls that keep several answers: which of them a caller gets."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from samecall._arguments import Mode
from samecall._entry import Key
from samecall._errors import StoreError
from samecall._key import variant_of
from samecall._policy import Policy
from samecall._ports import SEEN_NOTHING
from samecall._room import Room

__all__ = ["Several", "Turns", "variants"]

_MOST = 10_000


def variants(key: Key, count: int) -> list[Key]:
    """The keys of the answers to one call; a variant has a key of its own."""
    return [variant_of(key, number) for number in range(count)]


class Turns:
    """Whose turn it is, in this process. Any thread may use it."""

    def __init__(self) -> None:
        self._next: dict[Key, int] = {}

    def pick(self, key: Key, policy: Policy) -> Key:
        """The variant that the next caller gets."""
        if policy.pick == "random":
            return variant_of(key, random.randrange(policy.variants))  # noqa: S311 - no secret
        number = self._next.get(key)
        if number is None:
            if len(self._next) >= _MOST:
                self._next.clear()
            # a fleet that starts at once is not to ask for the same one first, everywhere
            number = random.randrange(policy.variants)  # noqa: S311 - no secret
        self._next[key] = number + 1
        return variant_of(key, number % policy.variants)


@dataclass(frozen=True, slots=True)
class Several:
    """One request in the mode "refresh" or "only", which concern all variants of its key."""

    first: Key
    keys: list[Key]
    asks: Policy
    mode: Mode
    room: Room
    forget: Callable[[Iterable[Key]], Awaitable[None]]

    @property
    def policy(self) -> Policy:
        """For the one that is asked for."""
        return self.asks.replace(variants=1)

    async def one(self) -> Key:
        """The variant to ask for: with "only" one that is kept, if any is."""
        if self.mode != "only":
            return self.first
        for key in (self.first, *(each for each in self.keys if each != self.first)):
            if await self._is_kept(key):
                return key
        return self.first

    async def settle(self, one: Key) -> None:
        """After a refresh the others are as old as what it replaced: nobody gets them."""
        if self.mode == "refresh":
            await self.forget(each for each in self.keys if each != one)

    async def _is_kept(self, key: Key) -> bool:
        room, policy = self.room, self.asks
        await room.flights.settled(key)  # what was answered here just now is on its way there
        if room.look(key, SEEN_NOTHING, policy) is not None:
            return True
        try:
            found = await room.store.get(key, policy.op_timeout)
        except StoreError:  # asking for the answer itself finds out what that means
            return False
        window = policy.stale_while_revalidate
        return await room.find(key, policy, found, window) is not None
