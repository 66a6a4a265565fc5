"""The rules of the lease protocol, as SQL over one connection.

Whoever calls opens and ends the transaction: all of these run inside one. They decide as the Lua
scripts of the Redis store do, line by line.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from samecall._disk.reels import Reels
from samecall._disk.tables import ERROR, NO_EPOCH, VALUE, Names, blob, left, names_of, space_of
from samecall._entry import Key
from samecall._ports import (
    EPOCH_NONE,
    EPOCH_UNTOLD,
    SEEN_ANY,
    SEEN_NOTHING,
    Acquired,
    Failed,
    Found,
    Hit,
    Lead,
    Offer,
    Wait,
)
from samecall._stamps import stamp_of

__all__ = ["Ledger"]

_WALKED, _WALKED_BYTES = 64, 2**20
_GUARDS = 3_600.0  # seconds, as long as a tombstone that a cache leaves


class Ledger(Reels):
    """What a store is asked, over the rows of one file."""

    # --- reading ------------------------------------------------------------------------------

    def look(self, key: Key, token: bytes, seen: bytes) -> Acquired | None:
        """What ACQUIRE answers if it need not write; None if nothing stands in the way of LEAD."""
        now, names = self.now(), names_of(key)
        found = self.entry(names, VALUE, now)
        stamp = stamp_of(found.data) if found is not None else SEEN_NOTHING
        if found is not None and stamp and seen not in (SEEN_ANY, stamp):
            return Hit(found.data, found.left)
        error = None if seen == SEEN_ANY else self.entry(names, ERROR, now)
        if error is not None:
            return Failed(error.data, error.left)
        held = self.held(names, now)
        if held is not None and held[0] != token:
            return Wait(held[0], held[1] - now, stamp)
        return None

    def get(self, key: Key) -> Found | None:
        """The bytes at `key`, unread."""
        return self.entry(names_of(key), VALUE, self.now())

    # --- leases -------------------------------------------------------------------------------

    def acquire(self, key: Key, token: bytes, seen: bytes, lease: float) -> Acquired:
        """See `_ports.LeaseStore`."""
        answer = self.look(key, token, seen)
        if answer is not None:
            return answer
        now, names = self.now(), names_of(key)
        found = self.entry(names, VALUE, now)
        if self.held(names, now) is None:  # one that comes twice shows nobody what it had recorded
            self.unwind(key, token)
        self.take(names, token, now + lease)
        stamp = stamp_of(found.data) if found is not None else SEEN_NOTHING
        epoch = self.epoch(names, now)
        if epoch != NO_EPOCH:
            return Lead(stamp, epoch)
        self.dig_up(names)  # it goes on guarding: nothing that was begun before comes back
        self.bury(names, now + _GUARDS)
        return Lead(stamp, self.epoch(names, now), ("tombstone",))

    def renew(self, key: Key, token: bytes, lease: float) -> bool:
        """See `_ports.LeaseStore`."""
        now = self.now()
        done = self.connection.execute(
            "UPDATE leases SET ends = ? WHERE space = ? AND digest = ? AND token = ? AND ends > ?",
            (now + lease, *names_of(key), token, now),
        )
        return done.rowcount == 1

    def commit(
        self, key: Key, token: bytes, seen: bytes, data: bytes, ttl: float, epoch: bytes
    ) -> bool:
        """See `_ports.LeaseStore`."""
        now, names = self.now(), names_of(key)
        held = self.held(names, now)
        ours = held is not None and held[0] == token
        answer = self._known(names, seen, stamp_of(data), epoch, now, ours=ours)
        if answer is None:
            self.put(names, VALUE, data, now + ttl, now)
            self.drop(names, ERROR)
        if answer is None or ours:
            self.free(names)
            self.ring(key, names, data if answer is None else b"")
        return answer is not False

    def _known(
        self, names: Names, seen: bytes, own: bytes, epoch: bytes, now: float, *, ours: bool
    ) -> bool | None:
        """What COMMIT answers without storing; None: it stores."""
        if not ours or epoch == EPOCH_UNTOLD:
            found = self.entry(names, VALUE, now)
            stamp = stamp_of(found.data) if found is not None else SEEN_NOTHING
            if stamp and stamp == own:
                return True  # sent twice: it is here already
            if stamp != seen or (not ours and self.held(names, now) is not None):
                return False
        return False if self.epoch(names, now) not in (EPOCH_NONE, epoch) else None

    def fail(self, key: Key, token: bytes, data: bytes, ttl: float, epoch: bytes) -> bool:
        """See `_ports.LeaseStore`."""
        now, names = self.now(), names_of(key)
        held = self.held(names, now)
        if held is None or held[0] != token:
            found = self.entry(names, ERROR, now)  # sent twice?
            return found is not None and stamp_of(found.data) == stamp_of(data) != b""
        forgotten = self.epoch(names, now) not in (EPOCH_NONE, epoch)
        kept = ttl > 0 and not forgotten
        if kept:
            self.put(names, ERROR, data, now + ttl, now)
        self.free(names)
        self.ring(key, names, data if kept else b"")
        return not forgotten

    def release(self, key: Key, token: bytes) -> bool:
        """See `_ports.LeaseStore`."""
        names = names_of(key)
        held = self.held(names, self.now())
        if held is None or held[0] != token:
            return False
        self.free(names)
        self.ring(key, names, b"")
        return True

    # --- entries ------------------------------------------------------------------------------

    def set(self, key: Key, data: bytes, ttl: float) -> None:
        """See `_ports.Store`."""
        now = self.now()
        self.put(names_of(key), VALUE, data, now + ttl, now)

    def forget(self, key: Key, tombstone: float) -> None:
        """See `_ports.Store`."""
        now, names = self.now(), names_of(key)
        if tombstone > 0 or self.epoch(names, now) != EPOCH_NONE:
            self.bury(names, now + tombstone)
        self.drop(names, VALUE)
        self.drop(names, ERROR)
        held = self.held(names, now)
        if held is not None:
            self.unwind(key, held[0])
        self.free(names)
        self.ring(key, names, b"")

    def after(self, namespace: str, digest: bytes) -> list[tuple[Key, Found]]:
        """A few of the values whose digests come after `digest`, in their order."""
        now, few, size = self.now(), list[tuple[Key, Found]](), 0
        rows = self.connection.execute(
            "SELECT digest, data, ends FROM entries"
            " WHERE space = ? AND digest > ? AND kind = ? AND ends > ? ORDER BY digest LIMIT ?",
            (space_of(namespace), digest, VALUE, now, _WALKED),
        )
        for at, data, ends in rows:
            few.append((Key(at, namespace), Found(blob(data), left(ends, now))))
            size += len(blob(data))
            if size > _WALKED_BYTES:
                break
        return few

    def known_generations(
        self, namespace: str, tags: Sequence[str], ttl: float, offers: Sequence[Offer]
    ) -> tuple[bytes, ...] | None:
        """The generations of tags; None if one is missing, to be another, or ends too soon."""
        space, until = space_of(namespace), self.now() + ttl
        found = [self.generation((space, space_of(tag)), until) for tag in tags]
        pairs = zip(found, offers, strict=True)
        known = tuple(one for one, offer in pairs if one is not None and one != offer.instead)
        return known if len(known) == len(tags) else None

    def generations(
        self, namespace: str, tags: Sequence[str], ttl: float, offers: Sequence[Offer]
    ) -> tuple[bytes, ...]:
        """See `_ports.Store`."""
        space, now = space_of(namespace), self.now()
        for tag, offer in zip(tags, offers, strict=True):
            found = self.generation((space, space_of(tag)), now + ttl)
            if found is None or found == offer.instead:
                # for twice as long as was asked, so that most times reading is enough
                self.prolong((space, space_of(tag)), offer, now, now + 2 * ttl)
        return self.known_generations(namespace, tags, ttl, offers) or ()

    def renew_generation(self, namespace: str, tag: str) -> None:
        """See `_ports.Store`."""
        self.drop_generation((space_of(namespace), space_of(tag)))

    def clear(self, namespace: str) -> int:
        """See `_ports.Store`."""
        space, now = space_of(namespace), self.now()
        (alive,) = self.connection.execute(
            "SELECT count(*) FROM entries WHERE space = ? AND kind = ? AND ends > ?",
            (space, VALUE, now),
        ).fetchone()
        self.connection.execute("DELETE FROM entries WHERE space = ?", (space,))
        return int(alive)

    def ping(self) -> None:
        """Write something."""
        self.connection.execute(
            "INSERT OR REPLACE INTO meta VALUES ('ping', ?)", (int.from_bytes(os.urandom(4)),)
        )
