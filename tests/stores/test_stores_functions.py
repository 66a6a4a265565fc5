"""Memoized functions over every store: each kind of answer, methods, keys of one's own, streams."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar

import msgspec
import pytest
from place_support import Place, stored
from pydantic import BaseModel, ConfigDict, Field

from samecall import Cache, Seal
from samecall._portal import portal_for

T = TypeVar("T")


class User(BaseModel):
    name: str
    born: datetime | None = None
    money: Decimal = Decimal("1.50")
    tags: set[str] = set()
    word: str = Field(default="x", alias="Word")


class Row(msgspec.Struct):
    name: str
    when: datetime | None = None


@dataclasses.dataclass
class Point:
    x: float
    y: tuple[int, ...] = ()


class Colour(Enum):
    RED = "red"


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)
    when: datetime
    row: tuple[int, ...] = ()


@dataclasses.dataclass
class Page:
    rows: list[Row]


KINDS: list[tuple[Any, Any]] = [
    (User, User(name="Ada", born=datetime(1815, 12, 10, tzinfo=UTC), tags={"x"}, Word="y")),
    (list[User], [User(name="Ada"), User(name="Bob")]),
    (User | None, None),
    (Row, Row("Ada", datetime(1815, 12, 10, tzinfo=UTC))),
    (dict[str, list[Row]], {"a": [Row("b")]}),
    (Point, Point(1.5, (1, 2))),
    (list[Point], [Point(1.5)]),
    (tuple[int, Colour], (1, Colour.RED)),
    (Strict, Strict(when=datetime(1815, 12, 10, tzinfo=UTC))),
    (set[Strict], {Strict(when=datetime(1815, 12, 10, tzinfo=UTC), row=(1,))}),
    (Page, Page([Row("Ada")])),
    (Any, {"a": [1, None, True, 1.5, b"\xff", "é"]}),
    (inspect.Signature.empty, "text " * 1_000),
]
each_kind = pytest.mark.parametrize(
    ("result", "answer"), KINDS, ids=[str(result)[-20:] for result, _ in KINDS]
)


def of_kind(result: Any, function: Callable[..., Any]) -> Any:
    if result is inspect.Signature.empty:
        function.__annotations__.pop("return", None)
    else:
        function.__annotations__["return"] = result
    return function


def same(one: Any, other: Any) -> bool:
    return bool(one == other) and type(one) is type(other)


@each_kind
async def test_what_one_process_has_made_the_other_has_equal(
    place: Place, result: Any, answer: Any
) -> None:
    """Of the very type, a new object each time."""
    calls = 0

    async def ask(text: str) -> Any:
        nonlocal calls
        calls += 1
        return answer

    here, there = place.cache(), place.cache()
    one, other = (cache.memoize(of_kind(result, ask)) for cache in (here, there))
    assert await one("a") is answer
    await stored(here)
    assert same(await other("a"), answer)
    assert same(await other.peek("a"), answer)
    await other.forget("a")
    assert await one.peek("a") is None
    assert calls == 1


async def test_what_the_call_names_and_nobody_has_set(place: Place) -> None:
    """An answer is of the class that its call names; `exclude_unset` says what it did."""

    async def ask(text: str, model: type[T]) -> T:
        return model(name=text)  # type: ignore[call-arg]

    here, there = place.cache(), place.cache()
    made = await here.memoize(ask)("Ada", User)
    await stored(here)
    kept = await there.memoize(ask)("Ada", User)
    assert same(kept, made)
    assert kept.model_dump(exclude_unset=True) == made.model_dump(exclude_unset=True)
    assert kept.model_dump(exclude_unset=True) == {"name": "Ada"}
    assert await there.memoize(ask)("Ada", Row) == Row("Ada")
    assert (here.statistics().provider_calls, there.statistics().provider_calls) == (1, 1)


@each_kind
async def test_a_stream_of_it(place: Place, result: Any, answer: Any) -> None:
    calls = 0

    async def ask(text: str) -> AsyncIterator[Any]:
        nonlocal calls
        calls += 1
        for _ in range(2):
            yield answer

    item = Any if result is inspect.Signature.empty else result
    here, there = place.cache(), place.cache()
    one, other = (cache.memoize(of_kind(AsyncIterator[item], ask)) for cache in (here, there))
    assert [each async for each in one("a")] == [answer] * 2
    await stored(here)
    again = [each async for each in other("a")]
    assert len(again) == 2
    assert all(same(each, answer) for each in again)
    assert calls == 1


@pytest.mark.parametrize("seal", [None, Seal({"now": b"n" * 32}, "now")], ids=["open", "sealed"])
async def test_methods_and_keys_of_ones_own(place: Place, seal: Seal | None) -> None:
    """A method counts what its object holds, or what `key=` says; also where entries are sealed."""

    def made(cache: Cache) -> Any:
        @dataclasses.dataclass
        class Shop:
            town: str
            calls: int = dataclasses.field(default=0, compare=False)

            @cache.memoize
            async def price(self, thing: str) -> Point:
                self.calls += 1
                return Point(float(len(thing) + len(self.town)))

            @cache.memoize(key=lambda shop, thing, **_: (shop.town, thing.lower()), version="2")
            async def named(self, thing: str, *, log: object = None) -> Row:
                self.calls += 1
                return Row(thing)

        return Shop

    here, there = (place.cache(seal=seal, secret=b"sixteen bytes or more") for _ in range(2))
    first, second = made(here), made(there)
    one, other, elsewhere = first("Turin"), second("Turin"), second("Rome")
    assert await one.named("Tea") == Row("Tea")
    await stored(here)
    assert await other.named("TEA", log=object()) == Row("Tea")
    assert await elsewhere.named("tea") == Row("tea")
    assert (one.calls, other.calls, elsewhere.calls) == (1, 0, 1)
    one, other, elsewhere = first("Turin"), second("Turin"), second("Rome")
    assert await one.price("tea") == Point(8)
    await stored(here, 2)
    assert await other.price(thing="tea") == Point(8)
    assert await elsewhere.price("tea") == Point(7)
    assert (one.calls, other.calls, elsewhere.calls) == (1, 0, 1)


async def test_a_synchronous_one(place: Place) -> None:
    """Threads of two processes make one call; tags and `forget` reach both."""
    calls = 0

    def ask(text: str) -> list[User]:
        nonlocal calls
        calls += 1
        return [User(name=text)]

    here, there = place.cache(), place.cache()
    one, other = (cache.memoize(tags=["all"])(ask) for cache in (here, there))
    made = await asyncio.to_thread(one, "Ada")
    await stored(here)
    assert same(await asyncio.to_thread(other, "Ada"), made)
    assert same(await asyncio.to_thread(other.peek, "Ada"), made)
    assert calls == 1
    await asyncio.to_thread(other.forget, "Ada")
    assert await asyncio.to_thread(one.peek, "Ada") is None
    await asyncio.to_thread(one, "Ada")
    await stored(here, 2)
    await there.forget_tag("all")
    await asyncio.to_thread(other, "Ada")
    assert calls == 3
    for cache in (here, there):
        await asyncio.to_thread(portal_for(cache).call, cache.aclose)
