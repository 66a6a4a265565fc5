"""What a test can make the next calls do, as records that also travel as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

__all__ = [
    "Answer",
    "Behaviour",
    "Cut",
    "CutAfter",
    "Hang",
    "HoldAfter",
    "Malformed",
    "Status",
    "check",
    "from_json",
    "to_json",
]


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer with `value`: a string goes out as it is, anything else as JSON.

    Goes into the call of the first tool where the request offers tools, else into the text. With
    `calls`, (tool name, arguments) pairs, into calls of just these tools.
    """

    value: Any = None
    calls: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Malformed:
    """Answer with what does not fit the schema, so that instructor asks again."""


@dataclass(frozen=True, slots=True)
class Status:
    """Answer with an HTTP error; `retry_after` in seconds goes into the Retry-After header."""

    code: int
    retry_after: float | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Cut:
    """Cut the connection before a byte of the answer is sent."""


@dataclass(frozen=True, slots=True)
class CutAfter:
    """Cut the connection after `chunks` events of a stream, or in the middle of a whole body.

    `held`: of a stream, with the next `release()`. `clean`: of a stream, end the body in good
    order, as a proxy does that has lost the provider.
    """

    chunks: int
    held: bool = False
    clean: bool = False


@dataclass(frozen=True, slots=True)
class HoldAfter:
    """Send `chunks` events of a stream, then wait for the next `release()` and go on."""

    chunks: int


@dataclass(frozen=True, slots=True)
class Hang:
    """Never answer; ends when the client goes away or the stub is closed."""


Behaviour = Answer | Malformed | Status | Cut | CutAfter | HoldAfter | Hang
_KINDS = (Answer, Malformed, Status, Cut, CutAfter, HoldAfter, Hang)
_BY_NAME: dict[str, type[Behaviour]] = {kind.__name__: kind for kind in _KINDS}


def check(behaviours: tuple[object, ...]) -> None:
    """`TypeError` for what is no behaviour."""
    for each in behaviours:
        if not isinstance(each, _KINDS):
            raise TypeError(f"script takes behaviours, each by itself; got {type(each).__name__}")


def to_json(behaviour: Behaviour) -> dict[str, Any]:
    """A behaviour as a JSON object."""
    return {"do": type(behaviour).__name__, **asdict(behaviour)}


def from_json(data: Mapping[str, Any]) -> Behaviour:
    """The behaviour in a JSON object; `ValueError` names what it takes."""
    kind = _BY_NAME.get(str(data.get("do")))
    if kind is None:
        raise ValueError(f"do: {data.get('do')!r} is none of {', '.join(sorted(_BY_NAME))}")
    fields = {name: value for name, value in data.items() if name != "do"}
    if kind is Answer and "calls" in fields:
        pairs = cast("list[tuple[str, Any]]", fields["calls"])
        fields["calls"] = tuple((name, value) for name, value in pairs)
    try:
        return kind(**fields)
    except TypeError as error:
        raise ValueError(str(error)) from error
