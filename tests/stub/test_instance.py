"""A schema and a seed become a valid instance, the same one every time."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, EmailStr, Field, IPvAnyAddress, Json, TypeAdapter
from typing_extensions import TypedDict

from samecall.testing.provider import instance


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str = Field(min_length=3, max_length=5)


class Node(BaseModel):
    label: str
    children: list[Node] = []
    other: Node | None = None


class Named(TypedDict):
    name: str
    size: float


class Everything(BaseModel):
    colour: Colour
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    either: Cat | str
    maybe: int | None
    price: Decimal
    exact: Decimal = Field(max_digits=6, decimal_places=2)
    at: dt.datetime
    on: dt.date
    hour: dt.time
    length: dt.timedelta
    ident: uuid.UUID
    node: Node
    pair: tuple[int, str]
    tags: set[str] = Field(min_length=2, max_length=4)
    counts: dict[str, int]
    by_colour: dict[Colour, float]
    ratio: float = Field(gt=0, lt=1)
    below: int = Field(lt=0)
    even: int = Field(multiple_of=2, ge=1000, le=1004)
    blob: bytes
    inner: Json[list[int]]
    named: Named
    many: list[int] = Field(min_length=5, max_length=5)
    code: str = Field(pattern=r"^\d+$")
    alias: int = Field(alias="theAlias")


TYPES: list[Any] = [
    Everything,
    Node,
    int,
    list[Cat | Dog],
    bool,
    Literal["a", 3],
    Colour,
    None,
    dict[str, list[Named]],
]


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_the_type_admits_what_its_schema_grows(kind: Any) -> None:
    """Twenty seeds for every type: Pydantic takes each instance."""
    adapter = TypeAdapter(kind)
    for seed in range(20):
        adapter.validate_python(instance(adapter.json_schema(), f"prompt {seed}"), strict=False)


@pytest.mark.parametrize("kind", [EmailStr, IPvAnyAddress], ids=str)
def test_formats_that_need_a_package_look_right(kind: Any) -> None:
    """An address of mail has its sign; formats without a rule give text."""
    made = instance(TypeAdapter(kind).json_schema() if kind is IPvAnyAddress else _MAIL, "p")
    assert isinstance(made, str)
    assert ("@" in made) == (kind is EmailStr)


_MAIL = {"type": "string", "format": "email"}


def test_same_seed_same_instance_other_seed_another() -> None:
    """The prompt decides, and nothing else does."""
    schema = Everything.model_json_schema()
    assert instance(schema, "a") == instance(schema, "a")
    assert instance(schema, "a") != instance(schema, "b")


def test_the_order_of_properties_does_not_matter() -> None:
    """Modes that write one model's schema differently get one answer."""
    one = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}
    two = {"type": "OBJECT", "properties": {"b": {"type": "STRING"}, "a": {"type": "INTEGER"}}}
    assert instance(one, "p") == instance(two, "p")


def test_a_lone_surrogate_seeds_too() -> None:
    """A prompt that is not valid Unicode is a prompt."""
    assert instance({"type": "string"}, "\ud800") == instance({"type": "string"}, "\ud800")
