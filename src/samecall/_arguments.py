"""What a cache takes, and what it says of anything else."""

from __future__ import annotations

import dataclasses
from typing import Literal, TypeVar

from samecall._errors import ConfigurationError
from samecall._policy import seconds

__all__ = ["L1", "MODES", "Mode", "check_namespace", "instance"]

T = TypeVar("T")
Mode = Literal["use", "refresh", "bypass", "only"]
MODES = ("use", "refresh", "bypass", "only")
_NAMESPACE = 200


@dataclasses.dataclass(frozen=True, slots=True)
class L1:
    """Bounds of the copies in process memory: entries, bytes, and seconds (or a timedelta)."""

    entries: int = 10_000
    bytes: int = 64 * 2**20
    ttl: float = 60.0

    def __post_init__(self) -> None:
        for name in ("entries", "bytes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(
                    f"L1 {name} takes a whole number of 1 or more; got {value!r}"
                )
        object.__setattr__(self, "ttl", seconds(self.ttl, "L1 ttl"))


def instance(value: T, kind: type, name: str) -> T:
    """`value` if it is a `kind`; else `ConfigurationError` names the argument."""
    if not isinstance(value, kind):
        raise ConfigurationError(f"{name} takes a {kind.__name__}; got {type(value).__name__}")
    return value


def check_namespace(namespace: object) -> str:
    """A namespace is a non-empty string of at most 200 characters."""
    if not isinstance(namespace, str) or not 0 < len(namespace) <= _NAMESPACE:
        raise ConfigurationError(
            f"namespace takes a string of 1 to {_NAMESPACE} characters; got {namespace!r:.60}"
        )
    return namespace
