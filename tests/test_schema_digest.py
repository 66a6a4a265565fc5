"""Response classes: what the provider is told of them separates, and is read once per class."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, create_model
from typing_extensions import TypedDict

from samecall._errors import Unkeyable
from samecall._key import schema_digest


class A(BaseModel):
    a: int


class B(BaseModel):
    b: int


class Node(BaseModel):
    value: int
    children: list[Node] = []


class Row(TypedDict):
    name: str


def user(**fields: Any) -> type[BaseModel]:
    return create_model("User", **fields)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (A, B),
        (user(name=(str, ...)), user(name=(int, ...))),
        (user(name=(str, ...)), user(title=(str, ...))),
        (user(name=(str, ...)), create_model("Person", name=(str, ...))),
        (user(a=(str, ...), b=(str, ...)), user(b=(str, ...), a=(str, ...))),
        (user(a=(str, "x"), b=(str, "y")), user(b=(str, "y"), a=(str, "x"))),
        (
            create_model("One", __config__=ConfigDict(title="Same"), a=(str, ...)),
            create_model("Two", __config__=ConfigDict(title="Same"), a=(str, ...)),
        ),
        (user(x=(A | B, ...)), user(x=(B | A, ...))),
        (user(x=(str, ...)), user(x=(str | None, ...))),
        (user(x=(str, ...)), user(x=(str, "default"))),
        (user(x=(str, ...)), user(x=(str, Field(description="a name")))),
        (user(x=(Literal["a", "b"], ...)), user(x=(Literal["b", "a"], ...))),
        (user(x=(Literal[1], ...)), user(x=(Literal[True], ...))),
        (list[A], list[B]),
        (list[A], A),
        (A | B, B | A),
        (Iterable[A], A),
        (Row, A),
        (int, str),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_two_classes(one: Any, two: Any) -> None:
    """Another schema, name, or order of fields or union members is another question."""
    assert schema_digest(one) != schema_digest(two)


def test_one_class_made_twice() -> None:
    """Equal classes of one name share: they are made anew in every process."""
    assert schema_digest(user(name=(str, ...))) == schema_digest(user(name=(str, ...)))


def test_the_order_within_a_field_called_properties_is_no_trouble() -> None:
    """A field may have the name of a word of JSON schema."""
    one = user(properties=(A, ...), items=(list[B], ...))
    two = user(properties=(B, ...), items=(list[B], ...))
    assert schema_digest(one) != schema_digest(two)


def test_recursive_schemas() -> None:
    """A class may hold itself."""
    assert len(schema_digest(Node)) == 32


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterable[list[str]]:
    """The names of classes whose JSON schema was made."""
    made: list[str] = []
    original: Callable[..., Any] = BaseModel.model_json_schema.__func__

    def count(cls: type[BaseModel], *args: Any, **kwargs: Any) -> Any:
        made.append(cls.__name__)
        return original(cls, *args, **kwargs)

    monkeypatch.setattr(BaseModel, "model_json_schema", classmethod(count))
    return made


def test_read_once(counted: list[str]) -> None:
    """The schema of a class is made at its first call only; a subclass has its own."""
    parent = user(name=(str, ...))
    child = create_model("User", __base__=parent, age=(int, ...))
    digests = {schema_digest(parent) for _ in range(3)} | {schema_digest(child) for _ in range(3)}
    assert (len(digests), counted) == (2, ["User", "User"])


def test_a_rebuild_is_noticed() -> None:
    """A class that was changed and rebuilt has another digest."""
    model = user(name=(str, ...))
    before = schema_digest(model)
    model.model_fields["name"].description = "the full name"
    assert schema_digest(model) == before
    model.model_rebuild(force=True)
    assert schema_digest(model) != before


def test_a_forward_reference_that_is_resolved_later() -> None:
    """Unkeyable until pydantic can make the schema, and keyed then."""
    model = create_model("Late", item=("Missing", ...))
    with pytest.raises(Unkeyable, match="response_model"):
        schema_digest(model)
    model.model_rebuild(_types_namespace={"Missing": A})
    assert len(schema_digest(model)) == 32


@pytest.mark.parametrize(
    "model",
    [
        user(x=(Callable[[], int], ...)),
        create_model("Odd", x=(object, Field(json_schema_extra={"x": object()}))),
        type("Plain", (), {}),
        object(),
    ],
    ids=["callable", "odd-extra", "plain", "no-type"],
)
def test_a_class_without_a_schema(model: Any) -> None:
    """Unkeyable, with the argument's name."""
    with pytest.raises(Unkeyable) as caught:
        schema_digest(model)
    assert caught.value.path.startswith("response_model")


@pytest.mark.parametrize("make", [lambda: user(x=(int, ...)), lambda: type("T", (int,), {})])
def test_classes_are_let_go(make: Callable[[], type]) -> None:
    """Remembering a digest keeps no class alive."""
    model = make()
    with contextlib.suppress(Unkeyable):
        schema_digest(model)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
