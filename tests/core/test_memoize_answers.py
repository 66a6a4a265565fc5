"""Answers of memoized functions: of the very types, or not stored; found by whatever annotation."""

from __future__ import annotations

import dataclasses
import sys
import uuid
from collections import OrderedDict, defaultdict, deque
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Generic, NamedTuple, Optional, Self, TypeVar

import msgspec
import pytest
from pydantic import BaseModel, ConfigDict, Field, field_serializer
from typing_extensions import TypeAliasType

from samecall import Cache, Memoized, MemoizedStream, SamecallWarning
from samecall._memory import MemoryStore

if TYPE_CHECKING:
    from somewhere import Client  # type: ignore[import-not-found]

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class Pair(NamedTuple):
    one: int
    two: int


class Text(str):
    __slots__ = ()


class Colour(Enum):
    RED = "red"


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    name: str


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    when: datetime
    money: Decimal
    ident: uuid.UUID
    colour: Colour
    row: tuple[int, ...] = ()


class User(BaseModel):
    name: str
    age: int = 3
    born: datetime | None = None


class Group(BaseModel):
    model_config = ConfigDict(extra="allow")
    users: dict[str, list[User]] = Field(alias="Users")
    label: str = ""


class Row(msgspec.Struct):
    name: str


class Generics(msgspec.Struct, Generic[T]):
    held: T


@dataclasses.dataclass
class Page:
    rows: list[Row]
    after: Page | None = None


Users = TypeAliasType("Users", list[User])


@dataclasses.dataclass
class Part:
    """Of which one field is not compared."""

    name: int | float
    raw: Any = dataclasses.field(default=(1, 2), compare=False)


class Amount(BaseModel):
    held: Decimal

    @field_serializer("held")
    def whole(self, held: Decimal) -> str:
        return str(held.normalize())


@dataclasses.dataclass
class Holder:
    user: User
    more: tuple[User, ...] = ()


module_cache = Cache(MemoryStore())


@pytest.fixture
async def cache() -> AsyncIterator[Cache]:
    async with Cache(MemoryStore()) as cache:
        yield cache


async def asked_twice(cache: Cache, result: Any, answer: Any) -> Any:
    async def ask() -> Any:
        return answer

    ask.__annotations__["return"] = result
    await cache.memoize(ask)()
    return await cache.memoize(ask)()


@pytest.mark.parametrize(
    ("result", "answer"),
    [
        (list[tuple[int, int]], [Pair(1, 2)]),
        (list[str], [Text("a")]),
        (list[dict[str, int]], [defaultdict(int, a=1)]),
        (dict[str, dict[str, int]], {"a": OrderedDict(b=1)}),
        (deque[int], deque([1], maxlen=3)),
        (deque[tuple[int, int]], deque([Pair(1, 2)])),
        (Part, Part(1)),
        (Amount, Amount(held=Decimal("1.50"))),
        (datetime, datetime(2026, 1, 1, fold=1)),  # noqa: DTZ001 - the second of two
        (datetime, datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2), "here"))),
    ],
    ids=lambda each: str(each)[:20],
)
async def test_what_is_equal_and_of_another_class_is_not_stored(
    cache: Cache, result: Any, answer: Any
) -> None:
    """Also far within: a named tuple is equal to a tuple, which has no names."""
    # the lowest pydantic has no deque at all
    with pytest.warns(SamecallWarning, match="would not come back equal|has no stored form"):
        assert await asked_twice(cache, result, answer) is answer
    assert (cache.statistics().provider_calls, cache.statistics().stored) == (2, 0)


