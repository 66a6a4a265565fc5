"""What of a client's streams is kept, and what is not; and what they are said to have cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError, field_validator

import instructor
from instructor import Partial
from samecall import Cache, Policy, SamecallWarning
from samecall._entry import Key
from samecall._memory import MemoryStore
from samecall._ports import CallAnswered, Event, Found, ProviderAsked, ProviderCalled
from samecall.instructor import cached, key_of
from samecall.testing import StubProvider
from samecall.testing.provider import CutAfter, HoldAfter

UNREADABLE = {"name": "Ada", "age": "many"}
TURNS = 200_000
"""Of the loop, in which what is to come has come: a second or two of them."""


class User(BaseModel):
    name: str
    age: int


def question(**more: Any) -> dict[str, Any]:
    return {"response_model": User, "messages": [{"role": "user", "content": "who"}], **more}


async def take(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


async def landed(cache: Cache) -> None:
    """Return once nothing is in the air."""
    for _ in range(TURNS):
        if not cache.statistics().flights:
            return
        await asyncio.sleep(0)
    raise AssertionError("something stays in the air")


async def held(store: MemoryStore, key: Key) -> Found:
    """What is stored, once it is."""
    for _ in range(TURNS):
        if (found := await store.get(key)) is not None:
            return found
        await asyncio.sleep(0)
    raise AssertionError("nothing is stored")


# --- part of a stream -----------------------------------------------------------------------------


@pytest.mark.parametrize("events", [0, 1, 3])
async def test_a_stream_that_just_stops_is_not_stored(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider, events: int
) -> None:
    """Its body ends in good order, as a proxy's does, and no event said that it was whole."""
    client = cached(bare, cache)
    provider.script("who", CutAfter(events, clean=True))
    raw = {**question(), "response_model": None, "stream": True}
    with pytest.warns(SamecallWarning, match="last word"):
        assert len(await take(await client.create(**raw))) == events
    whole = await take(await client.create(**raw))
    assert whole[-1].choices[0].finish_reason
    assert await take(await client.create(**raw)) == whole
    assert provider.calls == 2
    assert cache.statistics().uncached == 1


# --- what its consumer could not read -------------------------------------------------------------


@pytest.mark.parametrize("held", [False, True], ids=["to its end", "while it runs"])
async def test_a_stream_that_could_not_be_read_is_asked_anew(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider, held: bool
) -> None:
    """As with the bare client; only those who took it too share the failure."""
    client = cached(bare, cache)
    provider.answer("who", UNREADABLE)
    if held:
        provider.script("who", HoldAfter(6))
    tasks = [asyncio.create_task(take(client.create_partial(**question()))) for _ in range(3)]
    if held:
        while provider.in_flight < 1:
            await asyncio.sleep(0)
    got = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in got] == [ValidationError] * 3
    assert provider.calls == 1
    await landed(cache)
    provider.answer("who", {"name": "Ada", "age": 36})
    assert (await take(client.create_partial(**question())))[-1] == User(name="Ada", age=36)
    assert provider.calls == 2
    provider.release()
    await landed(cache)
    assert (await client.create(**question())).age == 36
    assert provider.calls == 2


async def test_a_stored_stream_that_another_model_refuses_is_asked_anew(
    bare: instructor.AsyncInstructor, provider: StubProvider
) -> None:
    """In the whole fleet, and only if it is still that stream that is stored."""

    class Strict(User):
        @field_validator("age")
        @classmethod
        def _grown(cls, age: int) -> int:
            if age < 18:
                raise ValueError("too young")
            return age

    Strict.__name__ = Strict.__qualname__ = "User"
    store = MemoryStore()
    provider.answer("who", {"name": "Ada", "age": 6})
    strict = {**question(), "response_model": Strict}
    async with Cache(store) as one, Cache(store) as two:
        first, second = cached(bare, one), cached(bare, two)
        key = key_of(first, **question())
        assert key_of(second, **strict) == key
        users = await take(first.create_partial(**question()))
        await held(store, key)
        for _ in range(2):
            with pytest.raises(ValidationError, match="too young"):
                await take(second.create_partial(**strict))
            await landed(two)
            assert await store.get(key) is None
        assert provider.calls == 2
        provider.answer("who", {"name": "Ada", "age": 36})
        grown = await take(second.create_partial(**strict))
        found = await held(store, key)
        await two.refuse(key, b"another stamp")
        assert (await held(store, key)).data == found.data
    async with Cache(store) as three:
        again = await take(cached(bare, three).create_partial(**question()))
    assert [each.model_dump() for each in again] == [each.model_dump() for each in grown]
    assert provider.calls == 3
    assert users[-1].age == 6


