"""Events come in a stream with the surface of its SDK's own, for leader, follower and hit."""

from __future__ import annotations

from typing import Any

import pytest
from provider_clients import by_hand
from stream_ask import ASK
from test_provider_streams import OTHERS, WHOLE, quiet, unless_instructor_cannot

from instructor import Mode
from samecall import Cache
from samecall.instructor import cached
from samecall.testing import StubProvider

__all__ = ["quiet"]  # a fixture

ROWS = [row for row in [*WHOLE, *OTHERS] if row != ("from_anthropic", Mode.JSON_SCHEMA)]
FIRST = dict(reversed(ROWS))
SURFACE = ("response", "close", "aclose", "__aenter__", "__aexit__", "__anext__")


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")  # fireworks newest, in instructor
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("name", "mode"), [*FIRST.items(), ("from_openai", Mode.RESPONSES_TOOLS)])
async def test_what_the_sdks_own_stream_has(name: str, mode: Mode, stub: StubProvider) -> None:
    """Its class, where that can be had; its response; entered, left, closed."""
    async with by_hand(name, mode, stub) as bare, Cache() as cache:
        await unless_instructor_cannot(bare, stub)

        async def opened(client: Any) -> Any:
            return await client.create(response_model=None, stream=True, messages=ASK)

        plain = await opened(bare)
        events = [event async for event in plain]
        has = [each for each in SURFACE if hasattr(plain, each)]
        client = cached(bare, cache)
        leader, follower = await opened(client), await opened(client)
        assert [type(event) for event in [e async for e in leader]] == list(map(type, events))
        assert len([event async for event in follower]) == len(events)
        hit = await opened(client)
        for stream in (leader, follower, hit):
            assert [each for each in has if not hasattr(stream, each)] == []
            if type(plain).__module__ != "builtins" and name != "from_litellm":
                assert issubclass(type(stream), type(plain))
            if "response" in has:
                assert stream.response.status_code == plain.response.status_code == 200
                assert "event-stream" in stream.response.headers["content-type"]
        if "__aenter__" in has:
            async with hit as entered:
                assert type(await anext(entered)) is type(events[0])
        else:
            assert type(await anext(hit)) is type(events[0])
            await hit.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(hit)
        counts = cache.statistics()
        assert (counts.led, counts.coalesced_local, counts.l1_hits) == (1, 1, 1)
    assert stub.calls == 2
