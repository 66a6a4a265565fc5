"""The generations of tags: random, so that one that was evicted comes back as a new one."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence

from samecall._ports import Offer

__all__ = ["Tagged"]


class Tagged:
    """The part of a store in memory that holds generations: the last used ones, up to `most`."""

    def __init__(self, most: int) -> None:
        self._generations: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._generations_most = most
        self._generations_lock = threading.Lock()

    async def generations(
        self, namespace: str, tags: Sequence[str], ttl: float, offers: Sequence[Offer] = ()
    ) -> tuple[bytes, ...]:
        """The generation of each tag, for as long as it is among the last used ones."""
        names = [(namespace, tag) for tag in tags]
        with self._generations_lock:
            if not offers:
                return tuple(self._generation(name, Offer(os.urandom(16))) for name in names)
            return tuple(map(self._generation, names, offers))

    async def renew_generation(self, namespace: str, tag: str) -> None:
        """Whoever asks next begins a new one."""
        with self._generations_lock:
            self._generations.pop((namespace, tag), None)

    def _generation(self, name: tuple[str, str], offer: Offer) -> bytes:
        known = self._generations
        if name not in known:
            known[name] = offer.fresh
            if len(known) > self._generations_most:
                known.popitem(last=False)
        elif known[name] == offer.instead:
            known[name] = offer.again or offer.fresh
        known.move_to_end(name)
        return known[name]

    def after_fork(self) -> None:
        """A lock may belong to a thread that is not here."""
        self._generations_lock = threading.Lock()
