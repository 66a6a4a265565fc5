"""A hit's completion is made for who looks at it, and nobody can tell."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

import msgspec
import pytest
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion
from pydantic import BaseModel, field_validator
from test_fidelity import stored

import instructor
from samecall import Cache
from samecall._entry import Payload
from samecall.instructor import _gist, cached
from samecall.instructor._answer import Answer
from samecall.instructor._later import RAW, USAGE, Later
from samecall.instructor._models import prepared
from samecall.testing import StubProvider


class User(BaseModel):
    name: str
    age: int


class Checked(BaseModel):
    name: str
    age: int
    checks: ClassVar[list[int]] = []

    @field_validator("age")
    @classmethod
    def check(cls, age: int) -> int:
        cls.checks.append(age)
        return age


class Registered(BaseModel):
    name: str
    age: int
    known: ClassVar[list[str]] = []

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        Registered.known.append(cls.__name__)


def question(model: Any = User, **more: Any) -> dict[str, Any]:
    return {"response_model": model, "messages": [{"role": "user", "content": "who"}], **more}


class Kept:
    """What was stored, as another process's codec of the same call would get it."""

    def __init__(self, client: Any, payload: Payload, model: Any = User) -> None:
        self.client = client
        self.payload = payload
        self.model = model

    def codec(self, **more: Any) -> Any:
        calls = self.client._samecall_calls
        asked = {**question(), "strict": True, "context": None, **more}
        ready = prepared(self.model)
        return calls._codec(ready, calls.handlers(), asked, calls.who)

    def hit(self, **more: Any) -> Any:
        return self.codec(**more).decode(self.payload)

    def changed(self, **changes: Any) -> Kept:
        """With another gist."""
        body = list(msgspec.msgpack.decode(self.payload.data))
        gist = dict(zip(("text", "asked", "strict", "by"), body[-1], strict=True))
        body[-1] = [*{**gist, **changes}.values()]
        data = msgspec.msgpack.encode(body)
        return Kept(self.client, Payload(self.payload.tag, data), self.model)


async def keep(bare: instructor.AsyncInstructor, cache: Cache, model: Any = User) -> Kept:
    client: Any = cached(bare, cache)
    value, raw = await bare.create_with_completion(**question(model))
    one = Kept(client, Payload("", b""), model)
    answer = Answer(await client.create(**question(model)), raw, value._total_usage)
    return Kept(client, one.codec().encode(answer), model)


@pytest.fixture
async def kept(bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider) -> Kept:
    provider.answer("who", {"name": "Ada", "age": 36})
    return await keep(bare, cache)


def has_gist(kept: Kept) -> bool:
    return msgspec.msgpack.decode(kept.payload.data)[-1] is not None


def is_promised(value: Any) -> bool:
    return type(vars(value)[RAW]) is Later


def test_the_completion_is_made_when_it_is_looked_at(kept: Kept) -> None:
    answer = kept.hit()
    value = answer.value
    assert is_promised(value)
    assert type(vars(value)[USAGE]) is Later
    assert type(value._raw_response) is ChatCompletion
    assert type(value._total_usage) is CompletionUsage
    assert value._raw_response is value._raw_response is answer.raw is vars(value)[RAW]
    assert value._total_usage is answer.usage


def test_it_is_what_a_parsed_one_is(kept: Kept) -> None:
    parsed, read = kept.changed(by=b"else").hit(), kept.hit()
    assert not is_promised(parsed.value)
    assert read.value == parsed.value
    assert type(read.value) is type(parsed.value)
    assert read.value.model_fields_set == parsed.value.model_fields_set
    assert read.raw == parsed.raw
    assert read.usage == parsed.usage
    assert list(vars(read.value)) == list(vars(parsed.value))


def test_each_caller_has_its_own(kept: Kept) -> None:
    one, two = kept.hit().value, kept.hit().value
    one._raw_response.id = "changed"
    assert two._raw_response.id != "changed"
    assert one._total_usage is not two._total_usage


