"""`Cache.memoize`: which calls are one, and what comes back."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import dataclasses
import functools
import inspect
import math
import pickle
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Optional

import msgspec
import pytest
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, field_validator

from samecall import Cache, ConfigurationError, Key, Memoized, Policy, SamecallWarning, Unkeyable
from samecall._codec import PlainCodec
from samecall._memory import MemoryStore
from samecall.testing import GatedProvider


@pytest.fixture
async def cache() -> AsyncIterator[Cache]:
    async with Cache(MemoryStore()) as cache:
        yield cache


def others(cache: Cache) -> Cache:
    """A cache of another process: the same store, nothing of its own yet."""
    return Cache(cache._rooms.open(), l1=None)


class User(BaseModel):
    name: str
    born: datetime | None = None
    money: Decimal = Decimal("1.50")
    tags: set[str] = set()


class Row(msgspec.Struct):
    name: str
    when: datetime | None = None


@dataclasses.dataclass
class Point:
    x: float
    y: tuple[int, ...] = ()


class Colour(Enum):
    RED = "red"


# --- which calls are one ------------------------------------------------------------------------


async def test_bare_and_with_settings(cache: Cache) -> None:
    calls = []

    @cache.memoize
    async def one(text: str) -> str:
        calls.append(text)
        return text.upper()

    @cache.memoize(ttl=timedelta(minutes=1))
    async def two(text: str) -> str:
        calls.append(text)
        return text.lower()

    assert [await one("a"), await one("a"), await two("A"), await two("A")] == ["A", "A", "a", "a"]
    assert calls == ["a", "A"]


async def test_arguments_count_however_they_are_given(cache: Cache) -> None:
    @cache.memoize
    async def ask(text: str, /, most: int = 3, *more: int, exact: bool = False, **rest: Any) -> str:
        return text

    assert len({ask.key_of("a"), ask.key_of("a", 3), ask.key_of("a", most=3, exact=False)}) == 1
    assert len({
        ask.key_of("a"), ask.key_of("b"), ask.key_of("a", 4), ask.key_of("a", 3, 1),
        ask.key_of("a", exact=True), ask.key_of("a", other=1), ask.key_of("a", text="a"),
        ask.key_of("a", 3.0),
    }) == 8  # fmt: skip
    for args, kwargs in [((), {}), ((1, 2), {"most": 3})]:
        with pytest.raises(TypeError):
            await ask(*args, **kwargs)


async def test_functions_versions_and_shapes_are_apart(cache: Cache) -> None:
    def make(result: Any, version: Any = 0) -> Any:
        async def ask(text: str) -> Any: ...

        ask.__annotations__["return"] = result
        return cache.memoize(version=version)(ask).key_of("a")

    class Wider(User):
        extra: int = 0

    @cache.memoize
    async def other(text: str) -> User: ...

    Wider.__qualname__ = User.__qualname__
    keys = {make(User), make(User, 1), make(User, "1"), make(Wider), make(list[User]), make(Row)}
    assert len(keys | {other.key_of("a")}) == 7
    assert make(User) == make(User)


async def test_what_a_nested_function_reads_counts(cache: Cache) -> None:
    def made(model: str, log: list[str]) -> Any:
        count = 0

        @cache.memoize
        async def ask(text: str) -> str:
            nonlocal count
            count += 1
            log.append(text)
            return f"{model}: {text}"

        return ask

    log: list[str] = []
    small, large = made("small", log), made("large", log)
    assert [await small("a"), await large("a"), await small("a")] == [
        "small: a", "large: a", "small: a",
    ]  # fmt: skip
    assert log == ["a", "a"]


async def test_methods_count_the_content_of_self(cache: Cache) -> None:
    class Data(BaseModel):
        model_config = ConfigDict(ignored_types=(Memoized,))
        model: str

        @cache.memoize
        async def ask(self, text: str) -> str:
            return f"{self.model} {text}"

        @classmethod
        @cache.memoize
        async def of_class(cls, text: str) -> str:
            return f"{cls.__name__} {text}"

        @staticmethod
        @cache.memoize
        async def of_nobody(text: str) -> str:
            return text

    class Child(Data):
        pass

    one = Data(model="a")
    assert await one.ask("x") == await Data.ask(one, "x") == await Data(model="a").ask("x") == "a x"
    assert await Data(model="b").ask("x") == "b x"
    assert [await Data.of_class("x"), await Child.of_class("x")] == ["Data x", "Child x"]
    assert await one.of_nobody("x") == "x"
    assert cache.statistics().provider_calls == 5
    assert one.ask.key_of("x") == Data.ask.key_of(one, "x")
    bound = cache.memoize(one.of_nobody.__wrapped__)
    assert await bound("x") == "x"


async def test_a_method_of_another_class_answers_for_itself(cache: Cache) -> None:
    """Of the same content: of a dict's class, of one name in two modules. It may be overridden."""

    class Shop(dict[str, int]):
        rate = 1

        @cache.memoize
        async def price(self, number: int) -> int:
            return self.rate * number

    class Dear(Shop):
        rate = 10

    @dataclasses.dataclass(frozen=True, slots=True)
    class Model:
        town: str

        @cache.memoize
        async def ask(self, /, text: str, *more: int, exact: bool = False) -> str:
            return f"{type(self).__module__} {text}"

    def elsewhere(module: str) -> Any:
        return type("Model", (Model,), {"__module__": module, "__slots__": ()})("Turin")

    assert [await shop.price(2) for shop in (Shop(a=1), Dear(a=1), Shop(a=1))] == [2, 20, 2]
    assert await elsewhere("one").ask("x") == await elsewhere("one").ask(text="x") == "one x"
    assert await elsewhere("two").ask("x", exact=False) == "two x"
    assert await Model("Turin").ask("x") == f"{__name__} x"
    assert await cache.memoize(elsewhere("three").ask.__wrapped__)("x") == "three x"
    assert await cache.memoize(elsewhere("four").ask.__wrapped__)("x") == "four x"
    assert cache.statistics().provider_calls == 7


