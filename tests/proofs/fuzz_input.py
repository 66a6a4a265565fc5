"""What fuzzed input is made of: things with something wrong, and objects of any kind."""

from __future__ import annotations

import math
import random
import sys
from typing import Any

from redis.exceptions import ResponseError

__all__ = ["Wrong", "must", "mutated", "odd_reply", "odd_row", "spoilt", "thing"]


class Wrong(Exception):
    """A target did what it must not do."""


def must(condition: object, what: str) -> None:
    if not condition:
        raise Wrong(what)


def mutated(chance: random.Random, seed: bytes) -> bytes:
    """`seed` with a few things wrong."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(7):
            case 0 if data:
                data[at % len(data)] ^= 1 << chance.randrange(8)
            case 1 if data:
                data[at % len(data)] = chance.choice(
                    b"\x00\x7f\x80\x90\xc0\xc1\xcf\xd9\xdc\xdf\xff"
                )
            case 2:
                del data[at:]
            case 3:
                data[at:at] = chance.randbytes(chance.randint(1, 9))
            case 4:
                del data[at : at + chance.randint(1, 9)]
            case 5:
                data[at:at] = data[: chance.randint(0, 30)]
            case _:
                data[at:at] = chance.choice((b"\x91", b"[", b'{"a":')) * chance.choice((3, 2_000))
    return bytes(data)


def spoilt(chance: random.Random, value: Any, depth: int = 3) -> Any:
    """Plain data with one part of it gone, twice there, or something else."""
    if depth and isinstance(value, (list, dict)) and value and chance.random() < 0.8:
        copy: Any = list(value) if isinstance(value, list) else dict(value)
        at = chance.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
        match chance.randrange(5):
            case 0:
                del copy[at]
            case 1 if isinstance(copy, list):
                copy.insert(at, copy[at])
            case _:
                copy[at] = spoilt(chance, copy[at], depth - 1)
        return copy
    numbers = (0, -1, 1, 2**63, 2**64 - 1, -(2**63), 1e308, math.nan, math.inf, True, None)
    deep: Any = []
    for _ in range(chance.choice((2, 40, 1_500))):
        deep = [deep]
    others = ("", "x", "\x1b[2J", "[bold", b"", b"\xff" * 16, [], {}, {"": 1}, [[]], deep, {1: "a"})
    return chance.choice((*numbers, *others))


def thing(chance: random.Random, depth: int = 4) -> Any:  # noqa: C901 - a closed match
    """Any object that somebody might put into a call."""
    match chance.randrange(15 if depth else 8):
        case 0:
            return chance.choice((None, True, False, NotImplemented, ...))
        case 1:
            return chance.choice((0, -1, 2**63, -(2**70), 10**5000, chance.getrandbits(40)))
        case 2:
            return chance.choice((0.0, -0.0, math.inf, math.nan, 1e308, chance.random()))
        case 3:
            return chance.randbytes(chance.randint(0, 20))
        case 4 | 5 | 6:
            size = chance.randint(0, 12)
            return "".join(chr(chance.choice((65, 0, 0xD800, 0x301, 0x1F600))) for _ in range(size))
        case 7:
            odd = (object(), len, Wrong, 1j, bytearray(b"x"), memoryview(b"x"), range(3))
            return chance.choice((*odd, sys.float_info, random.Random))
        case 8 | 9 | 10:
            return [thing(chance, depth - 1) for _ in range(chance.randint(0, 4))]
        case 11:
            return tuple(thing(chance, depth - 1) for _ in range(chance.randint(0, 3)))
        case 12:
            nested: Any = thing(chance, 0)
            for _ in range(chance.choice((10, 150, 3_000))):
                nested = [nested] if chance.random() < 0.9 else {"a": nested}
            return nested
        case 13:
            return {frozenset(str(chance.random())), "set"}
        case _:
            names = (chance.choice(("a", "", "\ud800", 1, None, b"a", (1, 2))) for _ in range(3))
            return {name: thing(chance, depth - 1) for name in names}


def odd_reply(chance: random.Random, *likely: Any, depth: int = 3) -> Any:
    """What a server might send: a likely reply, one with something wrong, or any other."""
    if likely and chance.random() < 0.6:
        return _retyped(chance, chance.choice(likely))
    match chance.randrange(7 if depth else 5):
        case 0:
            return chance.choice((None, b"", b"OK", b"QUEUED", b"M", [b"M"], ResponseError("no")))
        case 1:
            return chance.choice((0, 1, 2, -1, 2**63, -(2**40), 0.5, math.nan, True))
        case 2:
            return chance.randbytes(chance.randint(0, 20))
        case 3:
            return chance.choice(("text", "\ud800", {b"a": b"b"}, set[bytes](), {}))
        case 4:
            return [chance.choice((b"H", b"E", b"W", b"L", b"X", b"N")), b"", 1, b""]
        case _:
            return [odd_reply(chance, depth=depth - 1) for _ in range(chance.randint(0, 5))]


def _retyped(chance: random.Random, reply: Any) -> Any:
    if isinstance(reply, (list, tuple)) and reply and chance.random() < 0.85:
        copy = list(reply)
        at = chance.randrange(len(copy))
        match chance.randrange(6):
            case 0:
                del copy[at]
            case 1:
                copy.insert(at, copy[at])
            case 2:
                pass
            case _:
                copy[at] = _retyped(chance, copy[at])
        return tuple(copy) if isinstance(reply, tuple) else copy
    if isinstance(reply, bytes) and chance.random() < 0.5:
        return mutated(chance, reply)
    return odd_reply(chance, depth=1)


def odd_row(chance: random.Random, value: Any) -> Any:
    """What a column of SQLite may hold in the place of `value`: it has no types."""
    if isinstance(value, bytes) and chance.random() < 0.5:
        return mutated(chance, value)
    other = (None, 0, -1, 7, 2**62, -0.5, 1e308, math.inf, "", "text", "9", b"", b"\xff\xfe")
    return value if chance.random() < 0.4 else chance.choice(other)
