"""Errors, cuts and silence as the SDKs see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from samecall.testing import StubProvider
from samecall.testing.provider import Cut, CutAfter, Hang, HoldAfter, Status

ASK: Any = {"model": "m", "messages": [{"role": "user", "content": "Who?"}]}


@pytest.fixture
async def sdk(stub: StubProvider) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=stub.openai_url, api_key="k", max_retries=0) as client:
        yield client


async def test_a_list_is_no_behaviour(stub: StubProvider) -> None:
    """It would have been taken for one, and answered with nothing that anybody expects."""
    with pytest.raises(TypeError, match="each by itself; got list"):
        stub.script("Who?", [Status(429)])  # type: ignore[arg-type]


async def test_rate_limit_with_retry_after(stub: StubProvider, sdk: openai.AsyncOpenAI) -> None:
    """429 becomes the SDK's own error, with the header to be read from it."""
    stub.script("Who?", Status(429, retry_after=2))
    with pytest.raises(openai.RateLimitError) as caught:
        await sdk.chat.completions.create(**ASK)
    assert caught.value.response.headers["retry-after"] == "2"


@pytest.mark.parametrize("fault", [Status(429, retry_after=0.01), Status(500), Cut()], ids=str)
async def test_the_sdk_retries(stub: StubProvider, sdk: openai.AsyncOpenAI, fault: Any) -> None:
    """One fault, one retry of the SDK, then the answer: two calls."""
    stub.script(None, fault)
    answer = await sdk.with_options(max_retries=1).chat.completions.create(**ASK)
    assert answer.choices
    assert stub.calls_by_prompt == {"Who?": 2}


async def test_server_error(stub: StubProvider, sdk: openai.AsyncOpenAI) -> None:
    """500 becomes the SDK's own error."""
    stub.script("Who?", Status(500, message="no more"))
    with pytest.raises(openai.InternalServerError, match="no more"):
        await sdk.chat.completions.create(**ASK)


@pytest.mark.parametrize("fault", [Cut(), CutAfter(0), CutAfter(1)], ids=str)
async def test_a_cut_call(stub: StubProvider, sdk: openai.AsyncOpenAI, fault: Any) -> None:
    """Before the answer or within its body: a connection error, and nothing left in flight."""
    stub.script("Who?", fault)
    with pytest.raises((openai.APIConnectionError, *_transport_errors())):
        await sdk.chat.completions.create(**ASK)
    await stub.until_idle()


async def test_a_cut_stream(stub: StubProvider, sdk: openai.AsyncOpenAI) -> None:
    """Just so many events come, then the connection breaks; it does not end cleanly."""
    stub.script("Who?", CutAfter(2))
    got = []

    async def read() -> None:
        async for chunk in await sdk.chat.completions.create(**ASK, stream=True):
            got.append(chunk)  # noqa: PERF401 - what came before the cut counts

    with pytest.raises((openai.APIConnectionError, *_transport_errors())):
        await read()
    assert len(got) == 2


async def test_a_held_stream(stub: StubProvider, sdk: openai.AsyncOpenAI) -> None:
    """A stream waits after so many events and goes on with the next release."""
    stub.script("Who?", HoldAfter(2))
    stream = await sdk.chat.completions.create(**ASK, stream=True)
    chunks = aiter(stream)
    first = [await anext(chunks), await anext(chunks)]
    await stub.until_waiting(1)
    stub.release()
    rest = [chunk async for chunk in chunks]
    text = "".join(c.choices[0].delta.content or "" for c in first + rest)
    assert text == "You asked: Who?"


async def test_a_hanging_call_ends_with_its_client(
    stub: StubProvider, sdk: openai.AsyncOpenAI
) -> None:
    """The stub never answers, and notices that the client has gone."""
    stub.script("Who?", Hang())
    asking = asyncio.ensure_future(sdk.chat.completions.create(**ASK))
    await stub.until_calls(1)
    assert stub.in_flight == 1
    asking.cancel()
    await asyncio.wait([asking])
    await stub.until_idle()


def _transport_errors() -> tuple[type[Exception], ...]:
    import httpx

    try:
        import httpx2
    except ImportError:
        return (httpx.TransportError,)
    return (httpx.TransportError, httpx2.TransportError)