async def test_a_class_method_is_bound_to_the_class_it_is_asked_of(cache: Cache) -> None:
    """Below it on every Python; above it, all but a call wants the class from Python 3.13 on."""

    class Data:
        @cache.memoize
        @classmethod
        async def ask(cls, text: str) -> str:
            return f"{cls.__name__} {text}"

        @cache.memoize(version=2)
        @classmethod
        async def words(cls, text: str) -> AsyncIterator[str]:
            yield f"{cls.__name__} {text}"

        @classmethod
        @cache.memoize
        async def above(cls, text: str) -> str:
            return f"{cls.__name__} {text}"

        @staticmethod
        @cache.memoize
        async def of_nobody(text: str) -> str:
            return text

    class Child(Data):
        pass

    for kind in (Data, Child):
        name = kind.__name__
        assert await kind.ask("x") == await kind().ask(text="x") == f"{name} x"
        assert await kind.above("x") == f"{name} x"
        assert await kind.ask.peek("x") == f"{name} x"
        assert [word async for word in kind.words("x")] == [f"{name} x"]
        assert await kind.of_nobody("x") == await kind.of_nobody.peek("x") == "x"
    await Data.ask.forget("x")
    assert (await Data.ask.peek("x"), await Child.ask.peek("x")) == (None, "Child x")
    assert cache.statistics().provider_calls == 7


module_cache = Cache(MemoryStore())


@module_cache.memoize
async def at_module_level(text: str) -> str:
    return text


@dataclasses.dataclass
class Shelf:
    name: str

    @module_cache.memoize
    async def find(self, text: str) -> str:
        return f"{self.name} {text}"


async def test_it_is_pickled_and_copied_as_a_function_is() -> None:
    """By name: a pool of processes may be handed one."""
    for function in (at_module_level, Shelf.find):
        assert pickle.loads(pickle.dumps(function)) is function
        assert copy.deepcopy(function) is function
    there = pickle.loads(pickle.dumps(Shelf("a").find))
    assert await there("x") == "a x"
    await module_cache.aclose()


