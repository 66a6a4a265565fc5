"""Moulds: copies that share nothing which can be changed, and only where that is known."""

from __future__ import annotations

import asyncio
import enum
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import openai
import pytest
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
)
from test_fidelity import stored

import instructor
from samecall import Cache
from samecall.instructor import cached
from samecall.instructor._models import prepared
from samecall.instructor._mould import Mould, Unmouldable, is_inert
from samecall.testing import StubProvider


class Colour(enum.Enum):
    RED = "red"


class Inner(BaseModel):
    tags: set[str] = set()


class Plain(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    colour: Colour = Colour.RED
    kind: Literal["a", "b"] = "a"
    cost: Decimal = Decimal(1)
    inner: Inner | None = None
    inners: list[Inner] = []
    by_name: dict[str, list[Inner]] = {}
    pair: tuple[int, str] = (1, "x")
    anything: Any = None


class Tree(BaseModel):
    children: list[Tree] = []


class Validates(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def check(cls, name: str) -> str:
        return name


class ValidatesWhole(BaseModel):
    name: str

    @model_validator(mode="after")
    def check(self) -> ValidatesWhole:
        return self


class ValidatesWithin(BaseModel):
    inner: list[Validates] = []


class ByAnnotation(BaseModel):
    name: Annotated[str, BeforeValidator(lambda value: value)]


class Makes(BaseModel):
    names: list[str] = Field(default_factory=list)


class Private(BaseModel):
    _at: float = PrivateAttr(default_factory=lambda: 1.0)


class Constructs(BaseModel):
    name: str

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)


class After(BaseModel):
    name: str

    def model_post_init(self, context: Any) -> None: ...


class Parses(BaseModel):
    name: str

    @classmethod
    def model_validate_json(cls, *args: Any, **kwargs: Any) -> Any:
        return super().model_validate_json(*args, **kwargs)


class Holds(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    thing: object


FULL = Plain(
    name="a",
    inner=Inner(tags={"x"}),
    inners=[Inner(), Inner(tags={"y"})],
    by_name={"a": [Inner()], "b": []},
    anything={"a": [1, {"b": None}]},
    more=[1],
)


def changeable(value: Any) -> list[int]:
    """The identities of all parts that somebody could change."""
    if isinstance(value, BaseModel):
        held = [value.__dict__, value.__pydantic_fields_set__, value.__pydantic_extra__]
        return [id(value), *(one for part in held for one in changeable(part))]
    if isinstance(value, dict):
        return [id(value), *(one for part in value.values() for one in changeable(part))]
    if isinstance(value, (list, set)):
        return [id(value), *(one for part in value for one in changeable(part))]
    return []


def test_a_cast_is_equal_and_shares_nothing_that_changes() -> None:
    mould = Mould(FULL)
    one, two = mould.cast(), mould.cast()
    assert one == two == FULL
    assert one.model_fields_set == FULL.model_fields_set
    assert one.model_dump_json() == FULL.model_dump_json()
    parts = [changeable(each) for each in (FULL, one, two)]
    assert len(parts[0]) > 20
    assert len({part for each in parts for part in each}) == 3 * len(parts[0])


def test_a_mould_does_not_change_with_what_it_was_made_of() -> None:
    original = FULL.model_copy(deep=True)
    mould = Mould(original)
    original.inners.append(Inner())
    original.inner = None
    original.anything["a"][1]["b"] = 7
    original.model_fields_set.clear()
    assert original.__pydantic_extra__ is not None
    original.__pydantic_extra__["more"].append(2)
    original.by_name["a"][0].tags.add("z")
    assert mould.cast() == FULL
    assert mould.cast().model_fields_set == FULL.model_fields_set


class Slots(BaseModel):
    __slots__ = ("beside",)


class Text(str):
    __slots__ = ()


def twice() -> list[Any]:
    part: list[int] = []
    return [part, part]


def cycle() -> list[Any]:
    whole: list[Any] = []
    whole.append(whole)
    return whole


@pytest.mark.parametrize(
    "value",
    [object(), [object()], {"a": Text("a")}, ([],), {frozenset({Text("a")})}, twice(), cycle(),
     Slots(), Holds(thing=object()), bytearray(b"a"), {Text("a"): 1}],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_of_what_may_be_anything_there_is_no_mould(value: Any) -> None:
    with pytest.raises(Unmouldable):
        Mould(value)


@pytest.mark.parametrize("model", [Plain, Inner, Tree], ids=lambda model: model.__name__)
def test_models_that_are_data_are_inert(model: type[BaseModel]) -> None:
    assert is_inert(prepared(model).model)


@pytest.mark.parametrize(
    "model",
    [Validates, ValidatesWhole, ValidatesWithin, ByAnnotation, Makes, Private, Constructs, After,
     Parses, list[Validates]],
    ids=lambda model: getattr(model, "__name__", "list"),
)  # fmt: skip
def test_models_that_run_code_of_their_authors_are_not(model: Any) -> None:
    assert not is_inert(prepared(model).model)


# --- as callers see it ----------------------------------------------------------------------------


def question(**kwargs: Any) -> dict[str, Any]:
    return {"response_model": Inner, "messages": [{"role": "user", "content": "a"}], **kwargs}


async def test_what_a_caller_does_to_its_answer_is_nobody_elses(
    bare: instructor.AsyncInstructor, cache: Cache
) -> None:
    client = cached(bare, cache)
    await client.create(**question())
    await stored(cache)
    expected = (await client.create(**question())).model_dump()
    for _ in range(3):
        value, raw = await client.create_with_completion(**question())
        assert value.model_dump() == expected
        assert value._raw_response is raw
        assert raw.choices
        value.tags.add("mine")
        raw.choices.clear()
        raw.usage.total_tokens = -1
        value._total_usage.total_tokens = -1
    assert (await client.create(**question()))._total_usage.total_tokens > 0


async def test_validators_run_for_every_hit(bare: instructor.AsyncInstructor, cache: Cache) -> None:
    seen: list[object] = []

    class Counts(BaseModel):
        name: str

        @field_validator("name")
        @classmethod
        def check(cls, name: str) -> str:
            seen.append(name)
            return name

    client = cached(bare, cache)
    await client.create(**question(response_model=Counts))
    await stored(cache)
    for _ in range(4):
        await client.create(**question(response_model=Counts))
    assert len(seen) == 5


async def test_what_is_kept_counts_in_l1(bare: instructor.AsyncInstructor, cache: Cache) -> None:
    client = cached(bare, cache)
    await client.create(**question())
    await stored(cache)
    l1 = cache._rooms.l1
    assert l1 is not None
    before = l1.statistics().bytes
    await client.create(**question())
    grown = l1.statistics().bytes
    assert grown > before
    await client.create(**question())
    assert l1.statistics().bytes == grown


async def test_an_l1_hit_is_a_counted_number_of_calls(
    bare: instructor.AsyncInstructor, cache: Cache, sdk: openai.AsyncOpenAI, provider: StubProvider
) -> None:
    """Python functions that one hit runs: what makes it slower shows here on any machine."""
    client = cached(bare, cache)
    asked = question()
    await client.create(**asked)
    await stored(cache)
    for _ in range(3):
        await client.create(**asked)
    calls = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    await asyncio.sleep(0)
    sys.setprofile(count)
    try:
        await client.create(**asked)
    finally:
        sys.setprofile(None)
    assert calls <= 170
