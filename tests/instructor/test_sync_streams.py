"""Streams of a synchronous client: iterators over the portal, parsed in the caller's thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from instructor.v2.core.errors import InstructorRetryException
from pydantic import BaseModel, ValidationError

import instructor
from instructor import Mode
from samecall import Cache, Policy
from samecall.instructor import cached
from samecall.testing import StubProvider
from samecall.testing.provider import CutAfter, HoldAfter, Status


class User(BaseModel):
    name: str
    age: int


def question(**more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "who"}], **more}


RAW = question(response_model=None, stream=True)
CLIENTS = [
    ("openai", Mode.TOOLS),
    ("openai", Mode.MD_JSON),
    ("openai", Mode.RESPONSES_TOOLS),
    ("anthropic", Mode.TOOLS),
    ("genai", Mode.JSON),
]


@pytest.fixture
def provider() -> Iterator[StubProvider]:
    with StubProvider.in_thread() as provider:
        yield provider


@pytest.fixture
def cache() -> Cache:
    return Cache()


def bare_client(name: str, mode: Mode, provider: StubProvider) -> instructor.Instructor:
    if name == "openai":
        sdk = openai.OpenAI(api_key="k", base_url=provider.openai_url, max_retries=0)
        return instructor.from_openai(sdk, mode=mode, model="m")
    if name == "anthropic":
        claude = anthropic.Anthropic(api_key="k", base_url=provider.anthropic_url, max_retries=0)
        return instructor.from_anthropic(claude, mode=mode, model="m", max_tokens=9)
    google = genai.Client(api_key="k", http_options={"base_url": provider.gemini_url})
    return instructor.from_genai(google, mode=mode, model="m")


@pytest.fixture
def client(provider: StubProvider, cache: Cache) -> instructor.Instructor:
    return cached(bare_client("openai", Mode.TOOLS, provider), cache)


def take(client: instructor.Instructor, helper: str) -> list[Any]:
    if helper == "raw":
        return list(client.create(**RAW))
    return list(getattr(client, helper)(**question(response_model=User)))


@pytest.mark.parametrize(("name", "mode"), CLIENTS)
def test_leader_follower_and_hit(
    name: str, mode: Mode, provider: StubProvider, cache: Cache
) -> None:
    """The same items as with the bare client, for one call."""
    bare = bare_client(name, mode, provider)
    client = cached(bare, cache)
    for calls, helper in enumerate(("create_partial", "create_iterable", "raw"), 1):
        plain = take(bare, helper)
        with ThreadPoolExecutor(2) as threads:
            led, followed = threads.map(lambda _, h=helper: take(client, h), range(2))
        hit = take(client, helper)
        assert led == followed == hit
        assert [type(item) for item in led] == [type(item) for item in plain]
        if helper != "raw":
            assert led == plain
        assert provider.calls == 2 * calls


def test_the_surface_of_the_sdks_stream(
    client: instructor.Instructor, provider: StubProvider
) -> None:
    streams = [client.create(**RAW) for _ in range(2)]
    for stream in streams:
        assert isinstance(stream, openai.Stream)
        assert stream.response.status_code == 200
        with stream as entered:
            assert next(entered).choices
            assert list(entered)[-1].choices[0].finish_reason
        with pytest.raises(StopIteration):
            next(stream)
    assert provider.calls == 1


def test_hooks_fire_for_the_one_call(client: instructor.Instructor) -> None:
    heard: list[Any] = []
    client.on("completion:response", heard.append)
    for _ in range(2):
        take(client, "create_partial")
    (response,) = heard
    assert isinstance(response, openai.Stream)
    assert response.response.status_code == 200


def test_errors(client: instructor.Instructor, provider: StubProvider) -> None:
    """Of the call, as the bare client raises them; in mid-stream, after the same items."""
    provider.script("who", Status(429), CutAfter(2))
    with pytest.raises(InstructorRetryException) as caught:
        take(client, "create_partial")
    assert isinstance(caught.value.__cause__, openai.RateLimitError)
    items: list[Any] = []
    with pytest.raises(Exception, match="peer closed connection"):
        items.extend(client.create(**RAW))
    assert len(items) == 2


def test_a_stream_that_could_not_be_read_is_asked_anew(
    client: instructor.Instructor, provider: StubProvider
) -> None:
    """As with the bare client: what its model refuses is nobody's answer."""
    unreadable = {"name": "Ada", "age": "many"}
    for helper, answer in (
        ("create_partial", unreadable),
        ("create_iterable", {"tasks": [unreadable]}),
    ):
        provider.answer("who", answer)
        with pytest.raises((ValidationError, InstructorRetryException)):
            take(client, helper)
        assert provider.calls == 1
        provider.reset()
        assert take(client, helper)[-1].age
        assert provider.calls == 1
        provider.reset()


@pytest.mark.parametrize(("name", "mode"), CLIENTS)
def test_leaving_early_ends_the_call(
    name: str, mode: Mode, provider: StubProvider, cache: Cache
) -> None:
    """Though the thread that reads it waits for what does not come; the client goes on."""
    policy = Policy(on_abandon="abandon")
    client = cached(bare_client(name, mode, provider), cache, policy=policy)
    events = 1 if name == "genai" else 2
    provider.script("who", HoldAfter(events), HoldAfter(events))
    for _ in client.create(**RAW):
        break
    stream = client.create(**RAW)
    next(stream)
    stream.close()
    while provider.in_flight or cache.statistics().flights or reading():
        time.sleep(0.005)
    other = [{"role": "user", "content": "what"}]
    assert list(client.create(**RAW | {"messages": other}))


def reading() -> list[str]:
    """The threads that read streams."""
    return [each.name for each in threading.enumerate() if each.name == "samecall-reading"]
