"""The key of a call, which also knows how the call's answer is read."""

from __future__ import annotations

from typing import Any

from samecall._codec import BaseCodec
from samecall._entry import Key, Payload
from samecall._policy import Policy
from samecall.instructor._codec import AnswerCodec

__all__ = ["AskedKey", "ValueCodec"]


class ValueCodec(BaseCodec[Any]):
    """Reads what `create` would return."""

    def __init__(self, codec: AnswerCodec) -> None:
        self._codec = codec

    def decode(self, payload: Payload) -> Any:
        """Parsed anew, as for any caller."""
        return self._codec.decode(payload).value


class AskedKey(Key, frozen=True, order=True):
    """Equal to the plain key that it is, which is also what a pickle keeps of it."""

    codec: BaseCodec[Any] = BaseCodec()
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
