"""Counts, the gate, and the stub in a thread or a process of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from samecall.testing import StubProvider
from samecall.testing.provider import Answer, Cut, CutAfter, Hang, HoldAfter, Malformed, Status
from samecall.testing.provider._behaviour import from_json, to_json


async def ask(url: str, prompt: str) -> str | None:
    async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as sdk:
        messages: Any = [{"role": "user", "content": prompt}]
        answer = await sdk.chat.completions.create(model="m", messages=messages)
        return answer.choices[0].message.content


async def test_the_gate_holds_calls_and_counts_them(stub: StubProvider) -> None:
    """Three calls wait, none is answered; opened, all are."""
    stub.hold()
    asking = [asyncio.ensure_future(ask(stub.openai_url, f"p{at % 2}")) for at in range(3)]
    await stub.until_waiting(3)
    assert (stub.calls, stub.in_flight, stub.waiting) == (3, 3, 3)
    assert not any(task.done() for task in asking)
    stub.release()
    assert await asyncio.gather(*asking) == ["You asked: p0", "You asked: p1", "You asked: p0"]
    await stub.until_idle()
    assert stub.most_in_flight == 3
    assert stub.calls_by_prompt == {"p0": 2, "p1": 1}


async def test_requests_are_kept_to_a_bound() -> None:
    """The newest requests with path, headers and body; the older ones go."""
    async with StubProvider(kept=2) as stub:
        for prompt in ("a", "b", "c"):
            await ask(stub.openai_url, prompt)
        kept = stub.requests
    assert [r.json["messages"][0]["content"] for r in kept] == ["b", "c"]
    assert kept[0].path == "/v1/chat/completions"
    assert kept[0].headers["Authorization"] == "Bearer k"


async def test_scripts_queue_and_then_end(stub: StubProvider) -> None:
    """Behaviours go one a call, to what they match only; after them comes the default."""
    stub.script(lambda ask: ask.prompt.startswith("x"), Answer("one"), Answer("two"))
    got = [await ask(stub.openai_url, prompt) for prompt in ("x1", "y", "x2", "x3")]
    assert got == ["one", "You asked: y", "two", "You asked: x3"]


async def test_reset(stub: StubProvider) -> None:
    """All that was counted, kept, scripted and set is gone."""
    stub.answer("p", "set")
    await ask(stub.openai_url, "p")
    stub.script("p", Status(500))
    stub.reset()
    assert (stub.calls, stub.calls_by_prompt, stub.requests) == (0, {}, [])
    assert await ask(stub.openai_url, "p") == "You asked: p"


async def test_in_a_thread() -> None:
    """The same methods from another thread and loop."""
    with StubProvider.in_thread() as stub:
        stub.answer("p", "set")
        stub.hold()
        asking = asyncio.ensure_future(ask(stub.openai_url, "p"))
        await stub.until_waiting(1)
        stub.release()
        assert await asking == "set"
        assert stub.calls == 1


async def test_a_thread_that_cannot_start_says_so() -> None:
    """A port in use is an error of the caller, not a silence."""
    async with StubProvider() as taken:
        port = int(taken.url.rsplit(":", 1)[1])
        with (
            pytest.raises(OSError, match="address already in use"),
            StubProvider.in_thread(port=port),
        ):
            raise AssertionError("two stubs on one port")


async def test_in_a_process() -> None:
    """Counts, scripts, answers and the gate over HTTP."""
    with StubProvider.in_process(chunk_chars=3) as stub:
        stub.answer("p", "set")
        stub.script("q", Status(500), Answer("queued"))
        assert await ask(stub.openai_url, "p") == "set"
        with pytest.raises(openai.InternalServerError):
            await ask(stub.openai_url, "q")
        assert await ask(stub.openai_url, "q") == "queued"
        assert stub.calls == 3
        assert stub.calls_by_prompt == {"p": 1, "q": 2}
        stub.hold()
        assert stub.counts().waiting == 0
        stub.release()
        stub.reset()
        assert stub.counts().calls == 0


@pytest.mark.parametrize(
    "behaviour",
    [
        Answer({"a": 1}, calls=(("f", {"b": 2}),)),
        Malformed(),
        Status(429, retry_after=1.5),
        Cut(),
        CutAfter(3),
        HoldAfter(1),
        Hang(),
    ],
    ids=lambda b: type(b).__name__,
)
def test_behaviours_travel_as_json(behaviour: Any) -> None:
    """There and back again, equal."""
    assert from_json(to_json(behaviour)) == behaviour


def test_an_unknown_behaviour_is_named() -> None:
    """The error says what is taken."""
    with pytest.raises(ValueError, match="'Explode' is none of Answer"):
        from_json({"do": "Explode"})
