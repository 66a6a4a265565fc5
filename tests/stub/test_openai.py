"""OpenAI's SDK and instructor against the stub, in every mode that instructor offers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import openai
import pytest
from instructor.v2.core.provider_specs import PROVIDER_SPECS
from instructor.v2.core.providers import Provider
from pydantic import BaseModel

import instructor
from instructor import Mode
from samecall.testing import StubProvider
from samecall.testing.provider import Answer, Malformed


class User(BaseModel):
    name: str
    age: int


class Weather(BaseModel):
    city: str
    degrees: float


_SPEC = PROVIDER_SPECS[Provider.OPENAI]
MODES = [*_SPEC.supported_modes, *_SPEC.legacy_modes]
SINGLE = [mode for mode in MODES if mode is not Mode.PARALLEL_TOOLS]
ASK = [{"role": "user", "content": "Who?"}]


@pytest.fixture
async def sdk(stub: StubProvider) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=stub.openai_url, api_key="k", max_retries=0) as client:
        yield client


def wrap(sdk: openai.AsyncOpenAI, mode: Mode) -> instructor.AsyncInstructor:
    return instructor.from_openai(sdk, mode=mode, model="gpt-4o")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("mode", SINGLE, ids=str)
async def test_a_model(stub: StubProvider, sdk: openai.AsyncOpenAI, mode: Mode) -> None:
    """Same prompt, same answer; another prompt, another; each call has its own id and usage."""
    client = wrap(sdk, mode)
    user, raw = await client.create_with_completion(response_model=User, messages=ASK)
    again, other_raw = await client.create_with_completion(response_model=User, messages=ASK)
    other = await client.create(
        response_model=User, messages=[{"role": "user", "content": "Who else?"}]
    )
    assert user.model_dump() == again.model_dump() != other.model_dump()
    assert raw.id != other_raw.id
    assert raw.usage.total_tokens > 2
    assert stub.calls_by_prompt == {"Who?": 2, "Who else?": 1}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("mode", SINGLE, ids=str)
async def test_a_malformed_answer_is_asked_again(
    stub: StubProvider, sdk: openai.AsyncOpenAI, mode: Mode
) -> None:
    """Instructor reasks, and the reask counts for the same prompt."""
    stub.script("Who?", Malformed())
    user = await wrap(sdk, mode).create(response_model=User, messages=ASK, max_retries=1)
    assert user.age >= 0
    assert stub.calls_by_prompt == {"Who?": 2}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("mode", SINGLE, ids=str)
async def test_streams(stub: StubProvider, sdk: openai.AsyncOpenAI, mode: Mode) -> None:
    """`create_partial` ends in the very answer that `create` gives; `create_iterable` too."""
    client = wrap(sdk, mode)
    whole = await client.create(response_model=User, messages=ASK)
    parts = [p async for p in client.create_partial(response_model=User, messages=ASK)]
    assert parts[-1].model_dump() == whole.model_dump()
    assert len(parts) > 2
    stub.answer("All?", {"tasks": [{"name": "a", "age": 1}, {"name": "b", "age": 2}]})
    asked = [{"role": "user", "content": "All?"}]
    users = [u async for u in client.create_iterable(response_model=User, messages=asked)]
    assert [u.age for u in users] == [1, 2]


async def test_parallel_tools(stub: StubProvider, sdk: openai.AsyncOpenAI) -> None:
    """Several tools, one call of each; or just the calls that the test names."""
    client = wrap(sdk, Mode.PARALLEL_TOOLS)
    both: Any = Iterable[User | Weather]
    found = list(await client.create(response_model=both, messages=ASK))
    assert [type(f).__name__ for f in found] == ["User", "Weather"]
    pairs = (("Weather", {"city": "a", "degrees": 1}), ("Weather", {"city": "b", "degrees": 2}))
    stub.script("Who?", Answer(calls=pairs))
    found = list(await client.create(response_model=both, messages=ASK))
    assert [f.city for f in found] == ["a", "b"]


async def test_plain_text_and_its_stream(stub: StubProvider, sdk: openai.AsyncOpenAI) -> None:
    """No schema: text, the same streamed; usage is in the stream when it was asked for."""
    whole = await sdk.chat.completions.create(model="m", messages=ASK)  # type: ignore[arg-type]
    stream = await sdk.chat.completions.create(
        model="m",
        messages=ASK,  # type: ignore[arg-type]
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content == "You asked: Who?"
    assert chunks[-1].usage == whole.usage


async def test_responses_text_and_its_stream(stub: StubProvider, sdk: openai.AsyncOpenAI) -> None:
    """The Responses endpoint likewise, and the SDK puts its events together again."""
    whole = await sdk.responses.create(model="m", input="Who?")
    async with sdk.responses.stream(model="m", input="Who?") as stream:
        final = await stream.get_final_response()
    assert whole.output_text == final.output_text == "You asked: Who?"


async def test_responses_client_of_instructor(stub: StubProvider, sdk: openai.AsyncOpenAI) -> None:
    """`client.responses.create` with a string as input."""
    client = wrap(sdk, Mode.RESPONSES_TOOLS)
    user = await client.responses.create(input="Who?", response_model=User)
    assert user.name
    assert stub.calls_by_prompt == {"Who?": 1}


async def test_an_explicit_answer(stub: StubProvider, sdk: openai.AsyncOpenAI) -> None:
    """What a test sets is what comes, as data or as text."""
    stub.answer("Who?", {"name": "Ada", "age": 36})
    client = wrap(sdk, Mode.TOOLS)
    assert (await client.create(response_model=User, messages=ASK)).name == "Ada"
    stub.answer("Who?", json.dumps({"name": "Bob", "age": 1}))
    assert (await client.create(response_model=User, messages=ASK)).name == "Bob"


async def test_from_provider(stub: StubProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """`instructor.from_provider` reaches the stub by base URL."""
    client = instructor.from_provider(
        "openai/gpt-4o", async_client=True, base_url=stub.openai_url, api_key="k"
    )
    assert (await client.create(response_model=User, messages=ASK)).name
    assert stub.requests[0].json["model"] == "gpt-4o"