async def test_decorators_in_between(cache: Cache) -> None:
    """That are functions or classes; another cache is one."""

    def through(function: Any) -> Any:
        @functools.wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await function(*args, **kwargs)

        return call

    class Through:
        def __init__(self, function: Any) -> None:
            functools.update_wrapper(self, function)
            self.function = function

        async def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return await self.function(*args, **kwargs)

    calls = 0

    async def ask(text: str, most: int = 2) -> str:
        nonlocal calls
        calls += 1
        return text[:most]

    for count, made in enumerate((through(ask), Through(ask), Cache().memoize(ask)), 1):
        asked = cache.memoize(version=count)(made)
        assert await asked("abc") == await asked(text="abc", most=2) == "ab"
        assert calls == count


async def test_two_functions_of_one_name_are_told(cache: Cache) -> None:
    """Their calls have one key; nothing but `version` tells them apart."""

    def made(which: str, version: int = 0) -> Any:
        if which == "a":

            async def ask(text: str) -> str:
                return "a"
        else:

            async def ask(text: str) -> str:
                return "b"

        return cache.memoize(version=version)(ask)

    def careless(function: Any) -> Any:
        async def call(text: str) -> Any:
            return await function(text)

        return call

    async def other(text: str) -> str:
        return text

    told = r"two functions are called test_memoize\..*functools\.wraps"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [await made("a")("x"), await made("a")("x")] == ["a", "a"]
        assert await made("b", 1)("x") == "b"
        await cache.memoize(careless(other))("x")
    with pytest.warns(SamecallWarning, match=told):
        await made("b")("x")
    with pytest.warns(SamecallWarning, match=told):
        await cache.memoize(careless(at_module_level.__wrapped__))("y")


async def test_a_self_without_a_form_is_named_once(cache: Cache) -> None:
    class Service:
        @cache.memoize
        async def ask(self, text: str) -> str:
            return text

        @cache.memoize(ignore=["self"])
        async def ask_all_the_same(self, text: str) -> str:
            return text

    service = Service()
    with pytest.warns(SamecallWarning, match=r"Service\.ask\(self\): .* no canonical form; leave"):
        assert await service.ask("x") == "x"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert await service.ask("x") == "x"
        assert await service.ask_all_the_same("x") == await Service().ask_all_the_same("x") == "x"
    now = cache.statistics()
    assert (now.uncached, now.calls, now.provider_calls) == (2, 2, 1)
    with pytest.raises(Unkeyable, match="self"):
        service.ask.key_of("x")


async def test_key_says_what_counts(cache: Cache) -> None:
    @cache.memoize(key=lambda text, client=None: text.lower())
    async def ask(text: str, client: object = None) -> str:
        return text

    @cache.memoize(key=lambda text: Key(b"k" * 32, "elsewhere"))
    async def fixed(text: str) -> str:
        return text

    assert await ask("A", client=object()) == await ask("a") == "A"
    assert fixed.key_of("x") == Key(b"k" * 32, "elsewhere")


async def test_classes_among_the_arguments_count_with_their_schema(cache: Cache) -> None:
    @cache.memoize
    async def extract(model: type, text: str) -> str:
        return model.__name__

    def shaped(kind: Any) -> Any:
        class Answer(BaseModel):
            field: kind

        return Answer

    keys = [extract.key_of(shaped(kind), "a") for kind in (int, int, str)]
    assert keys[0] == keys[1] != keys[2]
    assert extract.key_of(list[User], "a") != extract.key_of(list[Row], "a")
    assert extract.key_of(threading.Thread, "a") != extract.key_of(threading.Event, "a")


async def test_classes_within_arguments_count_too(cache: Cache) -> None:
    """As in `**kwargs`, which are a dict, in a list, and in what `key=` makes."""

    class Wide(User):
        more: int = 0

    @cache.memoize
    async def ask(*models: Any, **more: Any) -> str: ...

    @cache.memoize(key=lambda model, text: (model, text))
    async def other(model: Any, text: str) -> str: ...

    keys = [ask.key_of("a", response_model=User), ask.key_of("a", response_model=Wide)]
    keys += [ask.key_of(User), ask.key_of(Wide), ask.key_of(User, Wide), ask.key_of([User])]
    keys += [ask.key_of([list[User]]), ask.key_of([Wide]), ask.key_of(x={"y": [User, {"z"}]})]
    keys += [other.key_of(User, "a"), other.key_of(Wide, "a"), other.key_of(User, "b")]
    assert len(set(keys)) == len(keys)
    assert ask.key_of(x={"y": [User, {"z"}]}) == keys[8]
    held: list[Any] = [User]
    held.append(held)
    with pytest.raises(Unkeyable, match="cycle"):
        ask.key_of(held)
    with pytest.raises(Unkeyable) as told:
        ask.key_of(user=[User, object()])
    assert told.value.path == "more.user[1]"