KEPT = [
    (list[Pair], [Pair(1, 2)]),
    (set[Frozen], {Frozen(name="a"), Frozen(name="b")}),
    (frozenset[Frozen], frozenset({Frozen(name="a")})),
    (
        Strict,
        Strict(
            when=datetime(2026, 1, 2, tzinfo=UTC), money=Decimal("1.50"), ident=uuid.UUID(int=3),
            colour=Colour.RED, row=(1, 2),
        ),
    ),
    (User, User.model_validate_json('{"name": "a", "born": "2026-01-02T03:04:05+02:00"}')),
    (Page, Page([Row("a")], Page([]))),
    (dict[str, Page], {"a": Page([Row("a")])}),
    (Generics[int], Generics(1)),
    (list[Generics[Row]], [Generics(Row("a"))]),
    (Iterable[User], [User(name="a")]),
    (Iterable[Row], [Row("a")]),
    (Users, [User(name="a")]),
    (TypeAliasType("Rows", list[Row]), [Row("a")]),
]  # fmt: skip


@pytest.mark.parametrize(("result", "answer"), KEPT, ids=lambda each: str(each)[:30])
async def test_it_comes_back_equal(cache: Cache, result: Any, answer: Any) -> None:
    hit = await asked_twice(cache, result, answer)
    assert (hit, type(hit), repr(type(hit))) == (answer, type(answer), repr(type(answer)))
    assert hit is not answer
    assert cache.statistics().provider_calls == 1


async def test_what_nobody_has_set_is_unset_on_a_hit_as_well(cache: Cache) -> None:
    """A program that sends on what a model says has changed goes by `exclude_unset`."""
    some, none, every = User(name="a"), User(name="b", age=3, born=None), User(name="c", age=3)
    group = Group.model_validate({"Users": {"x": [some, none], "y": [every]}, "extra": some})
    answers: list[Any] = [some, [none, some], {"a": some}, group, Holder(every, (some, none))]
    results: list[Any] = [User, list[User], dict[str, User], Group, Holder]
    for result, answer in zip(results, answers, strict=True):
        if isinstance(answer, Group):
            answer.__pydantic_extra__ = {"extra": 1}
        hit = await asked_twice(cache, result, answer)
        dump = lambda value: msgspec.json.encode(value, enc_hook=unset)  # noqa: E731
        assert dump(hit) == dump(answer)
        assert hit == answer
    assert cache.statistics().provider_calls == len(answers)


def unset(value: Any) -> Any:
    return value.model_dump(mode="json", exclude_unset=True)


async def test_an_annotation_of_the_type_checkers_alone_is_in_nobodys_way(cache: Cache) -> None:
    """Nor is a class that stands in a function, where the function reads it."""

    class Local(BaseModel):
        name: str

    @cache.memoize(ignore=["client"])
    async def ask(text: str, client: Client | None = None) -> User:
        return User(name=text)

    @cache.memoize
    async def ask_local(text: str) -> list[Local]:
        return [Local(name=text)]

    assert await ask("a") == await ask("a") == User(name="a")
    assert await ask_local("a") == await ask_local("a") == [Local(name="a")]
    assert cache.statistics().provider_calls == 2


async def test_items_by_whatever_name_of_their_type(cache: Cache) -> None:
    async def each(text: str) -> Any:
        yield User(name=text)

    items = TypeAliasType("items", AsyncIterator[User])  # type: ignore[misc]
    for count, result in enumerate((items, Annotated[AsyncIterator[User], "some"]), 1):
        each.__annotations__["return"] = result
        for _ in range(2):
            asked = cache.memoize(version=count)(each)("a")
            assert [item async for item in asked] == [User(name="a")]
        assert cache.statistics().provider_calls == count


