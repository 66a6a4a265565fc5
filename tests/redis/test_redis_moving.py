"""ACQUIRE in steps of one key each, with others between the steps."""

from __future__ import annotations

from typing import Any

from redis_parts import new_data, new_key

from samecall._ports import SEEN_ANY, Acquired, Failed, Found, Hit, Lead, Wait
from samecall._redis.moving import acquire_by_key

TOKEN, OTHER = b"t" * 16, b"u" * 16
NAMES = ("value", "error", "lease", "tombstone")


class Keys:
    """Single keys; `between` happens just before the lease is taken."""

    def __init__(self, between: dict[str, bytes] | None = None) -> None:
        self.at: dict[str, bytes] = {}
        self.between = between or {}
        self.left = 5.0

    async def look(self, name: str) -> Found | None:
        return Found(self.at[name], self.left) if name in self.at else None

    async def take(self, name: str) -> bool:
        self.at |= self.between
        self.between = {}
        return self.at.setdefault(name, TOKEN) is TOKEN

    async def free(self, token: bytes) -> bool:
        if self.at.get("lease") != token:
            return False
        del self.at["lease"]
        return True

    async def acquire(self, seen: bytes = b"") -> Acquired:
        return await acquire_by_key(NAMES, TOKEN, seen, self.look, self.take, self.free)


def data() -> bytes:
    return new_data(new_key())


async def test_nothing_there_leads() -> None:
    """The lease is ours; no stamp, no epoch."""
    keys = Keys()
    assert await keys.acquire() == Lead(b"")
    assert keys.at == {"lease": TOKEN}


async def test_an_own_lease_leads_again() -> None:
    """The reply of SET was lost."""
    keys = Keys()
    keys.at["lease"] = bytes(bytearray(TOKEN))
    assert await keys.acquire() == Lead(b"")


async def test_another_leads() -> None:
    """Wait for its token."""
    keys = Keys()
    keys.at["lease"] = OTHER
    assert await keys.acquire() == Wait(OTHER, 5.0, b"")


async def test_a_lease_without_an_end_is_taken() -> None:
    """Nobody renews it; a follower would take it for one that is renewed at each look."""
    keys = Keys()
    keys.at["lease"], keys.left = OTHER, 0.0
    assert await keys.acquire() == Lead(b"")
    assert keys.at["lease"] is TOKEN


async def test_a_value_is_a_hit_and_takes_no_lease() -> None:
    """Unless it was refused: then its stamp is told."""
    keys, value = Keys(), data()
    keys.at["value"] = value
    assert await keys.acquire() == Hit(value, 5.0)
    assert "lease" not in keys.at
    assert await keys.acquire(value[3:19]) == Lead(value[3:19])


async def test_a_commit_between_the_first_look_and_the_lease_is_seen() -> None:
    """1. we look: nothing. 2. the leader commits and frees. 3. we take the lease: give it back."""
    value = data()
    keys = Keys(between={"value": value})
    assert await keys.acquire() == Hit(value, 5.0)
    assert "lease" not in keys.at


async def test_an_error_between_is_told() -> None:
    """Likewise; a refresh passes over it."""
    keys = Keys(between={"error": b"e" * 60})
    assert await keys.acquire() == Failed(b"e" * 60, 5.0)
    assert "lease" not in keys.at
    assert await keys.acquire(SEEN_ANY) == Lead(b"")


async def test_the_epoch_of_a_forget_is_told() -> None:
    """COMMIT will compare it."""
    keys: Any = Keys()
    keys.at["tombstone"] = b"epoch"
    assert await keys.acquire() == Lead(b"", b"epoch")
