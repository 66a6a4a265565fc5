"""What else goes through every wire: models of other kinds, reasks, and streams of the stub."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from provider_clients import by_hand
from pydantic import BaseModel

from instructor import Mode
from samecall import Cache
from samecall.instructor import cached
from samecall.testing import StubProvider
from samecall.testing.provider import Malformed


class User(BaseModel):
    name: str
    age: int


ASK = [{"role": "user", "content": "Who?"}]

CLIENTS = [
    ("from_anthropic", Mode.TOOLS),
    ("from_anthropic", Mode.JSON),
    ("from_genai", Mode.TOOLS),
    ("from_genai", Mode.JSON),
    ("from_litellm", Mode.TOOLS),
    ("from_litellm", Mode.JSON_SCHEMA),
    ("from_litellm", Mode.MD_JSON),
    ("from_mistral", Mode.TOOLS),
    ("from_cohere", Mode.TOOLS),
    ("from_cohere", Mode.JSON_SCHEMA),
    ("from_cohere", Mode.MD_JSON),
    ("from_writer", Mode.TOOLS),
    ("from_bedrock", Mode.TOOLS),
    ("from_bedrock", Mode.JSON_SCHEMA),
    ("from_bedrock", Mode.MD_JSON),
]
# Bedrock's streams are binary and not served, Mistral's carry a tool call in one piece, and of
# Cohere's modes instructor streams one.
NO_STREAM = {
    *(pair for pair in CLIENTS if pair[0] in {"from_bedrock", "from_mistral"}),
    ("from_cohere", Mode.JSON_SCHEMA),
    ("from_cohere", Mode.MD_JSON),
}
STREAMING = [pair for pair in CLIENTS if pair not in NO_STREAM]


async def stored(cache: Cache) -> None:
    """Return when the answer is stored, which comes after its caller has it."""
    for _ in range(1000):
        if cache.statistics().stored:
            return
        await asyncio.sleep(0.001)
    raise AssertionError("nothing was stored")


@pytest.mark.parametrize("name", ["from_openai", "from_anthropic", "from_genai", "from_litellm"])
@pytest.mark.parametrize("model", [User, int, list[User], None], ids=repr)
async def test_a_hit_is_the_miss_again(name: str, model: Any, stub: StubProvider) -> None:
    """Models of other kinds too are equal in a hit, and pickle."""
    question: dict[str, Any] = {"response_model": model, "messages": ASK}
    async with by_hand(name, Mode.TOOLS, stub) as bare, Cache() as cache:
        client = cached(bare, cache)
        first = await client.create_with_completion(**question)
        await stored(cache)
        again = await client.create_with_completion(**question)
    assert stub.calls == 1
    assert again == first
    assert [type(part) for part in again] == [type(part) for part in first]
    assert pickle.loads(pickle.dumps(again)) == first


@pytest.mark.parametrize(("name", "mode"), CLIENTS)
async def test_a_malformed_answer_is_asked_again(name: str, mode: Mode, stub: StubProvider) -> None:
    """Instructor reasks through every SDK, the reask counts for the same prompt, and is stored."""
    stub.script("Who?", Malformed())
    question: dict[str, Any] = {"response_model": User, "messages": ASK, "max_retries": 2}
    async with by_hand(name, mode, stub) as bare, Cache() as cache:
        client = cached(bare, cache)
        user, raw = await client.create_with_completion(**question)
        assert stub.calls_by_prompt == {"Who?": 2}
        await stored(cache)
        assert await client.create_with_completion(**question) == (user, raw)
    assert stub.calls == 2


@pytest.mark.parametrize(("name", "mode"), STREAMING)
async def test_a_stream_ends_in_the_answer(name: str, mode: Mode, stub: StubProvider) -> None:
    """The stub's events, put together by the SDK and instructor, are what `create` gives."""
    async with by_hand(name, mode, stub) as client:
        whole = await client.create(response_model=User, messages=ASK)
        parts = [p async for p in client.create_partial(response_model=User, messages=ASK)]
    assert parts[-1].model_dump() == whole.model_dump()
    assert stub.calls_by_prompt == {"Who?": 2}


async def test_anthropic_stream_of_the_bare_sdk(stub: StubProvider) -> None:
    """Anthropic's own helper puts the events together to the whole message."""
    import anthropic

    asked: Any = {"model": "m", "max_tokens": 9, "messages": ASK}
    async with (
        anthropic.AsyncAnthropic(base_url=stub.anthropic_url, api_key="k") as sdk,
        sdk.messages.stream(**asked) as stream,
    ):
        message: Any = await stream.get_final_message()
    assert message.content[0].text == "You asked: Who?"
    assert message.usage.output_tokens > 1
