"""Streams of a cached client: what their callers see, and what they leave behind."""

from __future__ import annotations

import asyncio
import gc
import pickle
import secrets
from collections.abc import AsyncIterator, Iterable
from typing import Any, TypedDict

import openai
import pytest
from instructor.v2.core.errors import InstructorRetryException
from pydantic import BaseModel

import instructor
from instructor import Partial
from samecall import Cache, CacheMiss, Policy, SamecallWarning
from samecall.instructor import cached, key_of
from samecall.testing import StubProvider
from samecall.testing.provider import CutAfter, HoldAfter, Status


class User(BaseModel):
    name: str
    age: int


def question(**more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "who"}], **more}


def raw(**more: Any) -> dict[str, Any]:
    return question(response_model=None, stream=True, **more)


async def take(items: AsyncIterator[Any], into: list[Any] | None = None) -> list[Any]:
    into = [] if into is None else into
    async for item in items:
        into.append(item)
    return into


async def settled(cache: Cache) -> None:
    """Return once nothing is in the air."""
    while cache.statistics().flights:
        await asyncio.sleep(0.001)


@pytest.fixture
def client(bare: instructor.AsyncInstructor, cache: Cache) -> instructor.AsyncInstructor:
    return cached(bare, cache)


# --- the surface ----------------------------------------------------------------------------------


async def test_the_surface_of_the_sdks_stream(
    client: instructor.AsyncInstructor, provider: StubProvider
) -> None:
    """Leader, follower and hit: a stream of the SDK's class, entered, iterated, with a response."""
    streams = [await client.create(**raw()) for _ in range(3)]
    for stream in streams:
        assert isinstance(stream, openai.AsyncStream)
        assert stream.response.status_code == 200
        assert "event-stream" in stream.response.headers["content-type"]
        async with stream as entered:
            first = await anext(entered)
            rest = [chunk async for chunk in entered]
        assert first.object == "chat.completion.chunk"
        assert rest[-1].choices[0].finish_reason == "stop"
    assert streams[0].response.request.url.host == "127.0.0.1"  # the leader's own
    assert provider.calls == 1


async def test_closing_ends_a_stream(client: instructor.AsyncInstructor, cache: Cache) -> None:
    stream = await client.create(**raw())
    await anext(stream)
    await stream.close()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    await settled(cache)


