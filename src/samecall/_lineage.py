r"""Generations in a store that others may write to: sealed, and in the order of their making.

What the store holds for a tag is then the seal of a generation of 24 bytes, bound to namespace and
tag: the moment when it was made, which never lies before that of an older one that its maker knew
of, and 16 random bytes. Nobody without a key can make one; and one that comes back after a later
one was seen is known by its age. Where generations are valid for some time only, those who use one
seal it anew, and the moment of that follows it in the seal.

    offset  length  what
    0       3       magic b"\xa5g\x01"
    3       -       the seal, see `Seal.close`, of
                    8: microseconds since 1970, made    16: random    0 or 8: the same, renewed
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

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
_RENEWALS = 3  # in the time for which one is valid
_Names = tuple[str, ...]


class _Swap(NamedTuple):
    """What is to take the place of a record; none: another generation."""

    record: bytes
    again: bytes = b""


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
    """Seals and opens the generations of one event loop's store.

    valid_for: seconds after which one that nobody has sealed anew is over. over: those of some tags
    of a namespace whose generations are known to have ended; they are not sealed anew.
    """

    def __init__(
        self,
        seals: Seal,
        valid_for: float | None = None,
        over: Callable[[str, _Names, tuple[bytes, ...]], _Names] | None = None,
    ) -> None:
        self._seals = seals
        self._valid_for = valid_for
        self._over = over or _none_over
        self._instead: OrderedDict[tuple[str, str], _Swap] = OrderedDict()
        self._closed: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._warned = False

    def offers(self, namespace: str, tags: _Names, floors: Floors) -> tuple[Offer, ...]:
        """What each tag is to begin with, where it has no generation."""
        return tuple(self._offer(namespace, tag, floors) for tag in tags)

    def _offer(self, namespace: str, tag: str, floors: Floors) -> Offer:
        swap = self._instead.get((namespace, tag), ())
        return Offer(self._begun(namespace, tag, floors.of(namespace, tag)), *swap)

    def _begun(self, namespace: str, tag: str, after: int) -> bytes:
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

        One that is not sealed, with an older key, or long ago, is put right with the next offer.
        """
        read = [self._read(namespace, tag, record) for tag, record in zip(tags, told, strict=True)]
        known = tuple(one for one in read if one is not None)
        return known if len(known) == len(read) else None

    def puts_right(self, namespace: str, tags: _Names) -> bool:
        """Whether it is worth asking again, after `read`."""
        return any((namespace, tag) in self._instead for tag in tags)

    def _read(self, namespace: str, tag: str, record: bytes) -> bytes | None:
        at = (namespace, tag)
        self._instead.pop(at, None)
        if not record.startswith(_MAGIC):  # of a process without a key, or of who knows whom
            _put(self._instead, at, _Swap(record))
            return None
        sealed = record[len(_MAGIC) :]
        try:
            opened = self._seals.open(sealed, _bound(namespace, tag))
        except Undecodable as error:
            _put(self._closed, at, None)
            if not self._warned:
                self._warned = True
                warn(f"a generation does not open, and nothing under it is stored: {error}")
            return None
        self._closed.pop(at, None)
        return self._opened(at, record, opened, is_current=self._seals.is_current(sealed))

    def _opened(
        self, at: tuple[str, str], record: bytes, opened: bytes, *, is_current: bool
    ) -> bytes | None:
        (namespace, tag), generation = at, opened[:_LENGTH]
        if self._valid_for is not None:
            now = moment()
            age = (now - _made(opened[_LENGTH:] or generation)) / 1e6
            if age > self._valid_for + CLOCKS:
                _put(self._instead, at, _Swap(record))
                return None
            if age > self._valid_for / _RENEWALS and self._seals.renews_generations:
                opened, is_current = generation + now.to_bytes(_MADE), False
        # sealed anew, what has ended would be young
        if not is_current and not self._over(namespace, (tag,), (generation,)):
            _put(self._instead, at, _Swap(record, self._sealed(namespace, tag, opened)))
        return generation


def _none_over(namespace: str, tags: _Names, generations: tuple[bytes, ...]) -> _Names:
    return ()


def _put(table: OrderedDict[tuple[str, str], T], at: tuple[str, str], what: T) -> None:
    table[at] = what
    if len(table) > _MOST:
        table.popitem(last=False)


def _made(generation: bytes) -> int:
    return int.from_bytes(generation[:_MADE])


def _bound(namespace: str, tag: str) -> bytes:
    space = namespace.encode("utf-8", "surrogatepass")
    return _MAGIC + len(space).to_bytes(4) + space + tag.encode("utf-8", "surrogatepass")
