"""Every `response_model` that instructor takes, each with what a provider answers to it.

Importable by name from any process, so that its classes can be pickled.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Optional, TypeVar, Union
from uuid import UUID

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    computed_field,
    field_validator,
    model_validator,
)
from typing_extensions import NotRequired, TypedDict

from instructor import Maybe, Mode, OpenAISchema, Partial

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Address(BaseModel):
    street: str
    lines: list[str] = []


class User(BaseModel):
    """A person."""

    name: str
    age: int


class Admin(BaseModel):
    name: str
    rights: list[str]


class Nested(BaseModel):
    user: User
    addresses: list[Address]
    by_name: dict[str, User]
    maybe: Optional[Address] = None


class Node(BaseModel):
    value: int
    children: list[Node] = []


class Aliased(BaseModel):
    full_name: str = Field(alias="fullName")
    years: int = Field(validation_alias=AliasChoices("years", "age"), serialization_alias="yrs")


class ByName(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    full_name: str = Field(alias="fullName")


class Computed(BaseModel):
    width: int
    height: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        return self.width * self.height


class ComputedForbid(Computed):
    model_config = ConfigDict(extra="forbid")


class Forbid(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str


class Allow(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    name: str


class Excluded(BaseModel):
    name: str
    hidden: str = Field(exclude=True)
    quiet: str = Field(default="quiet", exclude=True)


class Secret(BaseModel):
    name: str
    password: SecretStr


class Binary(BaseModel):
    data: bytes


class Base64(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="utf8")
    data: bytes


class Exact(BaseModel):
    price: Decimal
    rate: Decimal = Decimal("0.10")


class NotANumber(BaseModel):
    value: float
    maybe: Optional[float] = None

    def __eq__(self, other: object) -> bool:  # NaN is not equal to itself
        return (
            isinstance(other, NotANumber)
            and type(self) is type(other)
            and math.isnan(self.value)
            and math.isnan(other.value)
        )

    __hash__ = None  # type: ignore[assignment]


class Infinite(BaseModel):
    high: float
    low: float


class JsonText(BaseModel):
    payload: Json[list[int]]


class Moments(BaseModel):
    at: datetime
    day: date
    hour: time
    took: timedelta
    id: UUID
    place: Path


class Containers(BaseModel):
    tags: set[str]
    pair: tuple[int, str]
    counts: dict[int, int]
    frozen: frozenset[int]


class Enums(BaseModel):
    colour: Colour
    level: Level
    kind: Literal["a", "b"]


class Unions(BaseModel):
    who: Union[User, Admin]
    either: int | str
    nothing: None = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str]


class Pet(BaseModel):
    pet: Annotated[Union[Cat, Dog], Field(discriminator="kind")]


class Private(BaseModel):
    name: str
    _seen: list[str] = PrivateAttr(default_factory=list)

    def model_post_init(self, context: Any, /) -> None:
        self._seen.append(self.name)


class Shouted(BaseModel):
    """A validator that is not idempotent: it must run once per caller, never on its own output."""

    name: str

    @field_validator("name")
    @classmethod
    def shout(cls, value: str) -> str:
        return value + "!"


class InContext(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def prefixed(cls, value: str, info: ValidationInfo) -> str:
        return f"{(info.context or {}).get('prefix', '')}{value}"


class Reworked(BaseModel):
    total: int
    parts: list[int]

    @model_validator(mode="before")
    @classmethod
    def add(cls, data: dict[str, Any]) -> dict[str, Any]:
        return {"total": sum(data["parts"]), **data}


class Defaults(BaseModel):
    name: str
    note: str = "none"
    tags: list[str] = Field(default_factory=lambda: ["new"])


class Box(BaseModel, Generic[T]):
    content_of: T


class Schema(OpenAISchema):
    name: str


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Empty(BaseModel):
    pass


IntBox = Box[int]
MaybeUser = Maybe(User)
PartialNested = Partial[Nested]

USER = {"name": "Ada", "age": 36}
ADMIN = {"name": "Bob", "rights": ["all"]}
NESTED = {
    "user": USER,
    "addresses": [{"street": "A", "lines": ["1", "2"]}, {"street": "B"}],
    "by_name": {"Ada": USER},
}


@dataclass(frozen=True)
class Case:
    """`answer`: the arguments of the tool call, or (name, arguments) of each parallel one."""

    name: str
    model: Any
    answer: Any
    mode: Mode = Mode.TOOLS
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return self.name


CASES = [
    Case("model", User, USER),
    Case("nested", Nested, NESTED),
    Case("recursive", Node, {"value": 1, "children": [{"value": 2, "children": [{"value": 3}]}]}),
    Case("alias", Aliased, {"fullName": "Ada", "age": 36}),
    Case("populate_by_name", ByName, {"full_name": "Ada"}),
    Case("computed", Computed, {"width": 2, "height": 3}),
    Case("computed_forbid", ComputedForbid, {"width": 2, "height": 3}),
    Case("extra_forbid", Forbid, {"name": "Ada"}),
    Case("extra_allow", Allow, {"name": "Ada", "more": {"a": [1]}}),
    Case("frozen", Frozen, {"name": "Ada"}),
    Case("excluded", Excluded, {"name": "Ada", "hidden": "h", "quiet": "q"}),
    Case("secret", Secret, {"name": "Ada", "password": "geheim"}),
    Case("bytes", Binary, {"data": "abc"}),
    Case("bytes_base64", Base64, {"data": "abc"}),
    Case("decimal", Exact, {"price": "12.3400", "rate": "1e-7"}),
    Case("nan", NotANumber, '{"value": NaN, "maybe": NaN}'),
    Case("infinity", Infinite, '{"high": Infinity, "low": -Infinity}'),
    Case("json_text", JsonText, {"payload": "[1, 2]"}),
    Case(
        "moments",
        Moments,
        {
            "at": "2026-01-02T03:04:05.000006+02:00",
            "day": "2026-01-02",
            "hour": "03:04:05",
            "took": "P1DT2S",
            "id": "12345678-1234-5678-1234-567812345678",
            "place": "/a/b",
        },
    ),
    Case(
        "containers",
        Containers,
        {"tags": ["a", "b"], "pair": [1, "x"], "counts": {"1": 2}, "frozen": [3]},
        kwargs={"strict": False},
    ),
    Case("enums", Enums, {"colour": "red", "level": 2, "kind": "b"}, kwargs={"strict": False}),
    Case("unions", Unions, {"who": ADMIN, "either": "7"}),
    Case("discriminated", Pet, {"pet": {"kind": "dog", "tricks": ["sit"]}}),
    Case("private", Private, {"name": "Ada"}),
    Case("not_idempotent", Shouted, {"name": "a"}),
    Case("context", InContext, {"name": "Ada"}, kwargs={"context": {"prefix": "Dr "}}),
    Case("before_validator", Reworked, {"parts": [1, 2]}),
    Case("defaults", Defaults, {"name": "Ada"}),
    Case("generic", IntBox, {"content_of": 7}),
    Case("openai_schema", Schema, {"name": "Ada"}),
    Case("empty", Empty, {}),
    Case("typed_dict", Movie, {"title": "M", "year": 1931}),
    Case("maybe", MaybeUser, {"result": USER, "error": False}),
    Case("maybe_not", MaybeUser, {"result": None, "error": True, "message": "nobody"}),
    Case("partial", PartialNested, NESTED),
    Case("optional_model", Optional[User], {"content": USER}),
    Case("optional_none", Optional[User], {"content": None}),
    Case("union_models", Union[User, Admin], {"content": ADMIN}),
    Case("union_scalars", Union[int, str], {"content": "7"}),
    Case("str", str, {"content": "text"}),
    Case("int", int, {"content": 7}),
    Case("float", float, {"content": 7.5}),
    Case("float_from_int", float, {"content": 7}),
    Case("bool", bool, {"content": True}),
    Case("literal", Literal["a", "b"], {"content": "b"}),
    Case("enum", Colour, {"content": "blue"}),
    Case("annotated", Annotated[int, Field(ge=1)], {"content": 7}),
    Case("annotated_text", Annotated[str, "a name"], {"content": "x"}),
    Case("optional_int", Optional[int], {"content": None}),
    Case("list_models", list[User], {"tasks": [USER, {"name": "Bob", "age": 1}]}),
    Case("list_empty", list[User], {"tasks": []}),
    Case("list_unions", list[Union[User, Admin]], {"tasks": [ADMIN, USER]}),
    Case("list_typed_dicts", list[Movie], {"tasks": [{"title": "M"}]}),
    Case("list_ints", list[int], {"content": [1, 2]}),
    Case("list_enums", list[Colour], {"content": ["red"]}),
    Case("iterable", Iterable[User], {"tasks": [USER]}),
    Case(
        "parallel",
        Iterable[Union[User, Admin]],
        [("Admin", ADMIN), ("User", USER), ("User", USER)],
        mode=Mode.PARALLEL_TOOLS,
    ),
    Case("parallel_one", Iterable[User], [("User", USER)], mode=Mode.PARALLEL_TOOLS),
    Case("none", None, USER),
    Case("json_mode", Nested, NESTED, mode=Mode.JSON),
    Case("md_json_mode", Nested, NESTED, mode=Mode.MD_JSON),
    Case("json_schema_mode", Nested, NESTED, mode=Mode.JSON_SCHEMA),
    Case("responses_mode", Nested, NESTED, mode=Mode.RESPONSES_TOOLS),
    Case("responses_scalar", int, {"content": 7}, mode=Mode.RESPONSES_TOOLS),
]
BY_NAME = {case.name: case for case in CASES}
