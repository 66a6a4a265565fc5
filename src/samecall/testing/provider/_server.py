"""The stub's HTTP side: requests in, answers, streams and faults out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, cast

from aiohttp import web

from samecall.testing.provider._anthropic import AnthropicMessages
from samecall.testing.provider._ask import Ask, Json, Reply, Shape, mapping
from samecall.testing.provider._bedrock import Bedrock
from samecall.testing.provider._behaviour import (
    Answer,
    Behaviour,
    Cut,
    CutAfter,
    Hang,
    HoldAfter,
    Malformed,
    Status,
    from_json,
)
from samecall.testing.provider._cohere import Cohere
from samecall.testing.provider._compose import compose, garble
from samecall.testing.provider._desk import Desk, Request
from samecall.testing.provider._gemini import Gemini
from samecall.testing.provider._openai_chat import OpenAIChat
from samecall.testing.provider._openai_responses import OpenAIResponses

__all__ = ["Settings", "application"]


class Settings:
    """How fast the stub answers: seconds before an answer and between the events of a stream."""

    def __init__(self, latency: float, chunk_delay: float, chunk_chars: int) -> None:
        self.latency = latency
        self.chunk_delay = chunk_delay
        self.chunk_chars = chunk_chars


_ROUTES: Mapping[str, Shape] = {
    r"/{prefix:.*}chat/completions": OpenAIChat(),
    r"/{prefix:.*}responses": OpenAIResponses(),
    "/v1/chat": OpenAIChat(),  # Writer's path
    "/v2/chat": Cohere(),
    r"/model/{model}/converse": Bedrock(),
    r"/{prefix:.*}messages": AnthropicMessages(),
    r"/{prefix:.*}models/{model:.*:(generateContent|streamGenerateContent)}": Gemini(),
}


def application(desk: Desk, settings: Settings) -> web.Application:
    """The stub as an aiohttp application."""
    app = web.Application(client_max_size=256 * 2**20)
    for path, shape in _ROUTES.items():
        app.router.add_post(path, _Provider(desk, settings, shape).handle)
    control = _Control(desk)
    app.router.add_get("/samecall/counts", control.counts)
    app.router.add_post("/samecall/reset", control.reset)
    app.router.add_post("/samecall/script", control.script)
    app.router.add_post("/samecall/answer", control.answer)
    app.router.add_post("/samecall/gate", control.gate)
    return app


class _Provider:
    """One provider's endpoint."""

    def __init__(self, desk: Desk, settings: Settings, shape: Shape) -> None:
        self._desk = desk
        self._settings = settings
        self._shape = shape

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            body = mapping(json.loads(await request.read()))
        except ValueError:
            return web.json_response(self._shape.error(400, "the body is not JSON"), status=400)
        ask = self._shape.read(request.path, body)
        seen = Request(request.path_qs, dict(request.headers), body)
        behaviour = await self._desk.arrive(ask, seen)
        try:
            await self._desk.pass_gate()
            if self._settings.latency:
                await asyncio.sleep(self._settings.latency)
            return await self._answer(request, ask, behaviour)
        finally:
            await asyncio.shield(self._desk.leave())

    async def _answer(
        self, request: web.Request, ask: Ask, behaviour: Behaviour | None
    ) -> web.StreamResponse:
        match behaviour:
            case Status():
                return self._refusal(behaviour)
            case Cut():
                return _cut(request)
            case Hang():
                await asyncio.Event().wait()
            case _:
                pass
        reply = self._reply(ask, behaviour)
        cut = behaviour.chunks if isinstance(behaviour, CutAfter) else None
        clean = isinstance(behaviour, CutAfter) and behaviour.clean
        hold = behaviour.chunks if isinstance(behaviour, HoldAfter) else None
        if isinstance(behaviour, CutAfter) and behaviour.held:
            hold = cut
        if ask.stream:
            return await self._stream(request, ask, reply, (cut, clean), hold)
        body = json.dumps(self._shape.whole(ask, reply)).encode()
        if cut is None:
            return web.Response(body=body, content_type="application/json")
        return await _half(request, body)

    def _reply(self, ask: Ask, behaviour: Behaviour | None) -> Reply:
        if isinstance(behaviour, Malformed):
            return garble(ask)
        explicit = behaviour if isinstance(behaviour, Answer) else self._desk.explicit(ask)
        return compose(ask, explicit)

    def _refusal(self, status: Status) -> web.Response:
        headers = {} if status.retry_after is None else {"Retry-After": f"{status.retry_after:g}"}
        message = status.message or f"the stub was told to answer {status.code}"
        error = self._shape.error(status.code, message)
        return web.json_response(error, status=status.code, headers=headers)

    async def _stream(
        self,
        request: web.Request,
        ask: Ask,
        reply: Reply,
        cut: tuple[int | None, bool],
        hold: int | None,
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        events = self._shape.events(ask, reply, self._settings.chunk_chars)
        for sent, event in enumerate(events):
            if sent == hold:
                await self._desk.next_release()
            if sent == cut[0]:
                if cut[1]:
                    break
                return _cut(request, response)
            if sent and self._settings.chunk_delay:
                await asyncio.sleep(self._settings.chunk_delay)
            await response.write(event)
        await response.write_eof()
        return response


def _cut(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    # close, not abort: what was written before still reaches the client, then the end does.
    if request.transport is not None:
        request.transport.close()
    return response or web.Response(status=500)


async def _half(request: web.Request, body: bytes) -> web.StreamResponse:
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    return _cut(request, response)


class _Control:
    """The endpoints through which another process counts and scripts."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def counts(self, request: web.Request) -> web.Response:
        desk = self._desk
        return web.json_response(
            {
                "calls": desk.calls,
                "calls_by_prompt": dict(desk.calls_by_prompt),
                "in_flight": desk.in_flight,
                "most_in_flight": desk.most_in_flight,
                "waiting": desk.waiting,
            }
        )

    async def reset(self, request: web.Request) -> web.Response:
        self._desk.reset()
        return await self.counts(request)

    async def script(self, request: web.Request) -> web.Response:
        body: Json = await request.json()
        try:
            behaviours = tuple(from_json(b) for b in cast("list[dict[str, Any]]", body["then"]))
        except (KeyError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
        self._desk.script(body.get("prompt"), behaviours)
        return await self.counts(request)

    async def answer(self, request: web.Request) -> web.Response:
        body: Json = await request.json()
        self._desk.answer(str(body["prompt"]), Answer(body.get("value")))
        return await self.counts(request)

    async def gate(self, request: web.Request) -> web.Response:
        body: Json = await request.json()
        (self._desk.hold if body.get("held") else self._desk.release)()
        return await self.counts(request)
