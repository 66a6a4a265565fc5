"""The core paths on uvloop: nothing works only there, and nothing works only on asyncio's loop."""

from __future__ import annotations

import asyncio
import secrets

import uvloop

from samecall import Cache
from samecall.testing.servers import LocalServer


async def story(url: str) -> None:
    """A leader, its followers, another process's hit, a forget that is told, an error's end."""
    space = secrets.token_hex(6)
    gate, calls = asyncio.Event(), 0

    async def call() -> str:
        nonlocal calls
        calls += 1
        await gate.wait()
        return "answer"

    async with Cache(url, namespace=space) as one, Cache(url, namespace=space) as two:
        asked = [asyncio.create_task(cache.get_or_call("k", call)) for cache in (one, one, two)]
        while one.statistics().callers_waiting + two.statistics().callers_waiting < 3:
            await asyncio.sleep(0)
        gate.set()
        assert await asyncio.gather(*asked) == ["answer"] * 3
        assert calls == 1
        await one.forget("k")
        while two.statistics().led + one.statistics().led < 2:
            assert await two.get_or_call("k", call) == "answer"
            await asyncio.sleep(0.001)
        assert calls == 2


def test_the_story_on_uvloop() -> None:
    with LocalServer() as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story(server.url))


def test_the_story_on_asyncio() -> None:
    with LocalServer() as server, asyncio.Runner() as runner:
        runner.run(story(server.url))