async def test_namespace_secret_and_policy_are_the_caches_unless_said(cache: Cache) -> None:
    async def ask(text: str) -> str:
        return text

    def key(cache: Cache, **more: Any) -> Key:
        return cache.memoize(**more)(ask).key_of("a")

    assert key(cache, namespace="n") == Key(key(cache).digest, "n")
    assert key(Cache(secret=b"s" * 16)).digest != key(cache).digest
    short = cache.memoize(policy=Policy(error_ttl=7), ttl=5)(ask)
    assert (short._kept._policy.ttl, short._kept._policy.error_ttl) == (5, 7)


# --- what comes back ----------------------------------------------------------------------------


class Aliased(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str = Field(alias="Name", serialization_alias="NAME")
    kept: str = Field(default="x", exclude=True)
    raw: bytes
    odd: float = math.inf


class Unfaithful(BaseModel):
    text: str

    @field_validator("text")
    @classmethod
    def shout(cls, text: str) -> str:
        return text + "!"


class Private(BaseModel):
    _hidden: int = PrivateAttr(default=0)


class Secret(BaseModel):
    word: SecretStr


class Bits(msgspec.Struct, tag=True):
    raw: bytes


def private() -> Private:
    made = Private()
    made._hidden = 1
    return made


ANSWERS = [
    (str, "text"),
    (float, 1),
    (Any, {"a": [1, None, True, 1.5, b"\xff"]}),
    (inspect.Signature.empty, [1, "a"]),
    (User, User(name="a", born=datetime(2026, 1, 2, tzinfo=UTC), tags={"x", "y"})),
    (list[User], [User(name="a"), User(name="b")]),
    (dict[str, list[User]], {"a": [User(name="a")]}),
    (Optional[User], None),  # noqa: UP045 - the older spelling
    (User | None, User(name="a")),
    (Aliased, Aliased(Name="a", raw=b"\xff\x00", more={"b": 1})),
    (Row, Row("a", datetime(2026, 1, 2, tzinfo=UTC))),
    (list[Row] | None, [Row("a")]),
    (dict[str, Row], {"a": Row("b")}),
    (Bits, Bits(b"\xff")),
    (Point, Point(1.5, (1, 2))),
    (list[Point], [Point(1.5)]),
    (tuple[int, Colour], (1, Colour.RED)),
    (set[int], {1, 2}),
    ("list[User]", [User(name="a")]),
]


@pytest.mark.parametrize(("result", "answer"), ANSWERS, ids=lambda each: str(each)[:30])
async def test_a_hit_equals_a_miss(cache: Cache, result: Any, answer: Any) -> None:
    async def ask() -> Any:
        return answer

    if result is not inspect.Signature.empty:
        ask.__annotations__["return"] = result
    else:
        ask.__annotations__.pop("return", None)
    assert await cache.memoize(ask)() is answer
    for where in (cache, others(cache)):
        hit = await where.memoize(ask)()
        assert hit == answer
        assert type(hit) is type(answer)
        assert hit is not answer or not isinstance(answer, (list, dict, BaseModel, Row, Point))
        assert where.statistics().provider_calls == (where is cache)


@pytest.mark.parametrize(
    ("result", "answer"),
    [
        (Unfaithful, Unfaithful(text="a")),
        (Private, private()),
        (Secret, Secret(word="hunter2")),
        (User, object()),
        (Any, User(name="a")),
        (threading.Thread, threading.Thread()),
        (list[Any], [User(name="a")]),
    ],
    ids=lambda each: str(each)[:20],
)
async def test_what_would_not_come_back_equal_is_answered_and_not_stored(
    cache: Cache, result: Any, answer: Any
) -> None:
    async def ask() -> Any:
        return answer

    ask.__annotations__["return"] = result
    asked = cache.memoize(ask)
    with pytest.warns(SamecallWarning, match="answer of type") as told:
        assert await asked() is answer
    assert await asked() is answer
    assert "hunter2" not in str(told[0].message)
    assert (cache.statistics().provider_calls, cache.statistics().stored) == (2, 0)


async def test_codec_may_be_a_type_or_a_codec(cache: Cache) -> None:
    @cache.memoize(codec=list[User])
    async def ask():
        return [User(name="a")]

    @cache.memoize(codec=PlainCodec())
    async def plain():
        return "a"

    assert await ask() == await ask() == [User(name="a")]
    assert await plain() == await plain() == "a"
    assert cache.statistics().provider_calls == 2


# --- the rest of a memoized function ------------------------------------------------------------


async def test_refresh_peek_forget(cache: Cache) -> None:
    number = iter(range(10))

    @cache.memoize
    async def ask(text: str) -> list[int]:
        return [next(number)]

    assert await ask.peek("a") is None
    assert await ask("a") == await ask.peek("a") == [0]
    assert await ask.refresh("a") == await ask("a") == [1]
    await ask.forget("a")
    assert await ask.peek("a") is None
    assert await ask("a") == [2]


async def test_peek_and_forget_go_by_the_policy_of_the_function(cache: Cache) -> None:
    """All its variants, and none that is too old for it."""
    number = iter(range(100))

    @cache.memoize(policy=Policy(variants=3))
    async def ask(text: str) -> int:
        return next(number)

    @cache.memoize(policy=Policy(max_age=0))
    async def picky(text: str) -> int:
        return 0

    seen = {await ask("a") for _ in range(60)}
    assert seen == {0, 1, 2}
    await ask.forget("a")
    assert await ask.peek("a") is None
    assert {await ask("a") for _ in range(60)} == {3, 4, 5}
    await picky("a")
    assert await picky.peek("a") is None


async def test_its_key_knows_the_codec_and_all_variants(cache: Cache) -> None:
    """As that of a client's call does; it is equal to the plain key, which a pickle keeps of it."""
    calls = 0

    @cache.memoize(policy=Policy(variants=4, pick="in_turn"))
    async def ask(text: str) -> Row:
        nonlocal calls
        calls += 1
        return Row(str(calls))

    for _ in range(4):
        await ask("a")
    key = ask.key_of("a")
    plain = Key(key.digest, key.namespace)
    assert key == plain == pickle.loads(pickle.dumps(key))
    assert (hash(key), type(pickle.loads(pickle.dumps(key)))) == (hash(plain), Key)
    assert isinstance(await cache.peek(key), Row)
    await cache.forget(key)
    assert await cache.peek(key) is None
    await ask("a")
    assert calls == 5


async def test_should_store_hears_the_arguments_by_name(cache: Cache) -> None:
    """However they are given, and with defaults."""
    heard: list[Any] = []

    def rule(request: Any, answer: Any) -> bool:
        heard.append((request, answer))
        return True

    @cache.memoize(policy=Policy(should_store=rule))
    async def items(text: str, most: int = 2) -> AsyncIterator[str]:
        for _ in range(most):
            yield text

    assert [item async for item in items("a", most=1)] == ["a"]
    assert [item async for item in items(text="b")] == ["b", "b"]
    assert heard == [
        ({"text": "a", "most": 1}, ["a"]), ({"text": "b", "most": 2}, ["b", "b"])
    ]  # fmt: skip

    @cache.memoize(policy=Policy(should_store=rule), key=lambda *args, **more: "c")
    async def other(text: str, *, most: int = 2, **more: int) -> str:
        return text

    heard.clear()
    await other("c", x=3)
    assert heard == [({"text": "c", "most": 2, "more": {"x": 3}}, "c")]


async def test_tags(cache: Cache) -> None:
    @cache.memoize(tags=lambda text, *, most=1: (text, "all"))
    async def ask(text: str, *, most: int = 1) -> str:
        return text

    @cache.memoize(tags=["all"])
    async def items(text: str) -> AsyncIterator[str]:
        yield text

    async def ask_all() -> int:
        for text in ("a", "b"):
            await ask(text, most=2)
        assert [item async for item in items("c")] == ["c"]
        return cache.statistics().provider_calls

    assert [await ask_all(), await ask_all()] == [3, 3]
    await cache.forget_tag("a")
    assert await ask_all() == 4
    await cache.forget_tag("all")
    assert await ask_all() == 7


async def test_it_looks_like_the_function(cache: Cache) -> None:
    @cache.memoize
    async def ask(text: str, *, most: int = 3) -> str:
        """Asks."""
        return text

    assert (ask.__name__, ask.__doc__, ask.__module__) == ("ask", "Asks.", __name__)
    assert [*inspect.signature(ask).parameters] == ["text", "most"]
    assert sys.version_info < (3, 12) or inspect.iscoroutinefunction(ask)
    assert "ask" in repr(ask)


async def test_callers_at_once_make_one_call(cache: Cache) -> None:
    provider = GatedProvider[str]()

    @cache.memoize
    async def ask(text: str) -> str:
        return await provider(text)

    asked = [asyncio.ensure_future(ask("a")) for _ in range(20)]
    await provider.until_waiting(1)
    provider.answer("b")
    assert set(await asyncio.gather(*asked)) == {"b"}
    assert provider.calls == 1


async def test_its_exception_is_the_functions_own(cache: Cache) -> None:
    @cache.memoize
    async def ask() -> str:
        raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        await ask()


# --- async generators ---------------------------------------------------------------------------


async def test_an_async_generator_is_one_stream_for_all(cache: Cache) -> None:
    began, gate = asyncio.Event(), asyncio.Event()

    class Service:
        @cache.memoize(ignore=["self"])
        async def items(self, text: str) -> AsyncIterator[User | str]:
            yield text
            began.set()
            await gate.wait()
            yield User(name=text)

    async def read(stream: Any) -> list[Any]:
        return [item async for item in stream]

    first = asyncio.ensure_future(read(Service().items("a")))
    await began.wait()
    second = asyncio.ensure_future(read(Service().items("a")))
    gate.set()
    expected = ["a", User(name="a")]
    assert await first == await second == expected
    assert await read(Service().items("a")) == expected
    assert cache.statistics().provider_calls == 1
    assert await read(Service().items.refresh("a")) == expected
    await Service().items.forget("a")
    assert await read(Service().items("a")) == expected
    assert cache.statistics().provider_calls == 3


async def test_an_async_generator_without_a_key_goes_uncached(cache: Cache) -> None:
    @cache.memoize
    async def items(thing: object) -> AsyncIterator[int]:
        yield 1
        yield 2

    with pytest.warns(
        SamecallWarning, match=r"items\(thing\): a value of type object has no canonical form"
    ):
        assert [item async for item in items(object())] == [1, 2]


# --- synchronous functions ----------------------------------------------------------------------


def test_a_synchronous_function_makes_one_call_for_all_threads() -> None:
    cache, place = Cache(), contextvars.ContextVar("place", default="nowhere")
    inside, gate, seen = threading.Event(), threading.Event(), []

    class Service:
        @cache.memoize(ignore=["self"])
        def ask(self, text: str) -> User:
            seen.append(place.get())
            inside.set()
            gate.wait(30)
            return User(name=text)

    def asks() -> User:
        place.set("here")
        return Service().ask("a")

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(asks) for _ in range(8)]
        inside.wait(30)
        while cache.statistics().calls < 8:
            time.sleep(0.001)
        gate.set()
        answers = [each.result() for each in asked]
    assert answers == [User(name="a")] * 8
    assert len({id(each) for each in answers}) == 8
    assert seen == ["here"]
    assert Service().ask("a") == User(name="a")
    assert Service().ask.peek("a") == User(name="a")
    Service().ask.forget("a")
    assert Service().ask.peek("a") is None
    assert Service().ask.refresh("a") == User(name="a")


