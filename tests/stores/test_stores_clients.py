"""An application's client, on every store: hits, streams, forgetting, freshness, warming."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from openai import AsyncOpenAI
from place_support import PATIENT, Place, stored
from pydantic import BaseModel

import instructor
from samecall import Cache, Policy
from samecall.instructor import cached, key_of, warm
from samecall.testing import StubProvider


class Person(BaseModel):
    name: str


@pytest.fixture
async def provider() -> AsyncIterator[StubProvider]:
    async with StubProvider() as provider:
        yield provider


@pytest.fixture
async def bare(provider: StubProvider) -> AsyncIterator[instructor.AsyncInstructor]:
    async with AsyncOpenAI(api_key="no-key", base_url=provider.openai_url) as sdk:
        yield instructor.from_openai(sdk, model="stub-1")


def asked(**more: Any) -> dict[str, Any]:
    text = f"who is {os.urandom(4).hex()}"
    return {"response_model": Person, "messages": [{"role": "user", "content": text}], **more}


async def test_a_hit_is_the_miss_again(place: Place, provider: StubProvider, bare: Any) -> None:
    """In another process, completion included; and a stored call answers a stream of its parts."""
    one, other, call = place.cache(), place.cache(), asked()
    miss, completion = await cached(bare, one).create_with_completion(**call)
    await stored(one)
    hit, same = await cached(bare, other).create_with_completion(**call)
    assert (hit, same) == (miss, completion)
    assert hit is not miss
    *_, last = [part async for part in cached(bare, other).create_partial(**call)]
    assert last.model_dump() == miss.model_dump()
    assert provider.calls == 1


async def test_a_stream_is_played_again(place: Place, provider: StubProvider, bare: Any) -> None:
    """Part for part, in another process; and answers a later `create`."""
    one, other, call = place.cache(), place.cache(), asked()
    parts = [part async for part in cached(bare, one).create_partial(**call)]
    await stored(one)
    assert [part async for part in cached(bare, other).create_partial(**call)] == parts
    whole = await cached(bare, other).create(**call)
    assert whole.model_dump() == parts[-1].model_dump()
    assert provider.calls == 1


@pytest.mark.parametrize("way", ["key", "tag", "namespace"])
async def test_what_one_forgets_the_other_asks_anew(
    place: Place, provider: StubProvider, bare: Any, way: str
) -> None:
    """By the call as it was asked, by a tag that it bore, or all."""
    one, other, call = place.cache(), place.cache(), asked()
    client, elsewhere = cached(bare, one), cached(bare, other)
    await client.create(**call, cache_tags=("invoice",))
    await stored(one)
    await elsewhere.create(**call)
    assert provider.calls == 1
    match way:
        case "key":
            await other.forget(key_of(elsewhere, **call))
        case "tag":
            await other.forget_tag("invoice")
        case _:
            await other.clear()
    assert await one.peek(key_of(client, **call)) is None
    await client.create(**call)
    assert provider.calls == 2


async def test_how_long_is_said_by_cache_client_and_call(place: Place, bare: Any) -> None:
    """The nearest one has the word."""
    cache = place.cache(Policy(ttl=1_000))
    client, fast = cached(bare, cache), cached(bare, cache, policy=patient(ttl=500))
    for count, (on, more, most) in enumerate(
        (
            (client, {}, 1_000),
            (fast, {}, 500),
            (fast, {"cache_ttl": 60}, 60),
            (client, {"cache_policy": patient(lifetime=lambda person: 30)}, 30),
        ),
        1,
    ):
        call = asked()
        await on.create(**call, **more)
        await stored(cache, count)
        found = await place.store(cache).get(key_of(on, **call))
        assert most / 2 < found.left <= most


async def test_calls_are_made_ahead_of_time(
    place: Place, provider: StubProvider, bare: Any
) -> None:
    """Once each, a few at a time; then they are there, for another process too."""
    one, other = place.cache(), place.cache()
    calls = [asked() for _ in range(6)]
    done = await warm(cached(bare, one), [*calls, *calls], concurrency=3)
    assert (done.calls, done.failed, provider.calls) == (12, 0, 6)
    assert provider.most_in_flight <= 3
    for call in calls:
        await cached(bare, other).create(**call, cache_mode="only")
    assert provider.calls == 6


async def test_streams_are_made_ahead_of_time(
    place: Place, provider: StubProvider, bare: Any
) -> None:
    """To their end, though nobody has taken an item; an iterable would not even be asked for."""
    one, other = place.cache(), place.cache()
    calls = [asked(response_model=Iterable[Person]) for _ in range(4)]
    done = await warm(cached(bare, one), calls, concurrency=2)
    assert (done.calls, done.failed, provider.calls) == (4, 0, 4)
    assert provider.most_in_flight <= 2
    for call in calls:
        items = await cached(bare, other).create(**call, cache_mode="only")
        assert [item async for item in items]
    assert provider.calls == 4


def patient(**fields: Any) -> Policy:
    return Policy(op_timeout=PATIENT, **fields)


async def test_a_function_that_asks_an_instructor_client(
    place: Place, provider: StubProvider, bare: Any
) -> None:
    """What it gave the one process, and the other, are of the class that the function names."""

    def made(cache: Cache) -> Any:
        @cache.memoize
        async def extract(text: str) -> Person:
            messages = [{"role": "user", "content": text}]
            return await bare.create(response_model=Person, messages=messages)  # type: ignore[no-any-return]

        return extract

    here, there = place.cache(), place.cache()
    first = await made(here)(f"who {place.namespace}")
    await stored(here)
    again = await made(there)(text=f"who {place.namespace}")
    assert again == first
    assert type(again) is type(first) is Person
    assert provider.calls == 1
