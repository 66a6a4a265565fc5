"""The prepared class: one per model, for as long as the model lives."""

from __future__ import annotations

import gc
import pickle
import threading
import weakref
from typing import Any, Optional

import pytest
from fidelity_cases import IntBox, Movie, Nested, PartialNested, User
from pydantic import BaseModel

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


def test_many_threads_prepare_one_class() -> None:
    class Local(BaseModel):
        a: int

    found: list[Any] = []
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        found.append(prepared(Local))

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
