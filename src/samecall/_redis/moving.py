"""ACQUIRE for a call whose slot is on its way to another node of a cluster.

While the keys of a slot move, no node runs a script over several keys of which one is absent
(TRYAGAIN); one key at a time is always served. So the lease is taken by itself, and only then is
looked at the rest: a COMMIT that came in between is seen, and the lease given back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from samecall._errors import StoreError
from samecall._ports import (
    EPOCH_NONE,
    SEEN_ANY,
    SEEN_NOTHING,
    Acquired,
    Failed,
    Found,
    Hit,
    Lead,
    Wait,
)
from samecall._stamps import stamp_of

__all__ = ["acquire_by_key"]

Look = Callable[[str], Awaitable[Found | None]]


async def acquire_by_key(
    names: tuple[str, ...],
    token: bytes,
    seen: bytes,
    look: Look,
    take: Callable[[str], Awaitable[bool]],
    free: Callable[[bytes], Awaitable[bool]],
) -> Acquired:
    """As ACQUIRE over value, error, lease and tombstone, in steps of one key each."""
    value_at, error_at, lease_at, tombstone_at = names
    value = await look(value_at)
    if value is not None and _takes(seen, _stamp(value)):
        return Hit(value.data, value.left)
    if not await take(lease_at):
        held = await look(lease_at)
        if held is None:
            raise StoreError("the slot moves, and its lease with it")
        if held.data != token and held.left > 0:
            return Wait(held.data, held.left, _stamp(value))
        # one without an end is nobody's, whoever would wait for it
        if held.data != token and not (await free(held.data) and await take(lease_at)):
            raise StoreError("the slot moves, and another was faster")
    value, error, tombstone = await asyncio.gather(*map(look, (value_at, error_at, tombstone_at)))
    if value is not None and _takes(seen, _stamp(value)):
        await free(token)
        return Hit(value.data, value.left)
    if error is not None and seen != SEEN_ANY:
        await free(token)
        return Failed(error.data, error.left)
    return Lead(_stamp(value), EPOCH_NONE if tombstone is None else tombstone.data)


def _stamp(value: Found | None) -> bytes:
    return SEEN_NOTHING if value is None else stamp_of(value.data)


def _takes(seen: bytes, stamp: bytes) -> bool:
    return stamp != SEEN_NOTHING and seen not in (SEEN_ANY, stamp)