async def test_a_follower_is_live(
    client: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    """It has the leader's items while the leader's stream still runs."""
    provider.script("who", HoldAfter(2))
    led, followed, late = [], [], []
    tasks = [asyncio.create_task(take(await client.create(**raw()), led))]
    await provider.until_waiting(1)
    tasks.append(asyncio.create_task(take(await client.create(**raw()), followed)))
    tasks.append(asyncio.create_task(take(await client.create(**raw()), late)))
    while min(len(led), len(followed), len(late)) < 2:
        await asyncio.sleep(0)
    assert provider.in_flight == 1
    provider.release()
    await asyncio.gather(*tasks)
    assert led == followed == late
    assert provider.calls == 1


async def test_a_usage_event_comes_to_those_who_ask_for_it(
    client: instructor.AsyncInstructor, provider: StubProvider
) -> None:
    """Others may read `choices[0]` of every event, as OpenAI lets them."""
    wants = {"stream_options": {"include_usage": True}}
    told = await take(await client.create(**raw(**wants)))
    assert told[-1].usage.total_tokens
    assert told[-1].choices == []
    plain = await take(await client.create(**raw()))
    assert plain == told[:-1]
    assert provider.calls == 1


# --- hooks ----------------------------------------------------------------------------------------


async def test_hooks_fire_for_the_one_call(
    client: instructor.AsyncInstructor, provider: StubProvider
) -> None:
    heard: list[str] = []
    client.on("completion:kwargs", lambda *_, **__: heard.append("kwargs"))
    client.on("completion:response", lambda response: heard.append(type(response).__name__))
    asked = question(response_model=User)
    await asyncio.gather(*(take(client.create_partial(**asked)) for _ in range(3)))
    await take(client.create_partial(**asked))
    assert heard == ["kwargs", "AsyncStream"]
    assert provider.calls == 1


# --- what is asked --------------------------------------------------------------------------------


async def test_streams_and_calls_share_a_key(client: instructor.AsyncInstructor) -> None:
    whole = key_of(client, **question(response_model=User))
    partial = key_of(client, **question(response_model=instructor.Partial[User], stream=True))
    many = key_of(client, **question(response_model=Iterable[User], stream=True))
    assert whole == partial != many


class Partner(Partial[User]):  # type: ignore[misc]
    """A class of its author's own."""

    of: str


async def test_a_class_that_derives_from_parts_is_another_question(
    client: instructor.AsyncInstructor, provider: StubProvider
) -> None:
    provider.answer("who", {"name": "Ada", "age": 36, "of": "Charles"})
    await client.create(**question(response_model=User))
    one = await client.create(**question(response_model=Partner))
    assert one.of == "Charles"
    assert provider.calls == 2
    parts = await take(client.create_partial(**question(response_model=Partner)))
    assert parts[-1].of == "Charles"
    assert provider.calls == 2


async def test_modes_of_the_cache(
    client: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    asked = question(response_model=User)
    with pytest.raises(CacheMiss):
        await take(client.create_partial(**asked, cache_mode="only"))
    items = await take(client.create_partial(**asked))
    assert await take(client.create_partial(**asked, cache_mode="only")) == items
    for mode in ("refresh", "bypass"):
        assert await take(client.create_partial(**asked, cache_mode=mode)) == items
    assert await take(client.create_partial(**asked, cache=None)) == items
    assert provider.calls == 4
    with pytest.warns(SamecallWarning, match=r"context\.it: "):
        await take(client.create_partial(**asked, context={"it": object()}))
    assert cache.statistics().uncached == 1
    statistics = cache.statistics()
    assert statistics.streams == statistics.calls == 5


async def test_a_typed_dict_has_one_class_for_all(client: instructor.AsyncInstructor) -> None:
    class Row(TypedDict):
        name: str
        age: int

    led = await take(client.create_iterable(**question(response_model=Row)))
    hit = await take(client.create_iterable(**question(response_model=Row)))
    assert led == hit
    assert {type(row) for row in led} == {type(row) for row in hit}


# --- errors ---------------------------------------------------------------------------------------


async def test_an_error_of_the_call(
    client: instructor.AsyncInstructor,
    bare: instructor.AsyncInstructor,
    provider: StubProvider,
) -> None:
    """As the bare client raises it, for leader and followers, before any item."""
    provider.script("who", Status(429), Status(429), Status(429))
    with pytest.raises(InstructorRetryException) as plain:
        await take(bare.create_partial(**question(response_model=User)))
    asked = question(response_model=User, cache_vary="partial")
    caught = await asyncio.gather(
        *(take(client.create_partial(**asked)) for _ in range(3)), return_exceptions=True
    )
    for error in caught:
        assert type(error) is InstructorRetryException
        assert str(error) == str(plain.value)
        assert type(error.__cause__) is openai.RateLimitError
    for _ in range(2):
        with pytest.raises(openai.RateLimitError):
            await client.create(**raw())
    assert provider.calls == 3


async def test_an_error_in_mid_stream(
    client: instructor.AsyncInstructor,
    bare: instructor.AsyncInstructor,
    cache: Cache,
    provider: StubProvider,
) -> None:
    """The same error for all, after the same items; nothing is stored of it."""
    provider.script("who", CutAfter(2), CutAfter(2))
    before: list[Any] = []
    with pytest.raises(Exception) as plain:
        await take(await bare.create(**raw()), before)
    seen: list[list[Any]] = [[], [], []]
    streams = [await client.create(**raw()) for _ in seen]
    caught = await asyncio.gather(
        *(take(stream, into) for stream, into in zip(streams, seen, strict=True)),
        return_exceptions=True,
    )
    assert {type(error) for error in caught} == {type(plain.value)}
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) == len(before) == 2
    assert provider.calls == 2
    assert len(await take(await client.create(**raw(cache_mode="refresh")))) > 2
    assert cache.statistics().stored <= 1


async def test_an_error_in_mid_stream_elsewhere(
    bare: instructor.AsyncInstructor, provider: StubProvider, redis_url: str
) -> None:
    """Of the same class in a process that follows over Redis, after the same items."""
    policy = Policy(op_timeout=30)
    namespace = f"streams-{secrets.token_hex(6)}"
    provider.script("who", CutAfter(2, held=True))
    async with (
        Cache(redis_url, namespace=namespace, policy=policy) as one,
        Cache(redis_url, namespace=namespace, policy=policy) as two,
    ):
        led, followed = list[Any](), list[Any]()
        leader = asyncio.create_task(take(await cached(bare, one).create(**raw()), led))
        stream = await cached(bare, two).create(**raw())
        follower = asyncio.create_task(take(stream, followed))
        while len(followed) < 2:
            await asyncio.sleep(0.001)
        provider.release()
        errors = await asyncio.gather(leader, follower, return_exceptions=True)
    assert type(errors[0]) is type(errors[1])
    assert type(errors[0]).__name__ == "RemoteProtocolError"
    assert led == followed
    assert provider.calls == 1


# --- nothing is left behind -----------------------------------------------------------------------

ABANDON = Policy(on_abandon="abandon")


@pytest.mark.parametrize("how", ["break", "aclose", "cancel", "drop"])
async def test_a_consumer_that_stops(
    how: str, bare: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    """The last one out ends the call: its connection, its flight, its tasks."""
    client = cached(bare, cache, policy=ABANDON)
    provider.script("who", HoldAfter(2))
    tasks = asyncio.all_tasks()

    async def read() -> None:
        async for _ in client.create_partial(**question(response_model=User)):
            pass

    if how == "cancel":
        reader = asyncio.create_task(read())
        await provider.until_waiting(1)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    else:
        items = client.create_partial(**question(response_model=User))
        async for _ in items:
            break
        if how == "aclose":
            await items.aclose()
        del items
        if how == "drop":
            gc.collect()
    await provider.until_idle()
    await settled(cache)
    while asyncio.all_tasks() != tasks:
        await asyncio.sleep(0.001)
    assert cache.statistics().stored == 0


async def test_a_consumer_that_stops_harms_nobody(
    client: instructor.AsyncInstructor, cache: Cache, provider: StubProvider
) -> None:
    """The leader's consumer goes; the follower gets all, and it is kept."""
    provider.script("who", HoldAfter(2))
    leader = await client.create(**raw())
    await anext(leader)
    followed = asyncio.create_task(take(await client.create(**raw())))
    await leader.close()
    provider.release()
    items = await followed
    assert items[-1].choices[0].finish_reason == "stop"
    await settled(cache)
    assert await take(await client.create(**raw())) == items
    assert provider.calls == 1


# --- classes that instructor makes ----------------------------------------------------------------


@pytest.mark.parametrize("mode", ["use", "refresh"])
async def test_parts_of_a_model_make_no_class_per_call(
    client: instructor.AsyncInstructor, mode: str
) -> None:
    """Neither a hit nor a call of its own; instructor keeps each that it makes, for ever."""

    class Local(User):
        pass

    counts = []
    for _ in range(2):
        for _ in range(3):
            await take(client.create_partial(response_model=Local, **question(cache_mode=mode)))
            call: Any = client.create(
                response_model=instructor.Partial[Local], stream=True, **question(cache_mode=mode)
            )
            await take(await call)
        gc.collect()
        counts.append(len(models_on(Local)))
    assert counts[0] == counts[1]


def models_on(cls: type[BaseModel]) -> set[type[BaseModel]]:
    found = {cls}
    for each in cls.__subclasses__():
        found |= models_on(each)
    return found


async def test_items_of_a_class_that_was_made_inside_the_call(
    client: instructor.AsyncInstructor,
) -> None:
    """Leader and hit have equal items of one class, which pickle."""
    led, hit = [
        await take(client.create_iterable(response_model=instructor.Partial[User], **question()))
        for _ in range(2)
    ]
    assert led
    assert hit == led
    assert [type(item) for item in hit] == [type(item) for item in led]
    assert pickle.loads(pickle.dumps(hit)) == led
