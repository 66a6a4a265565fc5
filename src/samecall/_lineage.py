r"""Generations in a store that others may write to: sealed, and in the order of their making.

What the store holds for a tag is then the seal of a generation of 24 bytes, bound to namespace and
tag: the moment when it was made, which never lies before that of an older one that its maker knew
of, and 16 random bytes. Nobody without a key can make one; and one that comes back after a later
one was seen is known by its age.

    offset  length  what
    0       3       magic b"\xa5g\x01"
    3       -       the seal, see `Seal.close`
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeVar

from samecall._entry import new_stamp
from samecall._errors import Undecodable
from samecall._ports import Offer
from samecall._seal import CLOCKS, Seal
from samecall._warn import warn

__all__ = ["Floors", "Lineage", "moment"]

T = TypeVar("T")
_MAGIC = b"\xa5g\x01"
_MADE, _LENGTH = 8, 24
_MOST = 10_000
_DYING = 0.001
_Names = tuple[str, ...]


def moment() -> int:
    """Now, in microseconds since 1970."""
    return time.time_ns() // 1000


class Floors:
    """The latest moments at which tags are known to have had a generation; no lock."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[str, str], int] = OrderedDict()

    def of(self, namespace: str, tag: str) -> int:
        return self._made.get((namespace, tag), 0)

    def reach(self, namespace: str, tag: str, made: int) -> None:
        """There was one that was made at this moment, or what there was has ended then."""
        at = (namespace, tag)
        self._made[at] = max(made, self._made.pop(at, 0))
        if len(self._made) > _MOST:
            self._made.popitem(last=False)

    def seen(self, namespace: str, tag: str, generation: bytes) -> None:
        """A key was used to say that there was this one."""
        if len(generation) == _LENGTH:
            self.reach(namespace, tag, _made(generation))

    def below(self, namespace: str, tag: str, generation: bytes) -> bool:
        """Whether a later one is known, by more than clocks may differ."""
        return _made(generation) < self.of(namespace, tag) - CLOCKS * 1e6


class Lineage:
    """Seals and opens the generations of one event loop's store."""

    def __init__(self, seals: Seal) -> None:
        self._seals = seals
        self._instead: OrderedDict[tuple[str, str], Offer] = OrderedDict()
        self._closed: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._warned = False

    def offers(self, namespace: str, tags: _Names, floors: Floors) -> tuple[Offer, ...]:
        """What each tag is to begin with, where it has no generation."""
        return tuple(self._offer(namespace, tag, floors) for tag in tags)

    def _offer(self, namespace: str, tag: str, floors: Floors) -> Offer:
        instead = self._instead.get((namespace, tag))
        if instead is not None:
            return instead
        return Offer(self._begun(namespace, tag, floors.of(namespace, tag)))

    def _begun(self, namespace: str, tag: str, after: int = 0) -> bytes:
        made = max(moment(), after + 1)
        return self._sealed(namespace, tag, made.to_bytes(_MADE) + new_stamp())

    def _sealed(self, namespace: str, tag: str, generation: bytes) -> bytes:
        return _MAGIC + self._seals.close(generation, _bound(namespace, tag))

    def lasts(self, namespace: str, tags: _Names, ttl: float) -> float:
        """Seconds for which the store is asked to keep them.

        What does not open is left to die, unless somebody who opens it uses it: the key that it
        was sealed with may have been taken away.
        """
        return _DYING if any((namespace, tag) in self._closed for tag in tags) else ttl

    def read(self, namespace: str, tags: _Names, told: Sequence[bytes]) -> tuple[bytes, ...] | None:
        """The generations in what a store told; None: not all are to be believed.

        One that is not sealed, or with an older key, is put right with the next offer.
        """
        read = [self._read(namespace, tag, record) for tag, record in zip(tags, told, strict=True)]
        known = tuple(one for one in read if one is not None)
        return known if len(known) == len(read) else None

    def puts_right(self, namespace: str, tags: _Names) -> bool:
        """Whether it is worth asking again, after `read` has given None."""
        return any((namespace, tag) in self._instead for tag in tags)

    def _read(self, namespace: str, tag: str, record: bytes) -> bytes | None:
        at = (namespace, tag)
        self._instead.pop(at, None)
        if not record.startswith(_MAGIC):  # of a process without a key, or of who knows whom
            _put(self._instead, at, Offer(self._begun(namespace, tag), instead=record))
            return None
        sealed = record[len(_MAGIC) :]
        try:
            generation = self._seals.open(sealed, _bound(namespace, tag))
        except Undecodable as error:
            _put(self._closed, at, None)
            if not self._warned:
                self._warned = True
                warn(f"a generation does not open, and nothing under it is stored: {error}")
            return None
        self._closed.pop(at, None)
        if not self._seals.is_current(sealed):
            anew = self._sealed(namespace, tag, generation)
            _put(self._instead, at, Offer(anew, instead=record))
        return generation


def _put(table: OrderedDict[tuple[str, str], T], at: tuple[str, str], what: T) -> None:
    table[at] = what
    if len(table) > _MOST:
        table.popitem(last=False)


def _made(generation: bytes) -> int:
    return int.from_bytes(generation[:_MADE])


def _bound(namespace: str, tag: str) -> bytes:
    space = namespace.encode("utf-8", "surrogatepass")
    return _MAGIC + len(space).to_bytes(4) + space + tag.encode("utf-8", "surrogatepass")
