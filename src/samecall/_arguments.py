"""What a cache takes, and what it says of anything else."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sized
from typing import Any, Literal, TypeVar, cast

from samecall._errors import ConfigurationError
from samecall._policy import seconds

__all__ = [
    "L1",
    "MODES",
    "NAMESPACE_MOST",
    "Mode",
    "check_namespace",
    "check_observers",
    "check_tags",
    "instance",
    "knowing",
]

T = TypeVar("T")
Mode = Literal["use", "refresh", "bypass", "only"]
MODES = ("use", "refresh", "bypass", "only")
NAMESPACE_MOST = 200
"""Characters in a namespace, or in a tag."""
_TAGS = 32


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


def knowing(value: T, method: str, name: str) -> T:
    """`value` if it has this method; else `ConfigurationError` names the argument."""
    if isinstance(value, type) or not callable(getattr(value, method, None)):
        raise ConfigurationError(f"{name} takes what has {method}(); got {value!r:.60}")
    return value


def check_observers(observers: Any) -> tuple[Any, ...]:
    """Those who are told of events, in a collection."""
    if not isinstance(observers, Collection):
        takes = "observers takes a tuple or list of observers"
        raise ConfigurationError(f"{takes}; got {type(observers).__name__}")
    return tuple(knowing(each, "on_event", "observers") for each in cast("Any", observers))


def check_namespace(namespace: object, name: str = "namespace") -> str:
    """A namespace is a non-empty string of at most 200 characters."""
    if not isinstance(namespace, str) or not 0 < len(namespace) <= NAMESPACE_MOST:
        raise ConfigurationError(
            f"{name} takes a string of 1 to {NAMESPACE_MOST} characters; got {namespace!r:.60}"
        )
    return namespace


def check_tags(tags: object, name: str = "tags") -> tuple[str, ...]:
    """Up to 32 tags in a collection, each a non-empty string of at most 200 characters."""
    takes = f"{name} takes up to {_TAGS} strings of 1 to {NAMESPACE_MOST} characters"
    given = cast("Collection[object]", tags)
    if isinstance(tags, (str, bytes)) or not isinstance(tags, Collection) or len(given) > _TAGS:
        raise ConfigurationError(f"{takes}, in a tuple, list or set; got a {_form(given)}")
    for tag in given:
        if not isinstance(tag, str) or not 0 < len(tag) <= NAMESPACE_MOST:
            raise ConfigurationError(f"{takes}; got a {_form(tag)}")
        if not tag.isascii() and any("\ud800" <= letter <= "\udfff" for letter in tag):
            raise ConfigurationError(f"{takes}, without lone surrogates")
    return tuple(sorted(set(cast("Collection[str]", tags))))


def _form(value: object) -> str:
    # what is no tag may be the text of a prompt, handed over by mistake
    size = f" of {len(value)}" if isinstance(value, Sized) else ""
    return f"{type(value).__name__}{size}"