async def test_with_completion_gives_the_one_on_the_value(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    provider.answer("who", {"name": "Ada", "age": 36})
    client = cached(bare, cache)
    led = await client.create(**question())
    await stored(cache)
    for _ in range(3):  # read, read and made a mould of, cast
        value, raw = await client.create_with_completion(**question())
        assert raw is value._raw_response  # type: ignore[attr-defined]
        assert raw == led._raw_response  # type: ignore[attr-defined]
    later = await client.create(**question())
    assert is_promised(later)
    assert later._raw_response == raw  # type: ignore[attr-defined]
    assert provider.calls == 1


# --- copies of what nobody has looked at ----------------------------------------------------------


@pytest.mark.parametrize("looked", [False, True])
@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        lambda value: value.model_copy(deep=True),
        lambda value: pickle.loads(pickle.dumps(value)),
    ],
    ids=["deepcopy", "model_copy", "pickle"],
)
def test_a_deep_copy_has_a_completion_of_its_own(
    kept: Kept, copied: Callable[[Any], Any], looked: bool
) -> None:
    value = kept.hit().value
    if looked:
        value._raw_response.id = "seen"
    other = copied(value)
    assert other == value
    assert other._raw_response == value._raw_response
    assert other._raw_response is not value._raw_response


def test_a_shallow_copy_shares_it(kept: Kept) -> None:
    value = kept.hit().value
    other = copy.copy(value)
    assert other._raw_response is value._raw_response


def test_what_is_pickled_is_the_completion(kept: Kept) -> None:
    assert b"Later" not in pickle.dumps(kept.hit().value)


def test_two_threads_see_one(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    made, both = _gist.unpack, threading.Barrier(2, timeout=5)

    def slow(*args: Any) -> Any:
        with suppress(threading.BrokenBarrierError):
            both.wait(0.2)  # the other one comes in as well, if nothing keeps it out
        return made(*args)

    monkeypatch.setattr(_gist, "unpack", slow)
    value = kept.hit().value
    seen: list[Any] = []
    looks = [threading.Thread(target=lambda: seen.append(value._raw_response)) for _ in "ab"]
    for each in looks:
        each.start()
    for each in looks:
        each.join()
    assert seen[0] is seen[1]


def test_the_attributes_are_like_any_others(kept: Kept) -> None:
    value = kept.hit().value
    value._raw_response = "mine"
    assert value._raw_response == vars(value)[RAW] == "mine"
    del value._raw_response
    assert not hasattr(value, RAW)
    with pytest.raises(AttributeError, match=RAW):
        del value._raw_response
    with pytest.raises(AttributeError, match=USAGE):
        _ = type(value)._total_usage
    assert not hasattr(type(value)(name="Bob", age=1), USAGE)


# --- when it is not read so -----------------------------------------------------------------------


def test_other_versions_parse_it(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made later must not fail then."""
    assert is_promised(kept.hit().value)
    _gist._versions.cache_clear()
    told = _gist.version
    monkeypatch.setattr(_gist, "version", lambda name: told(name) + ".1")
    try:
        assert not is_promised(kept.hit().value)
    finally:
        _gist._versions.cache_clear()


def test_another_strictness_parses_it(kept: Kept) -> None:
    assert not is_promised(kept.hit(strict=False).value)


def test_a_gist_that_does_not_fit_is_none(kept: Kept) -> None:
    hit = kept.changed(text=b'{"name": 1}').hit()
    assert not is_promised(hit.value)
    assert hit.value.age == 36


def test_what_instructor_makes_of_no_class_of_its_own(kept: Kept) -> None:
    """A class of the caller's is left as it is."""
    assert RAW not in vars(User)
    assert _gist.reader_of(User, User) is None


async def test_validators_run_once_for_each_caller(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    provider.answer("who", {"name": "Ada", "age": 36})
    client = cached(bare, cache)
    Checked.checks.clear()
    for number in range(1, 4):
        await client.create(**question(Checked))
        await stored(cache)
        assert len(Checked.checks) == number


async def test_who_knows_its_subclasses_hears_of_no_more(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    provider.answer("who", {"name": "Ada", "age": 36})
    model = prepared(Registered).model
    value, raw = await bare.create_with_completion(**question(model))
    Registered.known.clear()
    codec = Kept(cached(bare, cache), Payload("", b""), Registered).codec()
    codec.encode(Answer(value, raw))
    assert Registered.known == []


async def test_a_long_text_is_stored_once(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    provider.answer("who", {"name": "A" * 5000, "age": 36})
    long = await keep(bare, cache)
    assert not has_gist(long)
    assert long.hit().value.name == "A" * 5000


def test_a_hit_gives_the_collector_little_to_look_at(kept: Kept) -> None:
    """Ten objects; with the completion and its usage they are 34."""
    answers: list[Any] = [None] * 100
    kept.hit()
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for number in range(100):
            answers[number] = kept.hit()
        more = len(gc.get_objects()) - before
    finally:
        gc.enable()
    assert 0 < more <= 12 * len(answers)
