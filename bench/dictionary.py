"""Make the dictionary that small completions are compressed with, and say what it saves.

python bench/dictionary.py            what it saves: stored bytes with and without, and beside
                                      what instructor's own cache stores for the same answers
python bench/dictionary.py --write    train it anew; a change needs a file and a mark of its own

The samples are answers in the shapes in which the SDKs of OpenAI, Anthropic, Google, Mistral,
Cohere and those that speak OpenAI's protocol give them, with random ids, names, words and numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any

import msgspec

HERE = Path(__file__).resolve().parent
FILE = HERE.parent / "src/samecall/_zstd/completions-1.zdict"
SIZE = 8 * 1024
WORDS = [
    "name",
    "age",
    "city",
    "country",
    "date",
    "total",
    "amount",
    "items",
    "invoice",
    "customer",
    "price",
    "quantity",
    "title",
    "summary",
    "sentiment",
    "positive",
    "negative",
    "neutral",
    "score",
    "confidence",
    "reason",
    "label",
    "category",
    "description",
    "email",
    "phone",
    "address",
    "street",
    "status",
    "true",
    "false",
    "null",
    "order",
    "number",
    "product",
    "language",
    "topic",
    "answer",
    "question",
    "text",
    "person",
    "organization",
    "location",
    "first",
    "second",
    "the",
    "and",
    "of",
    "to",
    "in",
    "a",
    "is",
    "that",
    "for",
    "with",
]
MODELS = {
    "openai": ["gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18", "gpt-4.1-2025-04-14", "gpt-5-mini",
               "gpt-5", "o4-mini-2025-04-16", "stub-1"],
    "anthropic": ["claude-sonnet-4-5-20250929", "claude-haiku-4-5", "claude-opus-4-1-20250805"],
    "google": ["gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.0-flash"],
    "mistral": ["mistral-large-latest", "mistral-small-2506"],
    "groq": ["llama-3.3-70b-versatile", "openai/gpt-oss-120b"],
}  # fmt: skip


class Dice:
    """Random parts of an answer."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def hex(self, count: int) -> str:
        return f"{self._random.getrandbits(4 * count):0{count}x}"

    def letters(self, count: int) -> str:
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
        return "".join(self._random.choices(alphabet, k=count))

    def number(self, most: int = 2_000) -> int:
        return self._random.randrange(most)

    def one(self, of: list[Any]) -> Any:
        return self._random.choice(of)

    def words(self) -> str:
        return " ".join(self._random.choices(WORDS, k=self._random.randrange(1, 9)))

    def answer(self) -> dict[str, Any]:
        names = self._random.sample(WORDS, self._random.randrange(1, 5))
        values = [
            self.words,
            self.number,
            lambda: self.one([True, False, None]),
            lambda: [self.words()],
        ]
        return {name: self.one(values)() for name in names}


def openai_usage(dice: Dice) -> dict[str, Any]:
    asked, told = dice.number(), dice.number(400)
    return {
        "completion_tokens": told,
        "prompt_tokens": asked,
        "total_tokens": asked + told,
        "completion_tokens_details": dice.one([
            {"audio_tokens": 0, "reasoning_tokens": 0},
            {"accepted_prediction_tokens": 0, "audio_tokens": 0, "reasoning_tokens": dice.number(300),
             "rejected_prediction_tokens": 0},
        ]),
        "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": dice.one([0, 0, 1024])},
    }  # fmt: skip


def openai_chat(dice: Dice, tag: str = "openai.chat", provider: str = "openai") -> tuple[str, Any]:
    message: dict[str, Any] = {"content": None, "refusal": None, "role": "assistant"}
    said = json.dumps(dice.answer())
    if dice.one([0, 1]):
        call = {"id": f"call_{dice.letters(24)}",
                "function": {"arguments": said, "name": dice.one(["Person", "User", "Answer", "Response"])},
                "type": "function"}  # fmt: skip
        message |= dice.one([{}, {"annotations": []}]) | {"tool_calls": [call]}
        finish = dice.one(["tool_calls", "stop"])
    else:
        message |= {"content": said} | dice.one([{}, {"annotations": []}])
        finish = "stop"
    choice = {"finish_reason": finish, "index": 0, "logprobs": None, "message": message}
    return tag, {
        "id": f"chatcmpl-{dice.letters(29)}", "choices": [choice], "created": 1_700_000_000 + dice.number(10**8),
        "model": dice.one(MODELS[provider]), "object": "chat.completion", "service_tier": "default",
        "system_fingerprint": f"fp_{dice.hex(10)}", "usage": openai_usage(dice),
    }  # fmt: skip


def openai_response(dice: Dice) -> tuple[str, Any]:
    item = {"arguments": json.dumps(dice.answer()), "call_id": f"call_{dice.letters(24)}", "name": "Person",
            "type": "function_call", "id": f"fc_{dice.hex(50)}", "status": "completed"}  # fmt: skip
    asked, told = dice.number(), dice.number(400)
    usage = {"input_tokens": asked, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": told,
             "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": asked + told}  # fmt: skip
    return "openai.response", {
        "id": f"resp_{dice.hex(50)}", "created_at": 1_700_000_000.0 + dice.number(10**8), "error": None,
        "incomplete_details": None, "instructions": None, "metadata": {}, "model": dice.one(MODELS["openai"]),
        "object": "response", "output": [item], "parallel_tool_calls": True, "temperature": 1.0,
        "tool_choice": "auto", "tools": [], "top_p": 1.0, "max_output_tokens": None, "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None}, "service_tier": "default", "status": "completed",
        "text": {"format": {"type": "text"}, "verbosity": "medium"}, "truncation": "disabled", "usage": usage,
        "user": None, "store": True, "background": False,
    }  # fmt: skip


