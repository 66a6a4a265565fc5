"""What the scripts answer: anything but the expected form is a `StoreError`."""

from __future__ import annotations

from typing import Any, NoReturn, cast

from samecall._errors import StoreError
from samecall._ports import Acquired, Failed, Hit, Lead, Wait
from samecall._redis.nonsense import nonsense

__all__ = ["acquired", "flag", "generation", "refuse", "seconds"]


def refuse(reply: object) -> NoReturn:
    """Raises what such a reply comes to."""
    raise nonsense(reply)


def seconds(left: int) -> float:
    """Of a PTTL; -1 is a value that somebody made eternal.

    It counts as expired, and the next COMMIT mends it.
    """
    return max(0, left) / 1000


def flag(reply: object) -> bool:
    """Of 0 or 1."""
    if isinstance(reply, int) and reply in (0, 1):
        return reply == 1
    return refuse(reply)


def generation(reply: object) -> bytes:
    """Of GENERATIONS, one."""
    return reply if isinstance(reply, bytes) else refuse(reply)


def acquired(reply: object) -> Acquired:
    """Of ACQUIRE, one: a value with its PTTL, or a list."""
    if type(reply) is tuple:  # on the way of every hit
        left, data = cast("tuple[Any, Any]", reply)
        if type(left) is int and type(data) is bytes:
            return Hit(data, left / 1000 if left > 0 else 0.0)
    match reply:
        case [b"E", int(left), bytes(data)]:
            return Failed(data, seconds(left))
        case [b"W", bytes(token), int(left), bytes(stamp)]:
            return Wait(token, left / 1000, stamp)
        case [b"L", bytes(stamp), bytes(epoch)]:
            return Lead(stamp, epoch)
        case [b"X", bytes(message)]:
            raise StoreError(f"Redis took no lease: {message.decode(errors='replace')}")
        case _:
            refuse(reply)
