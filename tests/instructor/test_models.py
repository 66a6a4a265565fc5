"""The prepared class: one per model, for as long as the model lives."""

from __future__ import annotations

import gc
import pickle
import threading
import typing
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated, Any, Optional, Union, cast, get_args

import pytest
from fidelity_cases import Admin, Box, IntBox, Movie, Nested, PartialNested, User
from pydantic import BaseModel, create_model

from hit import client, question
from instructor import Maybe, Partial
from samecall import Cache
from samecall.instructor import cached, key_of
from samecall.instructor._models import prepared


@pytest.mark.parametrize(
    "model", [User, IntBox, PartialNested, Movie, list[User], Optional[User], int, None]
)
def test_prepared_once(model: Any) -> None:
    assert prepared(model) is prepared(model)


def test_a_class_is_not_kept_alive() -> None:
    def make() -> weakref.ref[type[BaseModel]]:
        class Local(BaseModel):
            a: int

        assert prepared(Local).schema
        return weakref.ref(Local)

    dead = make()
    gc.collect()
    assert dead() is None


async def test_a_copy_in_memory_keeps_no_class_alive() -> None:
    """A class takes more than its answer, and L1 counts the bytes of answers: so the class holds
    what is kept of them, for as long as they stay.
    """
    async with Cache() as cache:
        ours = cached(client(), cache)
        model: Any = create_model("Local", name=(str, ...), age=(int, ...))
        asked = question() | {"response_model": model}
        for _ in range(3):  # the third is cast from what is kept of the second
            assert (await ours.create(**asked)).age == 36
        forms, l1 = prepared(model).forms(True), cache._rooms.l1
        kept = l1.look(key_of(ours, **asked)).payload.kept
        assert list(forms) == [kept]
        [form] = forms.values()
        assert form.cast().value.age == 36
        assert {type(each) for each in gc.get_referents(kept)} <= {int, partial, type}
        l1.drop(key_of(ours, **asked))
        del kept
        gc.collect()
        assert not forms


def test_a_class_that_was_not_complete() -> None:
    class Outer(BaseModel):
        later: Later

    class Later(BaseModel):
        a: int

    before = prepared(Outer)
    Outer.model_rebuild(_types_namespace={"Later": Later})
    after = prepared(Outer)
    assert after is not before
    assert after.model.model_validate({"later": {"a": 1}}).later == Later(a=1)


def test_a_nested_class_that_was_rebuilt() -> None:
    class Inner(BaseModel):
        a: int

    class Outer(BaseModel):
        inner: list[Inner]

    before = prepared(Outer)
    Inner.model_fields["a"].annotation = str
    Inner.model_rebuild(force=True)
    assert prepared(Outer) is not before


def test_a_subclass_is_prepared_for_itself() -> None:
    class Derived(User):
        more: int

    assert "more" not in prepared(User).model.model_fields
    assert "more" in prepared(Derived).model.model_fields


@pytest.mark.parametrize(
    "spell",
    [
        pytest.param(lambda of: of, id="itself"),
        pytest.param(lambda of: list[Maybe(of)], id="a spelling"),  # type: ignore[misc]
    ],
)
def test_many_threads_prepare_one_class(spell: Callable[[Any], Any]) -> None:
    class Local(BaseModel):
        a: int

    found: list[Any] = []
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        found.append(prepared(spell(Local)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(one) for one in found}) == 1


def test_a_class_that_pickles_its_own_way_keeps_it() -> None:
    class Own(BaseModel):
        a: int

        def __reduce__(self) -> Any:
            return (int, (self.a,))

    assert pickle.loads(pickle.dumps(prepared(Own).model(a=7))) == 7


def test_the_callers_own_class_pickles_as_before() -> None:
    prepared(Nested)
    assert "__reduce__" not in User.__dict__
    assert type(pickle.loads(pickle.dumps(User(name="a", age=1)))) is User


SPELLINGS: list[Callable[[], Any]] = [
    lambda: Maybe(User),
    lambda: Maybe(cast("Any", int)),
    lambda: Partial[User],
    lambda: Partial[Nested],
    lambda: Maybe(Partial[User]),
    lambda: Partial[Maybe(User)],
    lambda: Box[Partial[User]],
    lambda: list[Partial[User]],
    lambda: Optional[Maybe(User)],
    lambda: Iterable[Union[Partial[User], Maybe(Admin)]],
    lambda: Annotated[Partial[User], "a person"],
    lambda: list[Partial[User] | Maybe(Admin)],
]


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("spelled", SPELLINGS)
def test_prepared_once_however_often_it_is_spelled(
    spelled: Callable[[], Any], parallel: bool
) -> None:
    assert prepared(spelled(), parallel=parallel) is prepared(spelled(), parallel=parallel)


