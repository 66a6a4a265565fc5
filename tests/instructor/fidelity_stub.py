"""A provider of one fixed completion per case, behind real HTTP, with a gate."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from aiohttp import web
from fidelity_cases import BY_NAME, Case

from instructor import Mode

USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


class Stub:
    """Counts calls per case; while `gate` is closed, answers wait for it."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()
        self.url = ""

    async def chat(self, request: web.Request) -> web.Response:
        return await self._answer((await request.json())["messages"], chat_completion)

    async def responses(self, request: web.Request) -> web.Response:
        return await self._answer((await request.json())["input"], response_completion)

    async def _answer(self, messages: list[dict[str, Any]], shape: Any) -> web.Response:
        texts = [m["content"] for m in messages if isinstance(m["content"], str)]
        name = next(word for text in texts for word in text.split() if word in BY_NAME)
        self.calls[name] += 1
        self.asked.set()
        await self.gate.wait()
        case = BY_NAME[name]
        if self.calls[name] % case.tries:
            case = replace(case, answer=case.refused)
        return web.json_response(shape(case), headers={"x-request-id": f"req_{name}"})


def chat_completion(case: Case) -> dict[str, Any]:
    several = case.mode is Mode.PARALLEL_TOOLS
    calls = case.answer if several else [("Tool", case.answer)]
    tools = case.mode in (Mode.TOOLS, Mode.PARALLEL_TOOLS)
    text = _text(calls[0][1])
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None
        if tools
        else (f"```json\n{text}\n```" if case.mode is Mode.MD_JSON else text),
        "a_new_field": {"of": ["the", "provider"]},
    }
    if tools:
        message["tool_calls"] = [
            {
                "id": f"call_{index}",
                "type": "function",
                "function": {"name": name, "arguments": _text(arguments)},
            }
            for index, (name, arguments) in enumerate(calls)
        ]
    return {
        "id": f"chatcmpl-{case.name}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "stub-1",
        "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}],
        "usage": USAGE,
        "another_new_field": 1.5,
    }


def response_completion(case: Case) -> dict[str, Any]:
    return {
        "id": f"resp_{case.name}",
        "object": "response",
        "created_at": 1_700_000_000,
        "model": "stub-1",
        "status": "completed",
        "output": [
            {
                "type": "function_call",
                "id": "fc_1",
                "call_id": "call_1",
                "name": "Tool",
                "arguments": _text(case.answer),
                "status": "completed",
            }
        ],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 11,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 18,
        },
    }


def _text(answer: Any) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer)


@asynccontextmanager
async def serving() -> AsyncIterator[Stub]:
    stub = Stub()
    app = web.Application(client_max_size=2**28)
    app.router.add_post("/v1/chat/completions", stub.chat)
    app.router.add_post("/v1/responses", stub.responses)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    stub.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield stub
    finally:
        stub.gate.set()
        await runner.cleanup()
