"""Threads and tasks of real processes, over every store that processes share."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI
from place_support import PATIENT
from pydantic import BaseModel

import instructor
from samecall import Cache, Policy
from samecall._memory import MemoryStore
from samecall.instructor import cached
from samecall.testing import StubProvider
from samecall.testing.crew import Crew, Line

EACH = 5


class Person(BaseModel):
    name: str


async def ask(line: Line, setup: Any) -> None:
    """A worker: threads with a synchronous client, tasks with another one, all at once."""
    where, provider = setup
    cache = Cache(where, namespace="processes", policy=Policy(op_timeout=PATIENT), l1=None)
    asked: Any = {"response_model": Person, "messages": [{"role": "user", "content": "who?"}]}
    sdk = OpenAI(api_key="no-key", base_url=provider)
    blocking = cached(instructor.from_openai(sdk, model="stub-1"), cache)
    line.tell(["ready", None])
    await line.hear()
    async with AsyncOpenAI(api_key="no-key", base_url=provider) as async_sdk:
        client = cached(instructor.from_openai(async_sdk, model="stub-1"), cache)
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(EACH) as pool:
            threads = [
                loop.run_in_executor(pool, lambda: blocking.create(**asked)) for _ in range(EACH)
            ]
            tasks = [asyncio.ensure_future(client.create(**asked)) for _ in range(EACH)]
            ends = time.monotonic() + PATIENT
            while cache.statistics().callers_waiting < 2 * EACH and time.monotonic() < ends:
                await asyncio.sleep(0.001)
            line.tell(["waiting", None])
            people = [*await asyncio.gather(*threads), *await asyncio.gather(*tasks)]
    await cache.aclose()
    line.tell(["done", sorted({person.name for person in people})])


def test_threads_and_tasks_of_two_processes_make_one_call(where: object) -> None:
    """Of a synchronous and of an asynchronous client."""
    if isinstance(where, MemoryStore):
        pytest.skip("no two processes share a memory")
    with StubProvider.in_thread() as provider:
        provider.hold()
        with Crew(ask, [(where, provider.openai_url)] * 2) as crew:
            crew.gather("ready", 60.0)
            crew.tell("go")
            crew.gather("waiting", 60.0)
            provider.release()
            told = crew.gather("done", 60.0)
        assert provider.calls == 1
    assert told[0] == told[1]
    assert len(told[0]) == 1