def test_a_synchronous_function_may_call_another_and_raise() -> None:
    cache = Cache()

    @cache.memoize
    def inner(text: str) -> str:
        if not text:
            raise KeyError("empty")
        return text

    @cache.memoize
    def outer(text: str) -> str:
        return inner(text) + "!"

    assert outer("a") == outer("a") == "a!"
    assert cache.statistics().provider_calls == 2
    with pytest.raises(KeyError, match="empty"):
        outer("")


async def test_a_synchronous_function_inside_a_running_loop() -> None:
    cache = Cache()

    @cache.memoize
    def ask(text: str) -> str:
        return text

    assert ask("a") == ask("a") == "a"
    assert cache.statistics().provider_calls == 1


# --- across processes ---------------------------------------------------------------------------

SCRIPT = """
import dataclasses
from samecall import Cache
cache = Cache()

@cache.memoize
async def ask(text: object, options: object = None) -> str:
    return ""

@dataclasses.dataclass
class Kind:
    @cache.memoize
    async def ask(self, text: str) -> str:
        return text

    @cache.memoize
    @classmethod
    async def of(cls, text: str) -> str:
        return text

def keys():
    yield ask.key_of("a", {"b": {"x", "y", "z"}})
    yield ask.key_of(Kind, [Kind])
    yield ask.key_of(Kind())
    yield Kind().ask.key_of("a")
    yield Kind.of.key_of("a")

if __name__ == "__main__":
    print(*(key.hex for key in keys()))
"""


