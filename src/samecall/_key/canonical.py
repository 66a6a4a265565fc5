"""The canonical form of a call's arguments: equal questions give equal bytes, others never do.

The form is MessagePack with the keys of every dict in order, which msgspec writes; plain data
(which is nearly every call) goes to it as it is. What MessagePack has no type for is written as an
extension, whose code is the ASCII letter of its kind. What is one value and what is two:

- `1`, `True`, `1.0` and `"1"` are four; `"a"` and `b"a"` two; bytes and bytearray one.
- A list and a tuple of the same items are one, in their order; a set and a frozenset are one,
  in any order, and not a list. Dicts are one in any order.
- `-0.0` is `0.0`; all NaN are one; `Decimal("1.0")` and `Decimal("1")` are two, as they print.
- Subclasses of the builtin types are what they are sent as: their base.
- An enum member, model, Struct or dataclass counts with the qualified name of its class (not its
  module, which is `__main__` in one process and imported in the next) and its content: the value,
  or all fields and extras. Which fields were set explicitly does not count.
- A moment counts as its ISO text and the key of its `ZoneInfo`; a path as its text with "/".
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

import msgspec

from samecall._errors import Unkeyable
from samecall._key.odd import MAX_DEPTH, MOST, Unfit, encode, lowered

__all__ = ["MAX_DEPTH", "canonical", "plain_form", "plain_form_and_kind"]

_TEXT = frozenset({str})
_ROWS = frozenset({list, tuple})
_ATOMS = frozenset({str, int, bool, bytes, type(None)})


def canonical(value: object) -> bytes:
    """The canonical form of `value`; raises `Unkeyable` with the path of what has none."""
    try:
        form = plain_form(value)
        return encode(lowered(value)) if form is None else form
    except Unfit as unfit:
        raise Unkeyable(unfit.path(), unfit.why) from unfit.__cause__
    except RecursionError:
        raise Unkeyable("the value", "nested too deeply for the stack that is left") from None
    except (RuntimeError, msgspec.MsgspecError) as error:
        raise Unkeyable("the value", f"it changed while it was read ({error})") from error


def plain_form(value: object) -> bytes | None:
    """The canonical form of what msgspec writes so by itself; None for everything else."""
    return plain_form_and_kind(value)[0]


def plain_form_and_kind(value: object) -> tuple[bytes | None, bool]:
    """As `plain_form`; and whether all that it shows as a list is one, and no tuple."""
    row = int(type(value) is tuple)  # as most are: one round less
    items: Collection[Any] = cast("Collection[Any]", value) if row else (value,)
    spent = [row, row]
    try:
        return (encode(value) if _are_plain(items, spent, row) else None), not spent[1]
    except (UnicodeEncodeError, OverflowError, RecursionError):
        return None, False  # a lone surrogate, a very large number


def _are_plain(items: Collection[Any], spent: list[int], depth: int) -> bool:
    # whole containers at a time: the loop over their types runs in C
    spent[0] += len(items)
    if depth > MAX_DEPTH or spent[0] > MOST:
        return False
    if _ATOMS.issuperset(map(type, items)):
        return True
    for item in items:
        kind = cast("type[object]", type(item))
        if kind in _ATOMS:
            continue
        if kind is dict:
            if not _TEXT.issuperset(map(type, item)):
                return False
            item = item.values()  # noqa: PLW2901 - what is in it
        elif kind is float and (item < 0 or item > 0 or str(item) == "0.0"):
            continue  # zero has two forms, and "not a number" has many
        elif kind not in _ROWS:
            return False
        spent[1] += kind is tuple
        if not _are_plain(item, spent, depth + 1):
            return False
    return True