def anthropic(dice: Dice) -> tuple[str, Any]:
    block = dice.one([
        {"id": f"toolu_{dice.letters(24)}", "input": dice.answer(), "name": "Person", "type": "tool_use"},
        {"citations": None, "text": json.dumps(dice.answer()), "type": "text"},
    ])  # fmt: skip
    return "anthropic.message", {
        "id": f"msg_{dice.letters(24)}", "content": [block], "model": dice.one(MODELS["anthropic"]),
        "role": "assistant", "stop_reason": dice.one(["tool_use", "end_turn"]), "stop_sequence": None,
        "type": "message", "usage": {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        "input_tokens": dice.number(), "output_tokens": dice.number(400), "service_tier": "standard"},
    }  # fmt: skip


def google(dice: Dice) -> tuple[str, Any]:
    part = dice.one([{"text": json.dumps(dice.answer())},
                     {"function_call": {"args": dice.answer(), "name": "Person"}}])  # fmt: skip
    asked, told = dice.number(), dice.number(400)
    return "google.genai", {
        "candidates": [{"content": {"parts": [part], "role": "model"}, "finish_reason": "STOP", "index": 0}],
        "create_time": None, "model_version": dice.one(MODELS["google"]), "response_id": dice.letters(22),
        "usage_metadata": {"candidates_token_count": told, "prompt_token_count": asked,
        "prompt_tokens_details": [{"modality": "TEXT", "token_count": asked}],
        "total_token_count": asked + told}, "automatic_function_calling_history": [],
    }  # fmt: skip


def mistral(dice: Dice) -> tuple[str, Any]:
    return openai_chat(dice, "mistral.chat2", "mistral")


def groq(dice: Dice) -> tuple[str, Any]:
    return openai_chat(dice, "groq.chat", "groq")


def payload(dice: Dice, make: Any) -> bytes:
    """An answer as the codec of instructor's answers stores it."""
    tag, completion = make(dice)
    usage = completion.get("usage") if tag.startswith("openai.chat") else None
    json_of = msgspec.json.encode
    raw = (tag, "v", json_of(completion), {"_request_id": None}, {}, False)
    total = None if usage is None else ("openai.usage", "v", json_of(usage), {}, {}, False)
    return msgspec.msgpack.encode((raw, total, 1, None, "", ""))


MAKERS = (*[openai_chat] * 4, openai_response, *[anthropic] * 2, google, mistral, groq)


def train() -> bytes:
    """The dictionary; the same bytes for the same samples and version of zstd."""
    from backports import zstd

    dice = Dice(1)
    samples = [payload(dice, MAKERS[number % len(MAKERS)]) for number in range(2_000)]
    trained: bytes = zstd.train_dict(samples, SIZE).dict_content
    return trained


def table() -> None:
    """Stored bytes of samples that were not trained with."""
    from samecall._zstd import expand, squeeze

    dice = Dice(2)
    print(
        f"{'shape':20} {'payload':>8} {'stored':>8} {'share':>6} {'squeeze µs':>11} {'expand µs':>10}"
    )
    for make in dict.fromkeys(MAKERS):
        held = [payload(dice, make) for _ in range(200)]
        began = time.perf_counter()
        small = [squeeze(each) or each for each in held]
        between = time.perf_counter()
        assert [expand(each) for each in small] == held
        times = [
            (end - start) * 5_000
            for start, end in ((began, between), (between, time.perf_counter()))
        ]
        whole, stored = sum(map(len, held)) / 200, sum(map(len, small)) / 200
        print(
            f"{make.__name__:20} {whole:8.0f} {stored:8.0f} {stored / whole:6.2f} {times[0]:11.1f} {times[1]:10.1f}"
        )


async def beside_instructor() -> None:
    """One answer of the stub, as instructor's cache stores it and as this one does."""
    import openai
    from instructor.cache import AutoCache
    from pydantic import BaseModel

    import instructor
    from samecall import Cache, Policy
    from samecall._memory import MemoryStore
    from samecall.instructor import cached
    from samecall.testing import StubProvider

    class Person(BaseModel):
        name: str
        age: int

    asked: Any = {"response_model": Person, "messages": [{"role": "user", "content": "Who?"}]}
    async with StubProvider() as stub:
        sdk = openai.AsyncOpenAI(api_key="no-key", base_url=stub.openai_url)
        native = AutoCache()
        await instructor.from_openai(sdk, model="stub-1", cache=native).create(**asked)
        (theirs,) = (len(each) for each in native._cache.values())
        print(f"\n{'instructor, JSON':28} {theirs:6}")
        for name, over in (("samecall, as it is", None), ("samecall, compressed", 0)):
            store = MemoryStore()
            async with Cache(store, l1=None, policy=Policy(compress_over=over)) as cache:
                client = cached(instructor.from_openai(sdk, model="stub-1"), cache)
                await client.create(**asked)
            (ours,) = [len(found.data) async for _, found in store.walk("default")]
            print(f"{name:28} {ours:6} {ours / theirs:6.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        FILE.write_bytes(train())
    table()
    asyncio.run(beside_instructor())
