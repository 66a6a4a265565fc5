"""Clients of real SDKs against stub providers on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator

import instructor
import openai
import pytest
from fidelity_stub import Stub, serving

from samecall import Cache
from samecall.testing import StubProvider


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    """The provider of the fidelity table."""
    async with serving() as stub:
        yield stub


@pytest.fixture
async def provider() -> AsyncIterator[StubProvider]:
    async with StubProvider() as provider:
        yield provider


@pytest.fixture
async def sdk(provider: StubProvider) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        api_key="key-1", base_url=provider.openai_url, max_retries=0
    ) as sdk:
        yield sdk


@pytest.fixture
def bare(sdk: openai.AsyncOpenAI) -> instructor.AsyncInstructor:
    return instructor.from_openai(sdk, model="stub-1")


@pytest.fixture
async def cache() -> AsyncIterator[Cache]:
    async with Cache() as cache:
        yield cache
