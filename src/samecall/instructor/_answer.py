"""What a cached `create` has to give, and its copies for those who come later."""

from __future__ import annotations

from typing import Any

from instructor.v2.dsl.response_list import ListResponse
from pydantic import BaseModel

from samecall.instructor._later import RAW, USAGE, Later, keeps_promises, now
from samecall.instructor._mould import Mould, Unmouldable

__all__ = ["Answer", "AnswerMould", "mould_of"]


class Answer:
    """What `create` returns, the completion that it was read from, and the usage of all tries.

    The last two may be given as promises (`Later`).
    """

    __slots__ = ("_raw", "_usage", "value")

    def __init__(self, value: Any, raw: Any, usage: Any = None) -> None:
        self.value = value
        self._raw = raw
        self._usage = usage

    @property
    def raw(self) -> Any:
        """The completion; the very object that hangs on the value."""
        return now(self._raw)

    @property
    def usage(self) -> Any:
        """The usage, likewise."""
        return now(self._usage)


class AnswerMould:
    """Casts answers like the one that it was made of, each its caller's own."""

    __slots__ = ("_later", "_marks", "_raw", "_usage", "_value", "size")

    def __init__(self, answer: Answer) -> None:
        """Raises `Unmouldable`. `size`: about how many bytes the mould holds."""
        value: Any = answer.value
        self._marks: tuple[str, ...] = ()
        self._later = False
        if isinstance(value, BaseModel) and value is not answer.raw:
            self._marks = tuple(name for name in (RAW, USAGE) if name in value.__dict__)
            self._later = keeps_promises(type(value))
            value = _bare(value)
        self._raw = Mould(answer.raw)
        self._usage = Mould(answer.usage)
        self._value = None if value is answer.raw else Mould(value)
        moulds = (self._raw, self._usage, self._value)
        self.size = sum(mould.size for mould in moulds if mould is not None)

    def cast(self) -> Answer:
        """An answer that shares nothing with another which anybody could change."""
        if self._value is None:
            raw = self._raw.cast()
            return Answer(raw, raw, self._usage.cast())
        value: Any = self._value.cast()
        raw, usage = self._part(self._raw), self._part(self._usage)
        for name in self._marks:
            value.__dict__[name] = raw if name is RAW else usage
        return Answer(value, raw, usage)

    def _part(self, mould: Mould) -> Any:
        return Later(mould.cast) if self._later else mould.cast()


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
    for name in (RAW, USAGE):
        copied.__dict__.pop(name, None)
    return copied
