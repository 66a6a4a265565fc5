"""What the golden files hold, as an application asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic import BaseModel

import instructor
from samecall import Cache, Cassette
from samecall.instructor import cached

SEALS = {"golden": b"golden key of thirty-two bytes.."}
LIFE = 3_600 * 86_400.0
"""Nearly ten years: what is in the files has not expired for a while."""


class Person(BaseModel):
    name: str
    age: int = 0


class Row(msgspec.Struct):
    number: int
    data: bytes = b""


@dataclass
class Point:
    x: float
    y: float


async def plain(cache: Cache, *, paid: bool) -> list[Any]:
    """Functions and streams: an answer of every kind."""

    def pays() -> None:
        assert paid, "what is in the file is asked for anew"

    async def call() -> Any:
        pays()
        return {"text": "the same words again; " * 30, "raw": b"\x00\xff", "n": [1, 2.5, None]}

    async def stream() -> AsyncIterator[Any]:
        async def items() -> AsyncIterator[Any]:
            pays()
            for number in range(3):
                yield {"part": number}

        return items()

    answer = await cache.get_or_call("plain", call, tags=("golden",))
    items = [item async for item in cache.stream("stream", stream)]
    return [answer, items, *await functions(cache, pays)]


async def functions(cache: Cache, pays: Callable[[], None]) -> list[Any]:
    """Memoized ones."""

    @cache.memoize
    async def person(name: str) -> Person:
        pays()
        return Person(name=name, age=36)

    @cache.memoize
    async def rows(count: int) -> list[Row]:
        pays()
        return [Row(number, b"\xff") for number in range(count)]

    @cache.memoize
    async def point(x: float) -> Point:
        pays()
        return Point(x, 2.0)

    @cache.memoize
    async def words(text: str) -> AsyncIterator[str]:
        pays()
        for word in text.split():
            yield word

    made = [await person("Ada"), await rows(2), await point(1.0)]
    return [*made, [word async for word in words("one two three")]]


PLAIN = [
    {"text": "the same words again; " * 30, "raw": b"\x00\xff", "n": [1, 2.5, None]},
    [{"part": 0}, {"part": 1}, {"part": 2}],
    Person(name="Ada", age=36),
    [Row(0, b"\xff"), Row(1, b"\xff")],
    Point(1.0, 2.0),
    ["one", "two", "three"],
]


async def clients(cassette: Cassette, openai_url: str, anthropic_url: str) -> list[Any]:
    """Calls and streams of two SDKs."""
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "Who?"}]}
    said: list[Any] = []
    async with (
        AsyncOpenAI(base_url=openai_url, api_key="dummy", max_retries=0) as openai,
        AsyncAnthropic(base_url=anthropic_url, api_key="dummy", max_retries=0) as anthropic,
    ):
        one = cached(instructor.from_openai(openai, model="gpt-4o-mini"), cassette)
        for temperature, model in ((0.0, Person), (0.1, list[Person]), (0.2, int)):
            kept: Any = {**asked, "response_model": model, "temperature": temperature}
            said += await one.create_with_completion(**kept)
        async for said_last in one.create_partial(response_model=Person, **asked, temperature=0.3):
            last = said_last
        said.append(last)
        other = cached(instructor.from_anthropic(anthropic, model="claude"), cassette)
        said += await other.create_with_completion(response_model=Person, max_tokens=100, **asked)
    return said
