"""A stored stream in the rhythm of the original, as a client's callers have it; in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

import instructor
from samecall import Cache, Policy
from samecall.instructor import cached
from samecall.testing._virtual import VirtualClock, run_virtual

PIECES = ['{"name": "Ada ', "Love", "lace", '", "age": 36}']
PAUSES = [0.5, 0.2, 1.0, 0.01]
"""Seconds before each piece; the last event comes with the last piece."""


class User(BaseModel):
    name: str
    age: int


class Slow(httpx.AsyncBaseTransport):
    """A provider that streams one answer, and is in no hurry."""

    def __init__(self) -> None:
        self.calls = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        events = {"content-type": "text/event-stream"}
        return httpx.Response(200, headers=events, stream=_Body(), request=request)


class _Body(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for pause, piece in zip(PAUSES, PIECES, strict=True):
            await asyncio.sleep(pause)
            yield _event({"content": piece}, None)
        yield _event({}, "stop")
        yield b"data: [DONE]\n\n"


def _event(delta: dict[str, str], reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps({**chunk, "choices": [choice]}).encode() + b"\n\n"


async def rhythm(asked: Awaitable[AsyncIterator[Any]]) -> tuple[list[Any], list[float]]:
    """The items, and when each one came, in seconds since the stream was asked for."""
    now = asyncio.get_running_loop().time
    began, got, times = now(), list[Any](), list[float]()
    async for item in await asked:
        got.append(item)
        times.append(now() - began)
    return got, times


@pytest.mark.parametrize("raw", [True, False], ids=["events", "create_partial"])
@pytest.mark.parametrize(("replay", "speed"), [("paced", 1.0), (2, 2.0), (0.5, 0.5)])
@pytest.mark.parametrize("l1", [True, False], ids=["memory", "store"])
def test_a_hit_comes_in_the_rhythm_of_the_original(
    replay: Any, speed: float, *, raw: bool, l1: bool
) -> None:
    """For who asks for that; for others at once."""

    async def main(clock: VirtualClock) -> None:
        provider = Slow()
        http = httpx.AsyncClient(transport=provider)
        sdk = openai.AsyncOpenAI(api_key="k", base_url="http://provider/v1", http_client=http)
        client = instructor.from_openai(sdk, mode=instructor.Mode.JSON)
        paced = Policy(replay=replay)
        async with Cache("memory://", clock=clock, **({} if l1 else {"l1": None})) as cache:

            async def take(policy: Policy | None) -> tuple[list[Any], list[float]]:
                shared = cached(client, cache, policy=policy)
                messages: Any = [{"role": "user", "content": "who"}]
                model: Any = None if raw else instructor.Partial[User]
                ask: Any = {"response_model": model, "stream": True, "model": "m"}
                return await rhythm(shared.create(messages=messages, **ask))

            items, led = await take(paced)
            await asyncio.sleep(1)  # virtual seconds, in which it is stored
            assert led[-1] == pytest.approx(sum(PAUSES), abs=0.002)
            again, times = await take(paced)
            assert again == items
            assert times == pytest.approx([time / speed for time in led], abs=0.002)
            at_once, times = await take(None)
            assert at_once == items
            assert times == [0.0] * len(items)
        await sdk.close()
        assert provider.calls == 1

    run_virtual(main)