@pytest.mark.parametrize("spelled", SPELLINGS[:7])
def test_an_answer_is_of_every_class_that_was_spelled(spelled: Callable[[], Any]) -> None:
    class Holder(BaseModel):
        held: list[User]

    first, second = spelled(), spelled()
    made = prepared(first).model
    assert prepared(second).model is made
    answer = made.model_construct()
    assert issubclass(made, first)
    assert issubclass(made, second)
    assert isinstance(answer, first)
    assert isinstance(answer, second)
    assert not isinstance(Holder(held=[]), second)
    assert not issubclass(BaseModel, second)
    holder = create_model("H", held=(second, ...))
    assert holder.model_validate({"held": answer}).held is answer  # type: ignore[attr-defined]


def test_an_answer_is_of_a_class_that_was_spelled_inside_a_form() -> None:
    second = Partial[User]
    first = prepared(list[Partial[User]]).model.model_fields["tasks"].annotation
    again = prepared(list[second]).model.model_fields["tasks"].annotation
    assert again == first
    assert isinstance(get_args(first)[0](name="a", age=1), second)


def test_spelled_without_end() -> None:
    """Neither the spellings live on, nor what is made of classes that do not."""

    def spell(of: Any) -> list[weakref.ref[Any]]:
        spelled: list[Any] = [Maybe(of), Partial[of]]
        for model in spelled:
            for form in model, list[model], Optional[model]:
                assert prepared(form).schema
        return [weakref.ref(model) for model in spelled]

    def local() -> list[weakref.ref[Any]]:
        class Local(BaseModel):
            a: int

        return [weakref.ref(Local), *spell(Local)]

    spell(User)
    dead = [ref for _ in range(50) for ref in spell(User)] + local()
    for n in range(600):  # more forms than are remembered
        prepared(list[create_model(f"M{n}", a=(int, ...))])  # type: ignore[misc]
    for clean in vars(typing)["_cleanups"]:  # typing remembers some, too
        clean()
    gc.collect()
    assert [ref() for ref in dead] == [None] * 103


def test_spelled_before_and_after_its_model_was_rebuilt() -> None:
    class Local(BaseModel):
        a: int

    before = Partial[Local]
    assert prepared(Partial[Local]) is prepared(before)
    Local.model_fields["a"].annotation = str
    Local.model_rebuild(force=True)
    after = prepared(Partial[Local])
    assert after is prepared(Partial[Local])
    assert after.model.model_validate({"a": "x"}).a == "x"
    assert prepared(before).model.model_validate({"a": 1}).a == 1


def test_spelled_and_changed_by_hand() -> None:
    """One that its owner has given a text or a method stays what it is."""
    told: Any = Partial[User]
    told.__doc__ = "Another text for the model."
    handy: Any = Partial[User]
    handy.shout = lambda _: "!"
    plain = prepared(Partial[User])
    assert len({plain, prepared(told), prepared(handy)}) == 3
    assert plain is prepared(Partial[User])
    assert prepared(handy).model(name="a", age=1).shout() == "!"
    assert told.__doc__ in str(prepared(told).model.model_json_schema())


class MaybeNoted(Maybe(User)):  # type: ignore[misc]
    """A class of its author's on one of instructor's."""

    note: str = ""


def test_a_class_on_a_made_one_stays_what_it_is() -> None:
    prepared(Maybe(User))
    model = prepared(MaybeNoted).model
    for cls in MaybeNoted, model:
        again = pickle.loads(pickle.dumps(cls(note="x")))
        assert type(again) is cls
        assert again.note == "x"


def test_a_class_on_a_spelling_stands_for_itself() -> None:
    prepared(Maybe(User))
    spelt: Any = Maybe(User)
    prepared(spelt)

    class Noted(spelt):  # type: ignore[misc]
        note: str = ""

    assert type(Noted) is type(spelt) is not type(User)
    assert not issubclass(User, Noted)
    assert not isinstance(prepared(spelt).model(), Noted)
    assert issubclass(Noted, BaseModel)
