"""A stream is the same by whatever name a client is asked for it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel

import instructor
from instructor import Mode, Partial
from samecall import Cache
from samecall.instructor import cached
from samecall.testing import StubProvider


class User(BaseModel):
    name: str
    age: int


PROMPT: Any = {"messages": [{"role": "user", "content": "who"}]}
ALL = {"response_model": User}
PARTS: Any = {"response_model": Partial[User], "stream": True}
EVENTS: Any = {"response_model": None, "stream": True}
Ask = Callable[[Any], Any]
NAMES: dict[str, tuple[str, Ask]] = {
    "responses.create_partial": (
        "responses",
        lambda c: c.responses.create_partial(input="who", **ALL),
    ),
    "responses.create_iterable": (
        "responses",
        lambda c: c.responses.create_iterable(input="who", **ALL),
    ),
    "responses.create of parts": ("responses", lambda c: c.responses.create(input="who", **PARTS)),
    "responses.create of events": (
        "responses",
        lambda c: c.responses.create(input="who", **EVENTS),
    ),
    "chat.completions.create_partial": (
        "chat",
        lambda c: c.chat.completions.create_partial(**PROMPT, **ALL),
    ),
    "chat.completions.create_iterable": (
        "chat",
        lambda c: c.chat.completions.create_iterable(**PROMPT, **ALL),
    ),
    "chat.completions.create of parts": (
        "chat",
        lambda c: c.chat.completions.create(**PROMPT, **PARTS),
    ),
    "messages.create_partial": (
        "anthropic",
        lambda c: c.messages.create_partial(**PROMPT, **ALL),
    ),
    "messages.create_iterable": (
        "anthropic",
        lambda c: c.messages.create_iterable(**PROMPT, **ALL),
    ),
    "messages.create of events": (
        "anthropic",
        lambda c: c.messages.create(**PROMPT, **EVENTS),
    ),
}


@pytest.fixture
async def clients(
    provider: StubProvider, sdk: openai.AsyncOpenAI
) -> AsyncIterator[dict[str, instructor.AsyncInstructor]]:
    async with anthropic.AsyncAnthropic(
        api_key="key-1", base_url=provider.anthropic_url, max_retries=0
    ) as claude:
        yield {
            "chat": instructor.from_openai(sdk, model="m"),
            "responses": instructor.from_openai(sdk, mode=Mode.RESPONSES_TOOLS, model="m"),
            "anthropic": instructor.from_anthropic(claude, model="m", max_tokens=9),
        }


async def take(items: Any) -> list[Any]:
    if inspect.iscoroutine(items):
        items = await items
    return [item async for item in items]


@pytest.mark.parametrize("name", NAMES)
async def test_the_same_items_by_every_name(
    clients: dict[str, instructor.AsyncInstructor],
    provider: StubProvider,
    cache: Cache,
    name: str,
) -> None:
    """As the bare client's; leader, follower and hit, of one call."""
    kind, ask = NAMES[name]
    plain = await take(ask(clients[kind]))
    client = cached(clients[kind], cache)
    led, followed = await asyncio.gather(take(ask(client)), take(ask(client)))
    hit = await take(ask(client))
    assert led == followed == hit
    assert [type(item) for item in hit] == [type(item) for item in plain]
    if "events" not in name:  # which bear ids and times of their own
        assert led == plain
    assert provider.calls == 2
