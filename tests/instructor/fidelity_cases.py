"""Every `response_model` that instructor takes, each with what a provider answers to it.

Importable by name from any process, so that its classes can be pickled.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    TypeVar,
    Union,
    cast,
)
from uuid import UUID

import pydantic.dataclasses
from pydantic import (
    AfterValidator,
    AliasChoices,
    AnyUrl,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    PrivateAttr,
    RootModel,
    SecretBytes,
    SecretStr,
    ValidationInfo,
    computed_field,
    field_validator,
    model_serializer,
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


class Names(RootModel[list[str]]):
    pass


class UserRoot(RootModel[User]):
    pass


class Kind(enum.StrEnum):
    A = "a"
    B = "b"


class Kinds(BaseModel):
    kind: Kind
    by_kind: dict[Kind, int]


@dataclass
class Plain:
    name: str


class Point(NamedTuple):
    x: int
    y: int


class Parts(BaseModel):
    point: Point
    plain: Plain
    movie: Movie


class Lazy(BaseModel):
    name: str

    @computed_field  # type: ignore[prop-decorator]
    @cached_property
    def loud(self) -> str:
        return self.name.upper()


class Lossy(BaseModel):
    """Its own dump says nothing of what it holds."""

    name: str

    @model_serializer
    def dumped(self) -> str:
        return "lossy"


class Addresses(BaseModel):
    ip: IPv4Address
    site: AnyUrl
    password: SecretBytes


class Doubled(BaseModel):
    model_config = ConfigDict(revalidate_instances="always", validate_default=True)
    doubled: Annotated[int, AfterValidator(lambda value: value * 2)]
    level: Level = Level.LOW


IntBox = Box[int]
MaybeUser = Maybe(User)
PartialNested = Partial[Nested]

USER = {"name": "Ada", "age": 36}
FOUND = {"result": USER}
ADMIN = {"name": "Bob", "rights": ["all"]}
NESTED = {
    "user": USER,
    "addresses": [{"street": "A", "lines": ["1", "2"]}, {"street": "B"}],
    "by_name": {"Ada": USER},
}


@dataclass(frozen=True)
class Case:
    """`answer`: the arguments of the tool call, or (name, arguments) of each parallel one.

    spelled: makes the model anew for each call, as one that is written inside the call is.
    refused: arguments of a first answer that the model refuses, so that instructor asks again.
    """

    name: str
    model: Any
    answer: Any
    mode: Mode = Mode.TOOLS
    kwargs: dict[str, Any] = field(default_factory=dict)
    spelled: Callable[[], Any] | None = None
    refused: Any = None

    @property
    def tries(self) -> int:
        """How many calls of the provider one answer takes."""
        return 1 if self.refused is None else 2

    @property
    def asked(self) -> Any:
        """The model as one call gives it."""
        return self.model if self.spelled is None else self.spelled()

    def __repr__(self) -> str:
        return self.name


def inline(name: str, spelled: Callable[[], Any], answer: Any, mode: Mode = Mode.TOOLS) -> Case:
    """A case whose model is written inside the call."""
    return Case(f"inline_{name}", spelled(), answer, mode, spelled=spelled)


parallel = Mode.PARALLEL_TOOLS
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
    Case("root", Names, ["a", "b"]),
    Case("root_model", UserRoot, USER),
    Case("root_generic", RootModel[list[int]], [1, 2]),
    Case("list_roots", list[Names], {"tasks": [["a"], ["b"]]}),
    Case("str_enum", Kind, {"content": "b"}),
    Case("str_enums", Kinds, {"kind": "b", "by_kind": {"a": 1}}, kwargs={"strict": False}),
    Case("list_str_enums", list[Kind], {"content": ["b", "a"]}),
    Case("optional_list", Optional[list[User]], {"content": [USER]}),
    Case("optional_list_none", Optional[list[User]], {"content": None}),
    Case("optional_list_ints", Optional[list[int]], {"content": [1]}),
    Case("list_lists", list[list[int]], {"content": [[1], [2, 3]]}),
    Case("list_lists_models", list[list[User]], {"content": [[USER], []]}),
    Case("list_literals", list[Literal["a", "b"]], {"content": ["b", "a"]}),
    Case("list_dicts", list[dict[str, int]], {"content": [{"a": 1}]}),
    Case("list_union_604", list[User | Admin], {"tasks": [ADMIN, USER]}),
    Case("iterable_ints", Iterable[int], {"tasks": [1, 2]}),
    Case("union_list", Union[list[User], User], {"content": [USER]}),
    Case("union_list_model", Union[list[User], User], {"content": USER}),
    Case("parallel_604", Iterable[User | Admin], [("Admin", ADMIN), ("User", USER)], parallel),
    Case("reask", Nested, NESTED, refused={"user": "nobody"}),
    Case("reask_list", list[User], {"tasks": [USER]}, refused={"tasks": [{"name": "Ada"}]}),
    Case("reask_json", Nested, NESTED, Mode.JSON, refused={}),
    Case("reask_responses", Nested, NESTED, Mode.RESPONSES_TOOLS, refused={}),
    inline("maybe", lambda: Maybe(User), {"result": USER}),
    inline("maybe_not", lambda: Maybe(User), {"error": True, "message": "nobody"}),
    inline("maybe_nested", lambda: Maybe(Nested), {"result": NESTED}),
    inline("maybe_int", lambda: Maybe(cast("Any", int)), {"result": 7}),
    inline("maybe_list", lambda: Maybe(cast("Any", list[User])), {"result": [USER]}),
    inline("maybe_partial", lambda: Maybe(Partial[User]), {"result": USER}),
    inline("partial", lambda: Partial[Nested], NESTED),
    inline("partial_recursive", lambda: Partial[Node], {"value": 1, "children": [{"value": 2}]}),
    inline("partial_maybe", lambda: Partial[Maybe(User)], {"result": USER}),
    inline("list_partial", lambda: list[Partial[User]], {"tasks": [USER, USER]}),
    inline("list_maybe", lambda: list[Maybe(User)], {"tasks": [{"result": USER}]}),
    inline("list_nested_partial", lambda: list[Partial[Nested]], {"tasks": [NESTED]}),
    inline("optional_partial", lambda: Optional[Partial[User]], {"content": USER}),
    inline("optional_maybe", lambda: Optional[Maybe(User)], {"content": {"result": USER}}),
    inline("union", lambda: Union[Partial[User], Maybe(Admin)], {"content": {"result": ADMIN}}),
    inline("generic", lambda: Box[Partial[User]], {"content_of": USER}),
    inline("annotated", lambda: Annotated[Partial[User], "a person"], {"content": USER}),
    inline("iterable_partial", lambda: Iterable[Partial[User]], {"tasks": [USER]}),
    inline(
        "parallel_partial", lambda: Iterable[Partial[User]], [("PartialUser", USER)] * 2, parallel
    ),
    inline(
        "parallel_maybe", lambda: Iterable[Maybe(User)], [("MaybeUser", {"result": USER})], parallel
    ),
    inline(
        "parallel_union",
        lambda: Iterable[Union[Partial[User], Maybe(Admin)]],
        [("MaybeAdmin", {"result": ADMIN}), ("PartialUser", USER)],
        parallel,
    ),
    inline("json_mode", lambda: Partial[Nested], NESTED, Mode.JSON),
    Case(
        "not_models",
        Parts,
        {"point": [1, 2], "plain": {"name": "Ada"}, "movie": {"title": "M"}},
        kwargs={"strict": False},
    ),
    Case("cached_property", Lazy, {"name": "Ada"}),
    Case("lossy_dump", Lossy, {"name": "Ada"}),
    Case("addresses", Addresses, {"ip": "1.2.3.4", "site": "http://a/b", "password": "p"}),
    Case("doubled", Doubled, {"doubled": 2}),
    Case("long_int", IntBox, '{"content_of": 123456789012345678901234567890}'),
    Case("annotated_model", Annotated[User, "a person"], {"content": USER}),
    Case("annotated_list", Annotated[list[User], "people"], {"content": [USER]}),
    Case("iterable_typed_dict", Iterable[Movie], {"tasks": [{"title": "M"}]}),
    Case("optional_enum", Optional[Colour], {"content": "red"}),
    Case("optional_typed_dict", Optional[Movie], {"content": {"title": "M"}}),
    Case("union_with_none", Union[User, Admin, None], {"content": ADMIN}),
    Case("literal_mixed", Literal[1, "a"], {"content": "a"}),
    Case("int_enum", Level, {"content": 2}, kwargs={"strict": False}),
    Case("list_any", list[Any], {"content": [1, "a", None]}),
    Case("float_infinity", float, '{"content": Infinity}'),
    Case("generic_bare", Box, {"content_of": [USER]}),
    Case("list_generic", list[Box[int]], {"tasks": [{"content_of": 1}]}),
    Case("none_json_mode", None, USER, Mode.JSON),
    Case("none_responses_mode", None, USER, Mode.RESPONSES_TOOLS),
    Case("list_responses_mode", list[User], {"tasks": [USER]}, Mode.RESPONSES_TOOLS),
    Case("scalar_md_json_mode", int, {"content": 3}, Mode.MD_JSON),
]
BY_NAME = {case.name: case for case in CASES}

# what instructor takes for no response model
REFUSED = [
    list,
    dict,
    dict[str, int],
    tuple[int, str],
    set[int],
    int | str,
    User | Admin,
    User | None,
    bytes,
    datetime,
    Decimal,
    Any,
    Plain,
    pydantic.dataclasses.dataclass(Plain),
    NewType("Score", int),
]
