"""Anthropic's, Google's and LiteLLM's SDKs under instructor against the stub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

import instructor
from instructor import Mode
from samecall.testing import StubProvider
from samecall.testing.provider import Malformed


class User(BaseModel):
    name: str
    age: int


ASK = [{"role": "user", "content": "Who?"}]


def _anthropic(stub: StubProvider, mode: Mode) -> instructor.AsyncInstructor:
    import anthropic

    sdk = anthropic.AsyncAnthropic(base_url=stub.anthropic_url, api_key="k", max_retries=0)
    return instructor.from_anthropic(sdk, mode=mode, model="claude-sonnet-4-6", max_tokens=99)


def _genai(stub: StubProvider, mode: Mode) -> instructor.AsyncInstructor:
    from google import genai
    from google.genai.types import HttpOptions

    sdk = genai.Client(api_key="k", http_options=HttpOptions(base_url=stub.gemini_url))
    return instructor.from_genai(sdk, mode=mode, use_async=True, model="gemini-3.5-flash")


def _litellm(stub: StubProvider, mode: Mode) -> instructor.AsyncInstructor:
    import litellm

    return instructor.from_litellm(
        litellm.acompletion,
        mode=mode,
        model="openai/gpt-4o",
        api_base=stub.openai_url,
        api_key="k",
    )


Make = Callable[[StubProvider, Mode], instructor.AsyncInstructor]
CLIENTS: list[tuple[Make, Mode]] = [
    (_anthropic, Mode.TOOLS),
    (_anthropic, Mode.JSON),
    (_anthropic, Mode.JSON_SCHEMA),
    (_genai, Mode.TOOLS),
    (_genai, Mode.JSON),
    (_litellm, Mode.TOOLS),
    (_litellm, Mode.JSON_SCHEMA),
    (_litellm, Mode.MD_JSON),
]
every_client = pytest.mark.parametrize(
    ("make", "mode"), CLIENTS, ids=lambda x: str(getattr(x, "__name__", x))
)


@every_client
async def test_a_model(stub: StubProvider, make: Make, mode: Mode) -> None:
    """Same prompt, same answer; two calls counted for the prompt; usage is there."""
    client = make(stub, mode)
    user = await client.create(response_model=User, messages=ASK)
    again = await client.create(response_model=User, messages=ASK)
    assert user.model_dump() == again.model_dump()
    assert stub.calls_by_prompt == {"Who?": 2}


@every_client
async def test_a_malformed_answer_is_asked_again(
    stub: StubProvider, make: Make, mode: Mode
) -> None:
    """Instructor reasks through every SDK, and the reask counts for the same prompt."""
    stub.script("Who?", Malformed())
    user: Any = await make(stub, mode).create(response_model=User, messages=ASK, max_retries=2)
    assert user.name
    assert stub.calls_by_prompt == {"Who?": 2}


@every_client
async def test_create_partial(stub: StubProvider, make: Make, mode: Mode) -> None:
    """The stream ends in the answer that `create` gives."""
    client = make(stub, mode)
    whole = await client.create(response_model=User, messages=ASK)
    parts = [p async for p in client.create_partial(response_model=User, messages=ASK)]
    assert parts[-1].model_dump() == whole.model_dump()


async def test_anthropic_stream_of_the_bare_sdk(stub: StubProvider) -> None:
    """Anthropic's own helper puts the events together to the whole message."""
    import anthropic

    sdk = anthropic.AsyncAnthropic(base_url=stub.anthropic_url, api_key="k")
    asked: Any = {"model": "m", "max_tokens": 9, "messages": ASK}
    async with sdk.messages.stream(**asked) as stream:
        message = await stream.get_final_message()
    assert message.content[0].text == "You asked: Who?"  # type: ignore[union-attr]
    assert message.usage.output_tokens > 1
