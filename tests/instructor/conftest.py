"""Clients of real SDKs against stub providers on loopback."""

from __future__ import annotations

import asyncio
import base64
import os
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from fidelity_stub import Stub, serving

import instructor
from samecall import Cache
from samecall.testing import StubProvider
from samecall.testing.servers import LocalServer

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or its import asks the network


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


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with LocalServer() as server:
        yield server.url


class OtherProcess:
    """A process that asks what it is told to; its answers come back pickled."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fidelity_ask.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def ask(self, *words: str) -> tuple[str, Any]:
        """(how the answer came, (value, completion))."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()
        line = await asyncio.to_thread(self._process.stdout.readline)
        how, told = line.split()
        return how, pickle.loads(base64.b64decode(told))

    def close(self) -> None:
        self._process.communicate(timeout=30)


@pytest.fixture(scope="session")
def other() -> Iterator[OtherProcess]:
    other = OtherProcess()
    yield other
    other.close()