def test_a_script_and_who_imports_it_have_the_same_keys(tmp_path: Any) -> None:
    """Classes among the arguments, and those of methods, too."""
    (tmp_path / "jobs.py").write_text(SCRIPT)
    by_import = "import jobs; print(*(key.hex for key in jobs.keys()))"

    def run(*args: str) -> str:
        done = subprocess.run(
            [sys.executable, *args], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    told = {run("jobs.py"), run("-m", "jobs"), run("-c", by_import)}
    assert len(told) == 1
    assert len(set(told.pop().split())) == 5


# --- bad input ----------------------------------------------------------------------------------


def _generator() -> Any:
    yield 1


async def _asked(text: object) -> Any:
    return text


def _returns_awaitable(text: str) -> Any:
    return asyncio.sleep(0)


@pytest.mark.parametrize(
    ("decorate", "message"),
    [
        (lambda cache: cache.memoize(3), "memoize takes a function"),
        (lambda cache: cache.memoize(User), "got the class User"),
        (lambda cache: cache.memoize(_generator), "takes no generator: let _generator return a li"),
        (lambda cache: cache.memoize(classmethod(_generator)), "takes no generator"),
        (lambda cache: cache.memoize(staticmethod(_generator)), "put @staticmethod above"),
        (lambda cache: cache.memoize(lambda text: text), "a function with a name; got a lambda"),
        (lambda cache: cache.memoize(max), "tells its arguments; max does not: write"),
        (lambda cache: cache.memoize(dict.get), "tells its arguments; dict.get does not"),
        (lambda cache: cache.memoize(functools.partial(_asked, 1)), "take the partial of the memo"),
        (lambda cache: cache.memoize(key=_asked), "key takes a plain function; this one is async"),
        (lambda cache: cache.memoize(tags=_asked), "tags takes a plain function; this one is asy"),
        (lambda cache: cache.memoize(ttl=-1), "ttl takes"),
        (lambda cache: cache.memoize(policy=3), "policy takes a Policy"),
        (lambda cache: cache.memoize(namespace=""), "namespace takes"),
        (lambda cache: cache.memoize(version=None), "version takes"),
        (lambda cache: cache.memoize(tags="text"), "tags takes"),
        (lambda cache: cache.memoize(key="text"), "key takes a function"),
        (lambda cache: cache.memoize(ignore="self"), "ignore takes names in a list"),
        (lambda cache: cache.memoize(ignore=["no"])(_returns_awaitable), "ignore takes names of"),
        (lambda cache: cache.memoize(codec=threading.Thread), "codec takes a Codec, or a type"),
        (lambda cache: cache.memoize(_returns_awaitable)("a"), "make it an async function"),
    ],
)
def test_a_mistake_is_named(decorate: Callable[[Cache], Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        decorate(Cache())
