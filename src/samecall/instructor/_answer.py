"""What a cached `create` has to give, and its copies for those who come later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from instructor.v2.dsl.response_list import ListResponse
from pydantic import BaseModel

from samecall.instructor._mould import Mould, Unmouldable

__all__ = ["Answer", "AnswerMould", "mould_of"]

_RAW, _USAGE = "_raw_response", "_total_usage"


@dataclass(slots=True)
class Answer:
    """What `create` returns, the completion that it was read from, and the usage of all tries."""

    value: Any
    raw: Any
    usage: Any = None


class AnswerMould:
    """Casts answers like the one that it was made of, each its caller's own."""

    __slots__ = ("_marks", "_raw", "_usage", "_value", "size")

    def __init__(self, answer: Answer) -> None:
        """Raises `Unmouldable`. `size`: about how many bytes the mould holds."""
        value: Any = answer.value
        self._marks: tuple[str, ...] = ()
        if isinstance(value, BaseModel) and value is not answer.raw:
            self._marks = tuple(name for name in (_RAW, _USAGE) if name in value.__dict__)
            value = _bare(value)
        self._raw = Mould(answer.raw)
        self._usage = Mould(answer.usage)
        self._value = None if value is answer.raw else Mould(value)
        moulds = (self._raw, self._usage, self._value)
        self.size = sum(mould.size for mould in moulds if mould is not None)

    def cast(self) -> Answer:
        """An answer that shares nothing with another which anybody could change."""
        raw, usage = self._raw.cast(), self._usage.cast()
        if self._value is None:
            return Answer(raw, raw, usage)
        value = self._value.cast()
        for name in self._marks:
            value.__dict__[name] = raw if name is _RAW else usage
        return Answer(value, raw, usage)


class _ListMould(AnswerMould):
    __slots__ = ()

    def __init__(self, answer: Answer) -> None:
        super().__init__(Answer(list(answer.value), answer.raw, answer.usage))

    def cast(self) -> Answer:
        cast = super().cast()
        make: Any = getattr(ListResponse, "from_list")  # noqa: B009 - it has no types
        cast.value = make(cast.value, raw_response=cast.raw, total_usage=cast.usage)
        return cast


def mould_of(answer: Answer) -> AnswerMould | None:
    """What casts copies of an answer; None: there can be no such thing."""
    try:
        return (_ListMould if isinstance(answer.value, ListResponse) else AnswerMould)(answer)
    except Unmouldable:
        return None


def _bare(value: BaseModel) -> Any:
    """The model without what instructor put on it, for the mould alone."""
    copied: Any = BaseModel.__copy__(value)
    for name in (_RAW, _USAGE):
        copied.__dict__.pop(name, None)
    return copied
