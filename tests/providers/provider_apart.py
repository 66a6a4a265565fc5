"""Clients whose SDKs do not install beside the others: each in an environment of its own.

`nox -s apart` makes them. xAI speaks gRPC, so it has a stub of its own, out of its SDK's protocol.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from instructor.v2.core.providers import Provider

import instructor
from instructor import AsyncInstructor, Mode
from samecall.testing import StubProvider

__all__ = ["ANSWER", "APART", "APART_BY_NAME", "Desk", "apart", "installed"]

ANSWER = {"name": "Ada", "age": 36, "rights": ["all"]}


class Desk:
    """Where a client apart asks: the stub, and xAI's own; `calls` of both."""

    def __init__(self, stub: StubProvider) -> None:
        self.stub = stub
        self.asked = 0
        self.host = ""
        stub.answer("Who?", ANSWER)

    @property
    def calls(self) -> int:
        return self.stub.calls + self.asked


def _gemini(desk: Desk, mode: Mode) -> AsyncInstructor:
    import google.generativeai as genai

    genai.configure(
        api_key="k", transport="rest", client_options={"api_endpoint": desk.stub.gemini_url}
    )
    return instructor.from_gemini(genai.GenerativeModel("m"), mode=mode, use_async=True)


def _vertexai(desk: Desk, mode: Mode) -> AsyncInstructor:
    import vertexai
    import vertexai.generative_models as gm
    from google.auth.aio.credentials import AnonymousCredentials as Anonymous
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.aiplatform import initializer

    vertexai.init(
        project="p",
        location="us-central1",
        credentials=AnonymousCredentials(),
        api_endpoint=desk.stub.gemini_url,
        api_transport="rest",
    )
    initializer._set_async_rest_credentials(credentials=Anonymous())
    return instructor.from_vertexai(gm.GenerativeModel("m"), mode=mode, use_async=True)


def _xai(desk: Desk, mode: Mode) -> AsyncInstructor:
    from xai_sdk.aio.client import Client

    sdk = Client(api_key="k", api_host=desk.host, use_insecure_channel=True)
    return instructor.from_xai(sdk, mode=mode, model="m")


# Name: the package that has to be there, how the client is made, the provider with its modes, the
# package of its completions.
APART: dict[str, tuple[str, Callable[[Desk, Mode], AsyncInstructor], Provider, str]] = {
    "from_gemini": ("google.generativeai", _gemini, Provider.GEMINI, "google"),
    "from_vertexai": ("vertexai", _vertexai, Provider.VERTEXAI, "vertexai"),
    "from_xai": ("xai_sdk", _xai, Provider.XAI, "xai_sdk"),
}

APART_BY_NAME = {"gemini": "from_gemini", "vertexai": "from_vertexai", "xai": "from_xai"}


def installed(name: str) -> bool:
    """Whether this environment has the SDK of a row."""
    try:
        return importlib.util.find_spec(APART[name][0]) is not None
    except ModuleNotFoundError:  # not even `google`
        return False


@asynccontextmanager
async def apart(name: str, mode: Mode, desk: Desk) -> AsyncIterator[AsyncInstructor]:
    """A client made by hand; raises what that raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is deprecated, all of it
        if name != "from_xai":
            yield APART[name][1](desk, mode)
            return
        async with _grpc(desk):
            client = APART[name][1](desk, mode)
            yield client
            await client.client.close()


@asynccontextmanager
async def _grpc(desk: Desk) -> AsyncIterator[None]:
    """XAI's service: `ANSWER`, by each tool that is offered, or as text."""
    import grpc
    from xai_sdk.proto import chat_pb2, chat_pb2_grpc

    class Chat(chat_pb2_grpc.ChatServicer):  # type: ignore[misc]
        async def GetCompletion(self, request: Any, _: Any) -> Any:  # noqa: N802 - its protocol's
            desk.asked += 1
            reply = chat_pb2.GetChatCompletionResponse(id="x", model=request.model)
            output = reply.outputs.add()
            output.message.role = chat_pb2.MessageRole.ROLE_ASSISTANT
            answer = json.dumps(ANSWER)
            if not request.tools:
                output.message.content = answer
            for tool in request.tools:
                call = output.message.tool_calls.add()
                call.id = tool.function.name
                call.function.name = tool.function.name
                call.function.arguments = answer
            reply.usage.total_tokens = 18
            return reply

    server = grpc.aio.server()
    chat_pb2_grpc.add_ChatServicer_to_server(Chat(), server)
    desk.host = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)
