"""A cluster's bells: one switchboard per shard, and every channel where its slot is.

Servers before version 7 know no sharded channels: there one switchboard serves all, on any node,
because they hand every message to all nodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from random import choice
from typing import Any

from redis.exceptions import MovedError

from samecall._errors import StoreError, StoreUnreachable
from samecall._redis.bell import Channel, RedisBell
from samecall._redis.bells import Switchboard
from samecall._redis.link import Command, Connection, LinkLost
from samecall._redis.router import Router
from samecall._redis.topology import Address, slot_of, told

__all__ = ["ClusterBells", "ShardBoard"]

_BREATH = 0.01


class ShardBoard(Switchboard):
    """The bells of one shard.

    `lost` is called when the node does not answer, `doubted` when it has closed the connection (it
    may have closed just this one), `moved` when it names another one for a slot.
    """

    publish = b"SPUBLISH"
    subscribe, unsubscribe = b"SSUBSCRIBE", b"SUNSUBSCRIBE"
    names_per_command = 1  # the channels of one command must share a slot

    def __init__(
        self,
        make: Callable[[], Connection],
        limit: float,
        lost: Callable[[], None],
        doubted: Callable[[], None],
        moved: Callable[[MovedError], None],
    ) -> None:
        super().__init__(make, limit)
        self._on_lost = lost
        self._on_doubted = doubted
        self._on_moved = moved
        self._leaving: dict[bytes, int] = {}  # unsubscriptions whose confirmation is due

    def names(self) -> tuple[bytes, ...]:
        """The channels that are known here."""
        return tuple(self._channels)

    def astray(self, slot: int) -> None:
        """What was asked for in a slot of another owner was not done."""
        for name, channel in self._channels.items():
            if channel.asked and not channel.live and slot_of(name) == slot:
                channel.asked = False

    def take(self, name: bytes) -> Channel:
        """Give a channel with its bells away."""
        channel = self._channels.pop(name)
        self._wanted.pop(name, None)
        if channel.asked:
            self._outbox.append((self.unsubscribe, name))
            self._write_soon()
        channel.asked = channel.live = False
        self._hurry.set()
        return channel

    def adopt(self, name: bytes, channel: Channel) -> None:
        """Take over a channel with its bells; they ring once it is subscribed."""
        channel.board = self
        self._channels[name] = channel
        self.resume(name)
        self.ensure()
        self._hurry.set()
        if not channel.bells:
            self.sweep_later()

    def resume(self, name: bytes) -> None:
        """Subscribe to a channel that is known here, unless that is under way."""
        if not self._channels[name].asked:
            self._wanted[name] = None
            self._write_soon()

    def _lost(self, error: StoreError) -> None:
        super()._lost(error)
        if isinstance(error, LinkLost):
            self._on_doubted()
        elif isinstance(error, StoreUnreachable):  # a login that may not listen finds it there
            self._on_lost()

    def _deafened(self) -> None:
        super()._deafened()
        self._leaving.clear()

    async def _read(self, connection: Connection) -> Any:
        try:
            return await super()._read(connection)
        except MovedError as error:
            return error

    def _hear(self, message: Any) -> None:
        match message:
            case [b"smessage", name, data]:
                super()._hear([b"message", name, data])
            case [b"ssubscribe", name, count]:
                super()._hear([b"subscribe", name, count])
            case [b"sunsubscribe", bytes(name), count]:
                if self._leaving.get(name):
                    self._leaving[name] -= 1
                    super()._hear([b"unsubscribe", name, count])
                else:
                    self._expelled(name)
            case MovedError():
                super()._hear([b"pong", b""])  # an answer to some command, no more
                self.astray(message.slot_id)
                self._on_moved(message)
            case _:
                super()._hear(message)

    def _expelled(self, name: bytes) -> None:
        # the slot has left this shard: ask again here, and the answer tells where it is
        channel = self._channels.get(name)
        if channel is not None and channel.asked:
            for bell in channel.bells:
                if bell.entered.done():
                    bell.ring(b"")
            channel.asked = channel.live = False
            self.resume(name)

    def _due(self) -> list[Command]:
        commands = super()._due()
        for verb, *names in commands:
            for name in names:
                if verb == self.unsubscribe and isinstance(name, bytes):
                    self._leaving[name] = self._leaving.get(name, 0) + 1
        return commands


class ClusterBells:
    """All bells of one event loop on a cluster; see `bells.Switchboard`."""

    def __init__(self, router: Router, limit: float) -> None:
        self._router = router
        self._limit = limit
        self._boards: dict[Address, ShardBoard] = {}
        self._one: Switchboard | None = None
        self._closed = False
        router.changed = self._rehome

    @property
    def publish(self) -> bytes:
        """The command that rings."""
        return ShardBoard.publish if self._router.sharded else Switchboard.publish

    @asynccontextmanager
    async def listen(self, name: bytes) -> AsyncGenerator[RedisBell, None]:
        """See `bells.Switchboard`."""
        await self._router.ready()
        async with self._board(name).listen(name) as bell:
            yield bell

    def statistics(self) -> tuple[int, int]:
        """See `bells.Switchboard`."""
        boards: list[Switchboard] = [*self._boards.values()]
        if self._one is not None:
            boards.append(self._one)
        counts = [board.statistics() for board in boards]
        return sum(bells for bells, _ in counts), sum(channels for _, channels in counts)

    def _board(self, name: bytes) -> Switchboard:
        if self._closed:
            raise StoreError("this store is closed")
        if not self._router.sharded:
            if self._one is None:
                self._one = Switchboard(self._make_any, self._limit)
            return self._one
        for board in self._boards.values():
            if board.knows(name):
                return board
        owner = self._router.slots[slot_of(name)]
        if owner is None:
            raise StoreError("no node of the cluster serves this channel")
        return self._board_at(owner)

    def _board_at(self, address: Address) -> ShardBoard:
        board = self._boards.get(address)
        if board is None:
            make = self._router.seeds.at(address).make
            lost = partial(self._router.lost, address)
            doubted = partial(self._router.doubt, address)
            moved = partial(self._moved, address)
            board = self._boards[address] = ShardBoard(make, self._limit, lost, doubted, moved)
        return board

    def _make_any(self) -> Connection:
        standing = [node.address for node in self._router.standing()]
        address = choice(standing or self._router.seeds.addresses)  # noqa: S311 - nothing secret
        return self._router.seeds.at(address).make()

    def _moved(self, by: Address, error: MovedError) -> None:
        self._router.moved(*told(error, by))
        # while two nodes send us to each other, nothing is gained by haste
        asyncio.get_running_loop().call_later(_BREATH, self._rehome)

    def _rehome(self) -> None:
        if self._closed:
            return
        for address, board in tuple(self._boards.items()):
            for name in board.names():
                owner = self._router.slots[slot_of(name)]
                if owner is not None and owner != address:
                    self._board_at(owner).adopt(name, board.take(name))
                else:
                    board.resume(name)

    async def aclose(self) -> None:
        """Ring every bell, close the connections."""
        self._closed = True
        boards: list[Switchboard] = [*self._boards.values()]
        if self._one is not None:
            boards.append(self._one)
        await asyncio.gather(*(board.aclose() for board in boards))
