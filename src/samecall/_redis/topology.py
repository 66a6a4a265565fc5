"""Which node of a cluster owns which slot.

redis-py gives the hash of a key and the forms of MOVED and ASK. Its cluster client is not used:
its pools never check for unread data, its retries add up to seconds, and it learns a new topology
on the caller's way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.crc import REDIS_CLUSTER_HASH_SLOTS as SLOTS
from redis.crc import key_slot
from redis.exceptions import AskError, NoPermissionError, ResponseError

from samecall._errors import StoreError, StoreRefused, StoreUnreachable, StoreUnusable
from samecall._redis.client import Settings
from samecall._redis.link import Command, Link

__all__ = [
    "Address",
    "Seeds",
    "SlotMap",
    "Slots",
    "consult",
    "is_alive",
    "read_slots",
    "slot_of",
    "told",
]

_NO_CLUSTER = re.compile("cluster support disabled|unknown (sub)?command", re.IGNORECASE)
Address = tuple[str, int]
Slots = list[tuple[int, int, Address]]
"""First slot, last slot, owner."""


@dataclass(frozen=True, slots=True)
class Seeds:
    """Where to ask for a cluster's nodes, and how to connect to any of them."""

    addresses: tuple[Address, ...]
    settings: Settings
    remap: Callable[[Address], Address] | None = None
    one_lane: bool = False
    """Whether reads and writes share a connection: for fleets whose servers run out of them."""

    def at(self, address: Address) -> Settings:
        """The settings for one node."""
        return self.settings.at(*address)

    def reached(self, address: Address) -> Address:
        """Where a node that the cluster calls `address` is reached from here."""
        return self.remap(address) if self.remap is not None else address


def slot_of(name: bytes) -> int:
    """The slot of a key or channel."""
    return key_slot(name)


def told(error: AskError, by: Address) -> tuple[int, Address]:
    """The slot and the node that a redirection by a node at `by` names."""
    host, _, port = error.args[0].partition(" ")[2].rpartition(":")
    return error.slot_id, (host or by[0], int(port))  # no host: the node's own


class SlotMap:
    """The owners of all slots, as far as they are known."""

    def __init__(self) -> None:
        self._owners: list[Address | None] = [None] * SLOTS
        self.nodes: set[Address] = set()
        """Every node that owns a slot."""

    def __getitem__(self, slot: int) -> Address | None:
        return self._owners[slot]

    def __setitem__(self, slot: int, owner: Address) -> None:
        self._owners[slot] = owner
        self.nodes.add(owner)

    def replace(self, ranges: Iterable[tuple[int, int, Address]]) -> None:
        """Forget all, and know these: first slot, last slot, owner."""
        owners: list[Address | None] = [None] * SLOTS
        for first, last, owner in ranges:
            owners[first : last + 1] = [owner] * (last + 1 - first)
        self._owners = owners
        self.nodes = {owner for owner in owners if owner is not None}


def read_slots(reply: Any, asked: str) -> Slots:
    """The answer to CLUSTER SLOTS; a node without a name of its own is at the host `asked`."""
    found: Slots = []
    match reply:
        case [_, *_] as ranges:
            pass
        case _:
            raise StoreUnreachable(f"{asked} knows of no slots: {reply!r:.80}")
    for each in ranges:
        match each:
            case [int(first), int(last), [host, int(port), *_], *_] if (
                0 <= first <= last < SLOTS and (host is None or isinstance(host, bytes))
            ):
                # what is no text is no name that could be reached
                name = host.decode(errors="replace") if host and host != b"?" else asked
                found.append((first, last, (name, port)))
            case _:
                raise StoreUnreachable(f"{asked} gave an unexpected list of slots: {each!r:.80}")
    return found


async def consult(settings: Settings, limit: float) -> tuple[Slots, bool]:
    """What one node says: the slots, and whether it knows sharded channels (Redis 7)."""
    host = str(settings.options.get("host"))
    commands = [(b"CLUSTER", b"SLOTS"), (b"COMMAND", b"INFO", b"SSUBSCRIBE")]
    slots, known = await _ask(settings, limit, commands)
    if isinstance(slots, ResponseError):
        if isinstance(slots, NoPermissionError):
            raise StoreRefused(f"{host} answered CLUSTER SLOTS with: {slots}")
        if not _NO_CLUSTER.search(str(slots)):  # it is busy with a script, say
            raise StoreUnreachable(f"{host} answered CLUSTER SLOTS with: {slots}")
        raise StoreUnusable(
            f"{host} is no cluster ({slots}); a server by itself is redis://host:port"
        )
    # one that may not ask takes the newer way
    return read_slots(slots, host), known != [None]


async def is_alive(settings: Settings, limit: float) -> bool:
    """Whether a node answers, and not that it is still loading."""
    try:
        (reply,) = await _ask(settings, limit, [(b"PING",)])
    except StoreError:
        return False
    return bool(reply == b"PONG")


async def _ask(settings: Settings, limit: float, commands: Sequence[Command]) -> list[Any]:
    link = Link(settings.make, limit)
    try:
        return await link.exchange(commands)
    finally:
        await link.drop()
