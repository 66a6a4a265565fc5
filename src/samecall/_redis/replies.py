"""What the scripts answer, read: anything but the expected form is a `StoreError`."""

from __future__ import annotations

from typing import cast

from samecall._errors import StoreError
from samecall._ports import Acquired, Failed, Found, Hit, Lead, Wait
from samecall._redis.nonsense import nonsense
from samecall._replies import Replaced

__all__ = ["acquired", "flag", "generation", "looked", "seconds"]

_CALLED = {b"v": "value", b"e": "error", b"l": "lease", b"t": "tombstone"}


def seconds(left: int) -> float:
    """Of a reply's milliseconds."""
    # -1 is a value that somebody made eternal: counted as expired, the next COMMIT mends it
    return max(0, left) / 1000


def flag(reply: object) -> bool:
    """Yes or no."""
    if isinstance(reply, int) and reply in (0, 1):
        return reply == 1
    raise nonsense(reply)


def generation(reply: object) -> bytes:
    """One of a name's, or the one that took the place of what was none."""
    match reply:
        case bytes():
            return reply
        case [bytes(made)]:
            return Replaced(made)
        case _:
            raise nonsense(reply)


def looked(reply: object) -> Found | None:
    """What LOOK says of one key."""
    match reply:
        case [b"N"]:
            return None
        case [b"H", int(left), bytes(data)]:
            return Found(data, seconds(left))
        case _:
            raise nonsense(reply)


def acquired(reply: object) -> Acquired:
    """What ACQUIRE says of one key."""
    if isinstance(reply, tuple):  # most are; and a `match` looks at each part's class twice
        parts = cast("tuple[object, ...]", reply)
        left, data = parts if len(parts) == 2 else (None, None)
        if type(left) is int and type(data) is bytes:
            return Hit(data, seconds(left))
        raise nonsense(parts)
    match reply:
        case [b"E", int(left), bytes(data)]:
            return Failed(data, seconds(left))
        case [b"W", bytes(token), int(left), bytes(stamp)]:
            return Wait(token, left / 1000, stamp)
        case [b"L", bytes(stamp), bytes(epoch)]:
            return Lead(stamp, epoch)
        case [b"L", bytes(stamp), bytes(epoch), bytes(odd)]:
            return Lead(
                stamp, epoch, tuple(name for letter, name in _CALLED.items() if letter in odd)
            )
        case [b"X", bytes(message)]:
            raise StoreError(f"Redis took no lease: {message.decode(errors='replace')}")
        case _:
            raise nonsense(reply)
