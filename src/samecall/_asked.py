"""The key of a call, which also knows how the call's answer is read and how many there may be."""

from __future__ import annotations

from typing import Any

from samecall._entry import Key
from samecall._policy import Policy
from samecall._ports import Codec

__all__ = ["AskedKey"]


class AskedKey(Key, frozen=True, order=True):
    """Equal to the plain key that it is, which is also what a pickle keeps of it."""

    codec: Codec[Any] | None = None
    policy: Policy | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Key):
            return NotImplemented
        return (self.digest, self.namespace) == (other.digest, other.namespace)

    def __hash__(self) -> int:
        return hash(Key(self.digest, self.namespace))

    def __reduce__(self) -> tuple[Any, ...]:
        return (Key, (self.digest, self.namespace))

    def __repr__(self) -> str:
        return repr(Key(self.digest, self.namespace))