async def test_a_class_that_the_call_names_is_what_it_answers_with(cache: Cache) -> None:
    """`model: type[M]` and `-> M`, as functions around `client.create` have it."""

    @cache.memoize
    async def ask(text: str, model: type[M]) -> M:
        return model(name=text)

    @cache.memoize(ignore=["text"])
    async def ask_many(text: str, *, model: Optional[type[M]] = None) -> dict[str, M | None]:  # noqa: UP045
        return {text: model(name=text) if model else None}

    @cache.memoize
    async def each(text: str, model: type[M]) -> AsyncIterator[M]:
        yield model(name=text)

    for kind in (User, Frozen):
        assert await ask("a", kind) == await ask(text="a", model=kind) == kind(name="a")
        assert type(await ask("a", kind)) is type(await ask.peek("a", kind)) is kind
        key = ask.key_of("a", kind)
        assert await cache.peek(key) == kind(name="a")
        assert await ask_many("a", model=kind) == await ask_many("a", model=kind)
        assert type((await ask_many("a", model=kind))["a"]) is kind
        for _ in range(2):
            assert [item async for item in each("a", kind)] == [kind(name="a")]
        await ask.forget("a", kind)
        assert await ask.peek("a", kind) is None
    assert await ask_many("a") == {"a": None}
    assert cache.statistics().provider_calls == 7


class Own(BaseModel):
    model_config = ConfigDict(ignored_types=(Memoized, MemoizedStream))
    name: str

    @module_cache.memoize
    @classmethod
    async def load(cls, text: str) -> Self:
        return cls(name=text)

    @module_cache.memoize
    async def all(self, most: int) -> list[Self | None]:
        return [self, None][:most]

    @module_cache.memoize
    async def each(self) -> AsyncIterator[Self]:
        yield self


class Further(Own):
    more: int = 1


async def test_self_is_the_class_of_what_is_asked() -> None:
    before = module_cache.statistics().provider_calls
    for kind in (Own, Further):
        made = await kind.load("a")
        assert type(await kind.load("a")) is type(made) is kind
        assert await made.all(2) == await made.all(2) == [made, None]
        for _ in range(2):
            assert [type(item) async for item in made.each()] == [kind]
    assert module_cache.statistics().provider_calls - before == 6
    await module_cache.aclose()


async def test_a_class_that_does_not_count_still_separates_its_answers(cache: Cache) -> None:
    """Where `key=` leaves it out: an answer of one class is none of another."""

    @cache.memoize(key=lambda text, model: text)
    async def ask(text: str, model: type[M]) -> M:
        return model(name=text)

    assert type(await ask("a", User)) is type(await ask("a", User)) is User
    assert type(await ask("a", Frozen)) is Frozen
    assert cache.statistics().provider_calls == 2


async def test_lists_and_tuples_of_the_same_are_two_answers_and_two_questions(
    cache: Cache,
) -> None:
    """JSON has one word for them: a function that is said to give the other one has new keys."""

    @cache.memoize
    async def ask(text: str, form: Any) -> Any:
        return str(form)

    forms = [
        list[int], tuple[int, ...], set[int], frozenset[int], deque[int], list[tuple[int, ...]],
        tuple[list[int], ...], list[list[int]], dict[str, tuple[int, ...]], dict[str, list[int]],
        list[int] | None, tuple[int, ...] | None,
    ]  # fmt: skip
    assert [await ask("a", form) for form in forms] == [str(form) for form in forms]

    def made(result: Any) -> Any:
        async def other() -> Any: ...

        other.__annotations__["return"] = result
        return cache.memoize(other).key_of()

    assert len({made(form) for form in forms}) == len(forms)


LATER = """
from typing import TYPE_CHECKING
from pydantic import BaseModel
if TYPE_CHECKING:
    from somewhere import Client

def made(cache):
    @cache.memoize(ignore=["client"])
    async def ask(text, client: Client = None) -> list[User]:
        return [User(name=text)]
    return ask

class User(BaseModel):
    name: str
"""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are read at once there")
async def test_annotations_that_are_read_when_they_are_asked_for(cache: Cache) -> None:
    """A class that is defined further below, and one that only the type checker knows."""
    there: dict[str, Any] = {"__name__": "later"}
    exec(compile(LATER, "later", "exec", dont_inherit=True), there)
    ask = there["made"](cache)
    assert await ask("a") == await ask("a") == [there["User"](name="a")]
    assert cache.statistics().provider_calls == 1
