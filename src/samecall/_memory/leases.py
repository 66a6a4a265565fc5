"""Who leads, and what has been forgotten, in a store of this process; not thread-safe by itself."""

from __future__ import annotations

import os
from dataclasses import dataclass

from samecall._entry import Key
from samecall._ports import EPOCH_NONE

__all__ = ["Lease", "Leases"]

_SWEEP_FROM = 1_024


@dataclass(slots=True)
class Lease:
    """A leader's claim; over at `ends`."""

    token: bytes
    ends: float


@dataclass(frozen=True, slots=True)
class _Tombstone:
    epoch: bytes
    ends: float


class Leases:
    """Leases and tombstones by key; dead ones go when the tables have doubled since last time."""

    def __init__(self) -> None:
        self._held: dict[Key, Lease] = {}
        self._tombstones: dict[Key, _Tombstone] = {}
        self._sweep_at = _SWEEP_FROM

    def __len__(self) -> int:
        return len(self._held)

    def held(self, key: Key, now: float) -> Lease | None:
        """The living lease of a key."""
        lease = self._held.get(key)
        if lease is not None and now >= lease.ends:
            del self._held[key]
            return None
        return lease

    def take(self, key: Key, token: bytes, ends: float, now: float) -> None:
        """Give the lease of a key to `token`."""
        self._held[key] = Lease(token, ends)
        self._sweep_if_grown(now)

    def free(self, key: Key) -> None:
        """Nobody leads at a key."""
        self._held.pop(key, None)

    def free_all(self) -> None:
        """Nobody leads at all."""
        self._held = {}

    def bury(self, key: Key, tombstone: float, now: float) -> None:
        """Free the lease; leave another epoch for `tombstone` seconds, or as long as the last."""
        self.free(key)
        before = self._tombstones.get(key)
        ends = max(now + tombstone, before.ends if before is not None else now)
        self._tombstones[key] = _Tombstone(os.urandom(16), ends)
        self._sweep_if_grown(now)

    def epoch(self, key: Key, now: float) -> bytes:
        """What the last `forget` of a key left, while it stands."""
        left = self._tombstones.get(key)
        return left.epoch if left is not None and now < left.ends else EPOCH_NONE

    def forgotten(self, key: Key, epoch: bytes, now: float) -> bool:
        """Whether a `forget` came since `epoch`."""
        return self.epoch(key, now) not in (EPOCH_NONE, epoch)

    def sweep(self, now: float) -> None:
        """Let go of what is over."""
        self._held = {key: held for key, held in self._held.items() if now < held.ends}
        self._tombstones = {key: left for key, left in self._tombstones.items() if now < left.ends}

    def _sweep_if_grown(self, now: float) -> None:
        if len(self._held) + len(self._tombstones) > self._sweep_at:
            self.sweep(now)
            self._sweep_at = max(_SWEEP_FROM, 2 * (len(self._held) + len(self._tombstones)))