async def test_an_error_of_the_stream_refuses_nothing(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    """What broke was the line, and the error window is as of any call."""
    client = cached(bare, cache)
    provider.script("who", CutAfter(3))
    for _ in range(2):
        with pytest.raises(Exception, match="peer closed"):
            await take(client.create_partial(**question()))
    assert provider.calls == 1


# --- what rules hear ------------------------------------------------------------------------------


async def test_a_rule_judges_no_stream_that_does_not_pass_validation(
    bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    heard: list[Any] = []
    policy = Policy(should_store=lambda _, answer: heard.append(answer) is None)
    client = cached(bare, cache, policy=policy)
    provider.answer("who", UNREADABLE)
    items = await client.create(**{**question(stream=True), "response_model": Partial[User]})
    with pytest.warns(SamecallWarning, match="does not pass validation"):
        await landed(cache)  # the whole stream is there before its consumer takes any of it
    with pytest.raises(ValidationError):
        await take(items)
    assert heard == []
    assert cache.statistics().stored == 0


# --- what it cost ---------------------------------------------------------------------------------


class Ears:
    def __init__(self) -> None:
        self.heard: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.heard.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.heard if isinstance(event, kind)]


@pytest.mark.parametrize("mode", ["use", "bypass"])
async def test_what_a_stream_cost_is_told(
    bare: instructor.AsyncInstructor, provider: StubProvider, mode: str
) -> None:
    """By who called, kept or not; and what a hit has saved."""
    ears = Ears()
    asked = question(stream_options={"include_usage": True})
    async with Cache(observers=[ears]) as cache:
        client = cached(bare, cache)
        await take(client.create_partial(**asked, cache_mode=mode))
        await take(client.create_partial(**asked, cache_mode=mode))
    assert len(ears.of(ProviderAsked)) == provider.calls == (1 if mode == "use" else 2)
    called, answered = ears.of(ProviderCalled), ears.of(CallAnswered)
    assert all(event.spent.output > 0 and event.spent.input > 0 for event in called)
    assert [event.spent.model for event in called] == ["stub-1"] * provider.calls
    if mode == "use":
        assert [event.spent for event in answered] == [called[0].spent] * 2


async def test_what_a_follower_elsewhere_has_saved(
    bare: instructor.AsyncInstructor, provider: StubProvider
) -> None:
    """As much as a follower here, though it has no entry when the stream is at its end."""
    store, ears = MemoryStore(), Ears()
    asked = question(stream_options={"include_usage": True})
    provider.script("who", HoldAfter(6))
    async with Cache(store) as one, Cache(store, observers=[ears]) as two:
        led = asyncio.create_task(take(cached(bare, one).create_partial(**asked)))
        await provider.until_calls(1)
        followed = asyncio.create_task(take(cached(bare, two).create_partial(**asked)))
        while two.statistics().callers_waiting < 1:
            await asyncio.sleep(0)
        provider.release()
        assert await followed == await led
        assert provider.calls == 1
    (answered,) = ears.of(CallAnswered)
    assert answered.how == "coalesced_remote"
    assert answered.spent.model == "stub-1"
    assert answered.spent.output > 0


async def test_what_a_stream_cost_that_is_not_stored(
    bare: instructor.AsyncInstructor, provider: StubProvider
) -> None:
    """It was paid all the same."""
    ears = Ears()
    policy = Policy(should_store=lambda *_: 1 / 0 > 0)
    async with Cache(observers=[ears], policy=policy) as cache:
        asked = question(stream_options={"include_usage": True})
        with pytest.warns(SamecallWarning, match="ZeroDivisionError"):
            await take(cached(bare, cache).create_partial(**asked))
    (called,) = ears.of(ProviderCalled)
    assert called.spent.output > 0


async def test_what_a_call_cost_that_bypasses_the_cache(
    bare: instructor.AsyncInstructor, provider: StubProvider
) -> None:
    ears = Ears()
    async with Cache(observers=[ears]) as cache:
        await cached(bare, cache).create(**question(cache_mode="bypass"))
    (called,) = ears.of(ProviderCalled)
    assert called.spent.output > 0
