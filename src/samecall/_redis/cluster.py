"""A cluster's lanes, as if they were one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from samecall._errors import StoreError
from samecall._prompt import Told
from samecall._redis.batch import Lane
from samecall._redis.link import Command
from samecall._redis.router import Errand, Node, Router
from samecall._redis.scripts import Script
from samecall._redis.topology import slot_of
from samecall._waiting import swallow

__all__ = ["ClusterLane"]

_PROBES = 64  # names that fall on every node unless it owns next to nothing


class ClusterLane:
    """The reading or the writing lanes to all nodes; see `batch.Lane`."""

    def __init__(self, router: Router, *, writes: bool) -> None:
        self._router = router
        self._writes = writes
        self._lane: Callable[[Node], Lane] = (lambda n: n.writes) if writes else (lambda n: n.reads)
        self._closed = False

    @property
    def busy(self) -> int:
        """Jobs that are queued or in flight."""
        return sum(self._lane(node).busy for node in self._router.nodes)

    def ask(
        self,
        script: Script | None,
        keys: str | tuple[str, ...],
        args: Command,
        *,
        settles: bool = False,
        joins: bytes = b"",
        read: Callable[[Any], Any] | None = None,
        told: Told | None = None,
    ) -> asyncio.Future[Any]:
        """Send one job to the owner of its first key."""
        if self._closed:
            raise StoreError("this store is closed")
        writes, limit = self._writes, self._router.limit
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        errand = Errand(script, keys, args, future, settles, joins, read, told)
        self._router.place(errand.sets_out(writes=writes, limit=limit))
        return future

    async def probe(self, script: Script, name: str) -> Any:
        """Run a script on every node that stands; the answer of the first that did it, if any."""
        await self._router.ready(afresh=not self._router.standing())
        asked: dict[Node, asyncio.Future[Any]] = {}
        standing = {node.address: node for node in self._router.standing()}
        for number in range(_PROBES):
            key = f"{name}:{number}"
            owner = self._router.slots[slot_of(key.encode())]
            node = standing.get(owner) if owner is not None else None
            if node is not None and node not in asked:
                asked[node] = self._lane(node).ask(script, (key,), ())
        trouble: BaseException = StoreError("no node of the cluster can be asked")
        for future in asked.values():
            future.add_done_callback(swallow)
        for coming in asyncio.as_completed(asked.values()):
            try:
                return await coming
            except StoreError as error:
                trouble = error
        raise trouble

    async def scan(self) -> tuple[Lane, ...]:
        """The lanes to all primaries."""
        await self._router.ready(afresh=True)
        return tuple(self._lane(self._router.node(each)) for each in self._router.slots.nodes)

    async def unlink(self, names: list[bytes]) -> Any:
        """Delete keys, each at its own node; how many there were."""
        asked = [self.ask(None, (), (b"UNLINK", name)) for name in names]
        return sum(await asyncio.gather(*asked))

    async def aclose(self, limit: float) -> None:
        """Give what is under way `limit` seconds, then close the connections."""
        self._closed = True
        nodes = self._router.nodes
        await asyncio.gather(*(self._lane(node).aclose(limit) for node in nodes))
        await self._router.aclose()
