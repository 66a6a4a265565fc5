"""The way of a job through a cluster: to the node that owns its slot, wherever that moves.

A node that was lost is asked for nothing until it answers again or its slots have another owner.
Meanwhile a new job for it fails at once, a job that was on its way is held for as long as its
caller waits, and one that settles a lease for longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from random import sample

from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError

from samecall._errors import NodeUnreachable, StoreError, StoreRefused, StoreUnreachable
from samecall._redis.batch import Lane
from samecall._redis.jobs import Job
from samecall._redis.link import Link, LinkLost, SlotMoving
from samecall._redis.lookout import Lookout
from samecall._redis.topology import (
    Address,
    Seeds,
    SlotMap,
    Slots,
    consult,
    is_alive,
    slot_of,
    told,
)

__all__ = ["Errand", "Node", "Router"]

_HELD = 5.0  # seconds for which a COMMIT, FAIL or RELEASE outlives a failover
_BREATH = 0.01
_STRAIGHT = 2  # redirections that are followed without a breath
_LOSSES = 1  # times that a job is sent on once more to a node that is alive and did not answer
_TRIES = 3  # over some 60 ms: a slot with few keys has moved by then


class Errand(Job, eq=False):
    """A job that may be sent on to another node."""

    slot: int = 0
    writes: bool = False
    hops: int = 0
    losses: int = 0
    until: float = 0.0

    def sets_out(self, *, writes: bool, limit: float) -> Errand:
        """Find out where it has to go, within `limit` seconds from now."""
        keys = (self.keys,) if isinstance(self.keys, str) else self.keys
        name = keys[0] if keys else self.args[1]
        self.slot = slot_of(name if isinstance(name, bytes) else str(name).encode())
        self.writes = writes
        self.until = _now() + (max(_HELD, limit) if self.settles else limit)
        return self

    @property
    def overdue(self) -> bool:
        """Whether nobody is there any more who waits for it."""
        return _now() >= self.until


def _now() -> float:
    return asyncio.get_running_loop().time()


class Node:
    """The lanes to one node; `down` while it is not to be asked, `doubted` until looked at."""

    def __init__(
        self, seeds: Seeds, address: Address, limit: float, stray: Callable[..., bool]
    ) -> None:
        make = seeds.at(address).make
        self.address = address
        self.down = False
        self.doubted = False
        name, tell = f"{address[0]}:{address[1]}", partial(stray, self)
        self.reads = Lane(Link(make, limit), f"reads-{name}", tell)
        one = seeds.one_lane
        self.writes = self.reads if one else Lane(Link(make, limit), f"writes-{name}", tell)

    def put(self, job: Errand) -> None:
        """Queue a job on the lane that it wants."""
        (self.writes if job.writes else self.reads).put(job)

    @property
    def busy(self) -> int:
        """Jobs that are queued or in flight."""
        return self.reads.busy + self.writes.busy


class Router:
    """The nodes of a cluster, as one event loop knows them."""

    def __init__(self, seeds: Seeds, limit: float) -> None:
        self.seeds = seeds
        self.limit = limit
        self.sharded = True
        self.slots = SlotMap()
        self.changed: Callable[[], None] = lambda: None
        """Called after each look at the topology."""
        self._nodes: dict[Address, Node] = {}
        self._held: list[Errand] = []
        self._known = False
        self._stale = False
        self._closed = False
        self._lookout = Lookout(self._learn, lambda: self.settled, self._give_up)

    # --- a job's way --------------------------------------------------------------------------

    def place(self, job: Errand) -> None:
        """Send a job to the owner of its slot, or hold it until that is known."""
        if job.reply.done() and not job.settles:
            job.fail(StoreError("nobody waited, and it was not sent"))
            return
        owner = self.slots[job.slot]
        node = self.node(owner) if owner is not None else None
        if node is not None and not node.down:
            node.put(job)
            return
        error = StoreError(f"no node of the cluster serves slot {job.slot} at the moment")
        if self._known and not job.hops and not job.settles and self.standing():
            self._lookout.soon()
            job.fail(error)
        else:
            self._hold(job, error)

    def stray(self, node: Node, job: Job, error: Exception) -> bool:
        """See `batch.Lane`."""
        cut = isinstance(error, LinkLost)  # the node may take connections all the same
        if isinstance(error, StoreUnreachable):
            (self.doubt if cut else self.lost)(node.address)
            if self.standing():  # one node is gone, and not the store
                error = NodeUnreachable(str(error))
        elif isinstance(error, ClusterDownError):
            error = StoreUnreachable(f"Redis answered: {error}")
        elif isinstance(error, StoreError):
            return False
        if not isinstance(job, Errand) or self._closed or job.overdue:
            if isinstance(error, StoreError):
                job.fail(error)
            return job.reply.done()
        job.asking = False
        job.hops += 1
        job.losses += cut
        return self._send_on(node, job, error)

    def _send_on(self, node: Node, job: Errand, error: Exception) -> bool:
        match error:
            case MovedError():
                self.moved(*told(error, node.address))
                # while two nodes send each other's jobs back, nothing is gained by haste
                if job.hops > _STRAIGHT:
                    self._later(job)
                else:
                    self.place(job)
            case AskError():
                _, there = told(error, node.address)
                job.asking = True
                self.node(self.seeds.reached(there)).put(job)
            case TryAgainError():  # the slot is on its way, and some of the keys have gone ahead
                if job.hops > _TRIES and not job.settles:
                    job.fail(SlotMoving(f"slot {job.slot} is on its way to another node"))
                else:
                    self._later(job)
            case StoreError():
                if job.losses > _LOSSES and not job.settles:  # who waits for it calls for himself
                    job.fail(error)
                else:
                    self._hold(job, error)
            case _:
                return False
        return True

    def _later(self, job: Errand) -> None:
        pause = _BREATH * min(job.hops, 5)
        asyncio.get_running_loop().call_later(pause, self._place_late, job)

    def _place_late(self, job: Errand) -> None:
        try:
            self.place(job)
        except StoreError as error:  # closed meanwhile
            job.fail(error)

    def _hold(self, job: Errand, error: StoreError) -> None:
        if self._closed or job.overdue:
            job.fail(error)
        else:
            self._held.append(job)
            self._lookout.soon()

    # --- nodes --------------------------------------------------------------------------------

    def node(self, address: Address) -> Node:
        """The lanes to a node, new if there are none."""
        if self._closed:
            raise StoreError("this store is closed")
        node = self._nodes.get(address)
        if node is None:
            node = Node(self.seeds, address, self.limit, self.stray)
            self._nodes[address] = node
        return node

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every node that has lanes."""
        return tuple(self._nodes.values())

    def standing(self) -> list[Node]:
        """The nodes that own slots and are not lost."""
        if self._closed:
            return []
        return [node for each in self.slots.nodes if not (node := self.node(each)).down]

    def lost(self, address: Address) -> None:
        """A node did not answer."""
        if address in self._nodes:
            self._nodes[address].down = True
        self._lookout.soon()

    def doubt(self, address: Address) -> None:
        """A connection to a node was lost: is the node?"""
        if address in self._nodes:
            self._nodes[address].doubted = True
        self._lookout.soon()

    def moved(self, slot: int, address: Address) -> None:
        """A node has told of another owner."""
        self.slots[slot] = self.seeds.reached(address)
        self._stale = True
        self._lookout.soon()

    # --- the topology -------------------------------------------------------------------------

    async def ready(self, *, afresh: bool = False) -> None:
        """Return once the topology is known, if `afresh` after one more look at it."""
        if self._closed:
            raise StoreError("this store is closed")
        if afresh or not self._known:
            await self._lookout.look()

    async def _learn(self) -> None:
        self._stale = False
        ranges, self.sharded = await self._consult_any()
        reached = self.seeds.reached
        self.slots.replace((first, last, reached(owner)) for first, last, owner in ranges)
        owners = self.slots.nodes
        found = [n for n in self.nodes if (n.down or n.doubted) and n.address in owners]
        await asyncio.gather(*(self._find_out(node) for node in found))
        self._known = True
        for node in self.nodes:
            if node.address not in owners and not node.busy:
                self._nodes.pop(node.address, None)
                await asyncio.gather(node.reads.aclose(0), node.writes.aclose(0))
        held, self._held = self._held, []
        for job in held:
            self._place_late(job)
        self.changed()

    async def _find_out(self, node: Node) -> None:
        node.doubted = False
        node.down = not await is_alive(self.seeds.at(node.address), self.limit)

    async def _consult_any(self) -> tuple[Slots, bool]:
        up = [node.address for node in self.nodes if not node.down]
        down = [node.address for node in self.nodes if node.down]
        troubles: list[StoreError] = []
        for address in dict.fromkeys((*sample(up, len(up)), *self.seeds.addresses, *down)):
            try:
                return await consult(self.seeds.at(address), self.limit)
            except StoreError as error:
                troubles.append(error)
        refused = [each for each in troubles if isinstance(each, StoreRefused)]
        raise (refused or troubles)[0]

    @property
    def settled(self) -> bool:
        """Whether every node answers and nobody has told of a change."""
        return not (self._held or self._stale or any(node.down for node in self.nodes))

    def _give_up(self, error: StoreError) -> None:
        held, self._held = self._held, []
        for job in held:
            job.fail(error)

    async def aclose(self) -> None:
        """End what looks, fail what is held."""
        self._closed = True
        await self._lookout.aclose()
