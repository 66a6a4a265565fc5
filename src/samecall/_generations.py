"""What this process knows of the generations of tags, and whether an entry is of them.

An entry bears the generations of its namespace and tags as they were when its call began. What is
forgotten by a tag gets the tag another generation, so an entry of an older one counts for nothing,
wherever it lies and whenever it was stored.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from samecall._arrivals import UNTAGGED, Arrivals, Begun
from samecall._copies import Copies
from samecall._entry import Key
from samecall._errors import StoreError
from samecall._failopen import FailOpenStore
from samecall._lineage import Lineage
from samecall._policy import Policy
from samecall._ports import Clock, Offer

__all__ = ["UNTAGGED", "Copies", "Generations"]

_MOST = 10_000
_TOLD = 60.0  # seconds for which one is believed at most, even if its end would be told
_GRACE = 5.0  # seconds for which a copy is believed while the store does not answer
_GRACE_OF_PART = 30.0  # or the part that knows, while others answer: until a replica takes over
_REST = 1.0  # seconds after such a silence in which a copy is believed without a question
_RECENT, _ROUNDS = 1.0, 3
_SPARE = 1.25  # times an entry's life, so that the next ones need not ask again
_NOBODY = Policy()
_Names = tuple[str, ...]


class _Made(Protocol):
    """What was made under generations: an entry, a tape."""

    @property
    def tags(self) -> _Names: ...

    @property
    def generations(self) -> tuple[bytes, ...]: ...


@dataclass(slots=True, eq=False)
class Generations:
    """Asks the store of one event loop for what the copies do not tell."""

    store: FailOpenStore
    copies: Copies
    clock: Clock
    trusted: Callable[[str], float] = lambda _: 0.0
    """Of a namespace: for how many seconds what is asked for now is believed, if that is long."""
    lineage: Lineage | None = None
    """Seals them and opens them, where entries are sealed."""
    _asking: dict[tuple[str, _Names], asyncio.Task[tuple[bytes, ...] | None]] = field(
        default_factory=dict[tuple[str, _Names], asyncio.Task[tuple[bytes, ...] | None]]
    )
    _arrivals: Arrivals = field(init=False)
    _ending: dict[tuple[str, str], asyncio.Future[None]] = field(
        default_factory=dict[tuple[str, str], asyncio.Future[None]]
    )
    _rests: dict[tuple[str, _Names], float] = field(default_factory=dict[tuple[str, _Names], float])
    _righting: dict[tuple[str, _Names], asyncio.Task[tuple[bytes, ...] | None]] = field(
        default_factory=dict[tuple[str, _Names], asyncio.Task[tuple[bytes, ...] | None]]
    )

    def __post_init__(self) -> None:
        self._arrivals = Arrivals(self.copies)

    def ahead(self, namespace: str, tags: _Names, policy: Policy) -> None:
        """Have them asked for in the same batch as what is asked in this turn of the loop."""
        names = ("", *tags) if tags else UNTAGGED
        if (namespace, names) not in self._asking and self.copies.of(namespace, names) is None:
            _ = self._ask(namespace, names, policy)

    def coming(
        self, namespace: str, names: _Names
    ) -> asyncio.Task[tuple[bytes, ...] | None] | None:
        """What is being asked for and worth waiting for. `names`: "", then the tags."""
        asked = self._asking.get((namespace, names))
        return None if asked is None or self._resting(namespace, names) else asked

    def at_hand(self, namespace: str, names: _Names) -> tuple[bytes, ...] | None:
        """What `coming` will say, as soon as the store has said so; None: wait for that."""
        return None if self.lineage is not None else self._arrivals.at_hand(namespace, names)

    async def now(self, namespace: str, tags: _Names, policy: Policy | None) -> tuple[bytes, ...]:
        """The generations for what is called from now on; () where nobody knows them.

        Without a policy the store has had its time: nobody is asked anew, and a copy of any age
        will do. So it will where there is no other: what is stored under a generation that is over
        answers nobody.
        """
        names = ("", *tags)
        grace = _RECENT if policy is not None else float("inf")
        known = self.copies.of(namespace, names, grace=grace)
        if known is None and (policy is not None or (namespace, names) in self._asking):
            known = await self._told(namespace, names, policy or _NOBODY)
        return known or self.copies.of(namespace, names, grace=float("inf")) or ()

    async def told(self, namespace: str, tags: _Names, policy: Policy) -> tuple[bytes, ...] | None:
        """The present generations; None: nobody knows them, or not in time."""
        names = ("", *tags)
        return self.copies.of(namespace, names) or await self._told(namespace, names, policy)

    async def are(self, key: Key, entry: _Made, policy: Policy) -> bool:
        """Whether `entry` is of the present generations."""
        if len(entry.generations) != len(entry.tags) + 1:
            return False
        space, names = key.namespace, ("", *entry.tags)
        if self.copies.of(space, names) == entry.generations:
            return True
        # what is not as we know it may be newer than what we know: the store has the last word
        return self.are_these(key, entry, await self._told(space, names, policy))

    def are_these(self, key: Key, entry: _Made, told: tuple[bytes, ...] | None) -> bool:
        """Whether `entry` is of the generations that were told; None: nobody has, in time."""
        names = ("", *entry.tags)
        if told is None:
            told = self._copy(key.namespace, names)
        if told != entry.generations and len(entry.generations) == len(names):
            self.copies.borne(key.namespace, names, entry.generations)
        return told == entry.generations

    def believed(self, namespace: str, made: _Made) -> bool:
        """Whether `made` is of those that are believed while nobody answers."""
        return self._copy(namespace, ("", *made.tags)) == made.generations

    def _copy(self, namespace: str, names: _Names) -> tuple[bytes, ...] | None:
        """What is believed while nobody answers."""
        grace = _GRACE_OF_PART if self.store.stands_in_part else _GRACE
        return self.copies.of(namespace, names, grace=grace)

    def _resting(self, namespace: str, names: _Names) -> bool:
        # who asks ahead finds out when it answers again, and nobody waits for that
        until = self._rests.get((namespace, names), 0.0)
        return self.clock.now() < until

    async def _told(
        self, namespace: str, names: _Names, policy: Policy
    ) -> tuple[bytes, ...] | None:
        if self._resting(namespace, names):
            return None
        task = self._ask(namespace, names, policy)
        if not task.done():
            await asyncio.wait((task,))  # who leaves takes nobody's answer along, nor does a close
        # asked in the batch of what is compared, it was answered first
        return None if task.cancelled() else task.result()

    def _ask(
        self, namespace: str, names: _Names, policy: Policy
    ) -> asyncio.Task[tuple[bytes, ...] | None]:
        at = (namespace, names)
        task = self._asking.get(at)
        if task is None:
            # asked in this turn already, before what is to be compared with the answer
            begun = self._begin(namespace, names, policy)
            self._arrivals.expect(at, begun)
            fetching = self._fetch(namespace, names, policy, begun)
            task = asyncio.get_running_loop().create_task(fetching)
            self._asking[at] = task
            task.add_done_callback(partial(self._answered, at))
        return task

    def _answered(
        self, at: tuple[str, _Names], task: asyncio.Task[tuple[bytes, ...] | None]
    ) -> None:
        self._asking.pop(at, None)
        self._arrivals.over(at)
        if task.cancelled() or task.exception() is not None:
            return
        if task.result() is not None:
            self._rests.pop(at, None)
        elif len(self._rests) < _MOST or at in self._rests:
            self._rests[at] = self.clock.now() + _REST

    async def aclose(self) -> None:
        """End what is still asked for."""
        tasks = (*self._asking.values(), *self._righting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(
        self, namespace: str, names: _Names, policy: Policy, begun: Begun
    ) -> tuple[bytes, ...] | None:
        timeout = policy.op_timeout
        for number in range(_ROUNDS):
            begun = self._begin(namespace, names, policy) if number else begun
            told = await self._opened(namespace, names, begun, timeout)
            if told is None:
                if self.lineage is not None and self.lineage.puts_right(namespace, names):
                    continue
                return None
            if begun.ttl < _lasts(policy):  # what opens again is to last
                continue
            if self.copies.learn(namespace, names, told, begun.era, begun.asked, begun.trusted):
                self._put_right(namespace, names, begun.ttl, timeout)
                return told
            if self._is_told(namespace, names, told, begun):
                return told
            if number:  # the first time it may be a reply that another one overtook
                with contextlib.suppress(StoreError):
                    for tag in self.copies.over(namespace, names, told):
                        await self._renewed(namespace, tag, timeout)
        return None

    def _put_right(self, namespace: str, names: _Names, ttl: float, timeout: float) -> None:
        """Have what is to be sealed anew sealed anew: nobody waits, and nobody else may come."""
        lineage, at = self.lineage, (namespace, names)
        if lineage is None or at in self._righting or not lineage.puts_right(namespace, names):
            return
        asked = Begun(0, 0, self.clock.now(), 0.0, ttl, self._offers(namespace, names), None)
        asking = self._opened(namespace, names, asked, timeout)
        self._righting[at] = task = asyncio.get_running_loop().create_task(asking)
        task.add_done_callback(lambda _: self._righting.pop(at))

    async def _opened(
        self, namespace: str, names: _Names, begun: Begun, timeout: float
    ) -> tuple[bytes, ...] | None:
        """What the store tells, if it can be believed."""
        told = await self.store.generations(
            namespace, names, begun.ttl, timeout, begun.coming, begun.offers
        )
        if told is not None and self.lineage is not None:
            told = self.lineage.read(namespace, names, told)
        self.copies.lasting(told or (), begun.asked + begun.ttl)
        return told

    async def outlast(self, namespace: str, made: _Made, kept_for: float, timeout: float) -> None:
        """Have the store keep the generations of an entry for as long as the entry itself.

        They were asked for by some call's `ttl`; `lifetime`, another call's policy, or the file
        that an entry comes from may have given this one a longer life, which would end with them.
        """
        now, ttl = self.clock.now(), _SPARE * kept_for + _TOLD
        if self.copies.trusted == float("inf") or self.copies.outlast(
            made.generations, now + kept_for
        ):
            return
        names = ("", *made.tags)
        offers = self._offers(namespace, names)
        asked = Begun(0, 0, now, 0.0, ttl, offers, None)
        await self._opened(namespace, names, asked, timeout)

    async def renew(self, namespace: str, tag: str, timeout: float) -> None:
        """End the present generation, for everybody; raises `StoreError`."""
        done = self._ending[namespace, tag] = asyncio.get_running_loop().create_future()
        try:
            await self.store.renew_generation(namespace, tag, timeout)
            for at in [at for at in self._rests if at[0] == namespace and tag in at[1]]:
                del self._rests[at]  # the store answers, and has another one
        finally:
            done.set_result(None)
            if self._ending.get((namespace, tag)) is done:
                del self._ending[namespace, tag]

    async def _renewed(self, namespace: str, tag: str, timeout: float) -> None:
        # What is forgotten here and now is still told until that has come to the store; to end it
        # a second time would forget what was begun in between.
        ending = self._ending.get((namespace, tag))
        if ending is None:
            await self.renew(namespace, tag, timeout)
        else:
            await asyncio.wait((ending,))

    def _is_told(
        self, namespace: str, names: _Names, told: tuple[bytes, ...], begun: Begun
    ) -> bool:
        # Not to be kept, because somebody began or ceased to tell of changes meanwhile (another
        # event loop of this process, say); but what the store said is so.
        copies = self.copies
        stands = begun.era != copies.era and begun.changes == copies.changes
        return stands and not copies.over(namespace, names, told)

    def _begin(self, namespace: str, names: _Names, policy: Policy) -> Begun:
        ttl, offers = _lasts(policy), self._offers(namespace, names)
        if self.lineage is not None:
            ttl = self.lineage.lasts(namespace, names, ttl)
        coming = self.store.ask_generations(namespace, names, ttl, offers)
        trusted = min(_TOLD, self.trusted(namespace))
        copies = self.copies
        return Begun(copies.era, copies.changes, self.clock.now(), trusted, ttl, offers, coming)

    def _offers(self, namespace: str, names: _Names) -> Sequence[Offer]:
        if self.lineage is None or self.copies.floors is None:
            return ()
        return self.lineage.offers(namespace, names, self.copies.floors)


def _lasts(policy: Policy) -> float:
    # no entry outlives the generation that it bears, unless that is evicted
    return policy.ttl + policy.spare_for + policy.deadline + _TOLD
