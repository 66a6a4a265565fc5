"""How the answer of a call is read by its key."""

from __future__ import annotations

from typing import Any

from samecall._codec import BaseCodec
from samecall._entry import Payload
from samecall.instructor._codec import AnswerCodec

__all__ = ["ValueCodec"]


class ValueCodec(BaseCodec[Any]):
    """Reads what `create` would return."""

    def __init__(self, codec: AnswerCodec) -> None:
        self._codec = codec

    def decode(self, payload: Payload) -> Any:
        """Parsed anew, as for any caller."""
        return self._codec.decode(payload).value
