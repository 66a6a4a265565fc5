"""A codec whose answers cost something."""

from __future__ import annotations

from typing import Any

from samecall._codec import PlainCodec
from samecall._entry import Payload, Spent


class Priced(PlainCodec):
    """Plain data that was paid for."""

    def encode(self, value: Any) -> Payload:
        plain = super().encode(value)
        return Payload(plain.tag, plain.data, self.spent(1000, 100))

    def about(self) -> Spent:
        return self.spent(0, 0)

    def spent(self, given: int, made: int) -> Spent:
        return Spent("gpt-4o-mini", "openai", given, made)
