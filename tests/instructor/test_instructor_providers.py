"""Real SDKs against the stub: a hit is the miss again, in the provider's own classes."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Union

import anthropic
import litellm
import openai
import pytest
from google import genai
from instructor.v2.core.providers import Provider
from instructor.v2.core.registry import mode_registry
from pydantic import BaseModel

import instructor
from instructor import Mode
from samecall import Cache
from samecall.instructor import cached
from samecall.testing import StubProvider


class User(BaseModel):
    name: str
    age: int


class Admin(BaseModel):
    name: str
    rights: list[str]


@asynccontextmanager
async def by_openai(provider: StubProvider, mode: Mode) -> AsyncIterator[Any]:
    async with openai.AsyncOpenAI(api_key="k", base_url=provider.openai_url) as sdk:
        yield instructor.from_openai(sdk, mode=mode, model="m")


@asynccontextmanager
async def by_anthropic(provider: StubProvider, mode: Mode) -> AsyncIterator[Any]:
    async with anthropic.AsyncAnthropic(api_key="k", base_url=provider.anthropic_url) as sdk:
        yield instructor.from_anthropic(sdk, mode=mode, model="m", max_tokens=100)


@asynccontextmanager
async def by_genai(provider: StubProvider, mode: Mode) -> AsyncIterator[Any]:
    sdk = genai.Client(api_key="k", http_options={"base_url": provider.gemini_url})
    yield instructor.from_genai(sdk, mode=mode, model="m", use_async=True)
    await sdk.aio.aclose()
    sdk.close()


@asynccontextmanager
async def by_litellm(provider: StubProvider, mode: Mode) -> AsyncIterator[Any]:
    yield instructor.from_litellm(
        litellm.acompletion,
        mode=mode,
        model="openai/m",
        api_base=provider.openai_url,
        api_key="k",
    )


async def stored(cache: Cache, count: int = 1) -> None:
    """Return when so many answers are stored, which comes after their callers have them."""
    for _ in range(100_000):
        if cache.statistics().stored >= count:
            return
        await asyncio.sleep(0)
    raise AssertionError("nothing was stored")


def modes(provider: Provider) -> list[Mode]:
    return sorted(mode_registry.get_modes_for_provider(provider), key=lambda mode: mode.name)


ROWS = [
    *((by_openai, mode) for mode in modes(Provider.OPENAI)),
    *((by_anthropic, mode) for mode in modes(Provider.ANTHROPIC)),
    *((by_genai, mode) for mode in modes(Provider.GENAI)),
    *((by_litellm, mode) for mode in (Mode.TOOLS, Mode.JSON, Mode.MD_JSON)),
]


@pytest.mark.parametrize(
    ("connect", "mode"), ROWS, ids=[f"{connect.__name__}-{mode.name}" for connect, mode in ROWS]
)
async def test_a_hit_is_the_miss_again(
    connect: Callable[..., Any], mode: Mode, provider: StubProvider, cache: Cache
) -> None:
    parallel = mode in Mode.parallel_modes()
    model: Any = Iterable[Union[User, Admin]] if parallel else User
    question = {"response_model": model, "messages": [{"role": "user", "content": "who"}]}
    async with connect(provider, mode) as bare:
        client = cached(bare, cache)
        value, raw = await client.create_with_completion(**question)
        await stored(cache)
        again, raw_again = await client.create_with_completion(**question)
    if parallel:
        value, again = list(value), list(again)
    assert provider.calls == 1
    assert again == value
    assert type(again) is type(value)
    assert raw_again == raw
    assert type(raw_again) is type(raw)
    assert type(raw).__module__.split(".")[0] == connect.__name__[3:].replace("genai", "google")
    assert pickle.loads(pickle.dumps((again, raw_again))) == (value, raw)


@pytest.mark.parametrize("connect", [by_openai, by_anthropic, by_genai, by_litellm])
@pytest.mark.parametrize("model", [int, list[User], None], ids=str)
async def test_other_models(
    connect: Callable[..., Any], model: Any, provider: StubProvider, cache: Cache
) -> None:
    question = {"response_model": model, "messages": [{"role": "user", "content": "who"}]}
    async with connect(provider, Mode.TOOLS) as bare:
        client = cached(bare, cache)
        value, raw = await client.create_with_completion(**question)
        await stored(cache)
        again, raw_again = await client.create_with_completion(**question)
    assert provider.calls == 1
    assert (again, raw_again) == (value, raw)
    assert type(again) is type(value)
