"""Bytes of a stored stream against its completion's JSON, and what storing and reading it takes.

python bench/stream_bytes.py [--chars 800 3200 12800] [--events 1000 5000 20000]

"zlib" is what compressing the events as they are would leave, "SDK ms" what OpenAI's own
`ChatCompletionStreamState` takes to put the completion together, beside ours ("whole ms"). Then,
for streams of so many events: packing, and the longest pause of an event loop meanwhile, if that is
done in the loop and beside it (without what Python's collector takes for the modules of four SDKs).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import time
import zlib
from collections.abc import Callable
from typing import Any

import anthropic
import openai
from google import genai
from openai.lib.streaming.chat import ChatCompletionStreamState

from samecall._failopen import FailOpenStore
from samecall._memory import MemoryStore
from samecall._stream import Studio
from samecall.instructor._completions import pack
from samecall.instructor._stream_events import (
    chunk_of,
    completion_in,
    event_in,
    payload_of,
    stored_chunks,
)
from samecall.testing import StubProvider

SYLLABLES = [
    "ba",
    "ce",
    "di",
    "fo",
    "gu",
    "la",
    "me",
    "ni",
    "pro",
    "que",
    "ra",
    "si",
    "ta",
    "u",
    "ver",
    "wi",
    "xe",
    "yo",
    "zan",
]
ASK: Any = [{"role": "user", "content": "Who?"}]
RATE = 60  # events a second, at random moments


def prose(chars: int, draw: random.Random) -> str:
    """Text that compresses like language: of a few thousand words, by Zipf's law."""
    words = ["".join(draw.choices(SYLLABLES, k=draw.randint(1, 4))) for _ in range(3_000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    text = " ".join(draw.choices(words, weights, k=chars // 4))
    return text[:chars]


async def chat(stub: StubProvider) -> tuple[list[Any], Any]:
    async with openai.AsyncOpenAI(base_url=stub.openai_url, api_key="k") as sdk:
        usage: Any = {"include_usage": True}
        create = sdk.chat.completions.create
        stream = await create(model="m", messages=ASK, stream=True, stream_options=usage)
        return [event async for event in stream], await create(model="m", messages=ASK)


async def responses(stub: StubProvider) -> tuple[list[Any], Any]:
    async with openai.AsyncOpenAI(base_url=stub.openai_url, api_key="k") as sdk:
        stream = await sdk.responses.create(model="m", input="Who?", stream=True)
        events = [event async for event in stream]
        return events, await sdk.responses.create(model="m", input="Who?")


async def claude(stub: StubProvider) -> tuple[list[Any], Any]:
    async with anthropic.AsyncAnthropic(base_url=stub.anthropic_url, api_key="k") as sdk:
        asked: Any = {"model": "m", "messages": ASK, "max_tokens": 9}
        stream = await sdk.messages.create(**asked, stream=True)
        return [event async for event in stream], await sdk.messages.create(**asked)


async def google(stub: StubProvider) -> tuple[list[Any], Any]:
    sdk = genai.Client(api_key="k", http_options={"base_url": stub.gemini_url}).aio
    stream = await sdk.models.generate_content_stream(model="m", contents="Who?")
    events = [event async for event in stream]
    return events, await sdk.models.generate_content(model="m", contents="Who?")


SHAPES = {
    "OpenAI chat": chat,
    "OpenAI Responses": responses,
    "Anthropic": claude,
    "Google": google,
}


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """(result, seconds) of the fastest of three."""
    best, result = float("inf"), None
    for _ in range(3):
        began = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - began)
    return result, best


def row(name: str, events: list[Any], completion: Any, draw: random.Random) -> str:
    times, now = list[float](), 0.3
    for _ in events:
        times.append(now)
        now += draw.expovariate(RATE)
    chunks, encoding = timed(lambda: [chunk_of(event, None) for event in events])
    payload, packing = timed(lambda: payload_of(chunks, times))
    _, replay = timed(lambda: [event_in(chunk, None) for chunk in stored_chunks(payload)[0]])
    _, assembling = timed(lambda: completion_in(payload, None))
    raw, stored, whole = sum(map(len, chunks)), len(payload.data), len(pack(completion).data)
    plain = len(zlib.compress(b"\n".join(bytes(chunk) for chunk in chunks), 6))
    theirs = timed(lambda: by_sdk(events))[1] if name == "OpenAI chat" else 0.0
    count = len(events)
    return (
        f"{name:17}{count:7,}{raw:12,}{stored:9,}{whole:11,}{stored / whole:7.2f}"
        f"{plain / whole:7.2f}"
        f"{encoding / count * 1e6:9.1f}{packing / count * 1e6:9.1f}"
        f"{count / replay:11,.0f}{assembling * 1e3:9.1f}{theirs * 1e3 or float('nan'):9.1f}"
    )


def by_sdk(events: list[Any]) -> None:
    """The completion as OpenAI's own SDK puts it together."""
    state: Any = ChatCompletionStreamState()
    for event in events:
        state.handle_chunk(event)
    state.get_final_completion()


async def pauses(events: list[Any], count: int) -> str:
    """What packing so many events does to the loop that it is done in, or beside."""
    chunks = [chunk_of(events[at % len(events)], None) for at in range(count)]
    times = [at / RATE for at in range(count)]
    studio = Studio(FailOpenStore(MemoryStore(), print, "memory"), print)
    longest, told = [0.0, 0.0], 0

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest[told] = max(longest[told], now - last)
            last = now

    ticker = asyncio.create_task(tick())
    for told in range(2):
        await asyncio.sleep(0.1)
        began = time.perf_counter()
        if told:
            await studio.aside(lambda: payload_of(chunks, times))
        else:
            payload_of(chunks, times)
            took = time.perf_counter() - began
        await asyncio.sleep(0)
    ticker.cancel()
    await studio.aclose()
    return f"{count:>12,}{took * 1e3:12.1f}{longest[0] * 1e3:12.1f}{longest[1] * 1e3:12.1f}"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chars", type=int, nargs="+", default=[800, 3_200, 12_800])
    parser.add_argument("--events", type=int, nargs="+", default=[1_000, 5_000, 20_000])
    told = parser.parse_args()
    sizes: list[int] = told.chars
    print(
        f"{'':17}{'events':>7}{'as JSON':>12}{'stored':>9}{'complete':>11}{'ratio':>7}{'zlib':>7}"
        f"{'enc us':>9}{'pack us':>9}{'replay/s':>11}{'whole ms':>9}{'SDK ms':>9}"
    )
    for chars in sizes:
        draw = random.Random(chars)
        print(f"{chars:,} characters, 4 an event")
        async with StubProvider(chunk_chars=4) as stub:
            stub.answer("Who?", {"title": "Bread", "text": prose(chars, draw)})
            for name, ask in SHAPES.items():
                print(row(name, *await ask(stub), draw))
    async with StubProvider(chunk_chars=4) as stub:
        stub.answer("Who?", {"title": "Bread", "text": prose(20_000, random.Random(1))})
        events, _ = await chat(stub)
    gc.collect()
    gc.freeze()
    print(f"{'events':>12}{'packed ms':>12}{'in the loop':>12}{'beside it':>12}")
    for count in told.events:
        print(await pauses(events, count))


if __name__ == "__main__":
    asyncio.run(main())
