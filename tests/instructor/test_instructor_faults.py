"""How far a leader's error travels, and what it tells."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest
from instructor.core.exceptions import InstructorRetryException
from pydantic import BaseModel

import instructor
from samecall import Cache, RemoteCallError, Undecodable
from samecall._entry import Payload
from samecall._ports import ErrorRecord, Failure, Reach
from samecall.instructor import cached
from samecall.instructor._codec import AnswerCodec
from samecall.instructor._models import prepared
from samecall.testing import StubProvider
from samecall.testing.provider import Answer, Cut, Hang, Malformed, Status

PROMPT = "the patient's name is Rosalind Franklin and she was born in 1920"


class User(BaseModel):
    name: str
    age: int


def question(**more: Any) -> dict[str, Any]:
    return {"response_model": User, "messages": [{"role": "user", "content": PROMPT}], **more}


def codec(**asked: Any) -> AnswerCodec:
    handlers = instructor.v2.core.registry.mode_registry.get_handlers(
        instructor.v2.core.providers.Provider.OPENAI, instructor.Mode.TOOLS
    )
    return AnswerCodec(prepared(User), handlers, {**question(), **asked})


async def failure(client: Any, **asked: Any) -> Failure:
    with pytest.raises(Exception) as caught:
        await client.create(**question(**asked))
    return codec(**asked).explain(caught.value)


@pytest.mark.parametrize(
    ("behaviour", "reach", "status", "retry_after", "name"),
    [
        (Status(400), Reach.FLEET, 400, None, "BadRequestError"),
        (Status(401), Reach.PROCESS, 401, None, "AuthenticationError"),
        (Status(403), Reach.PROCESS, 403, None, "PermissionDeniedError"),
        (Status(429, retry_after=7), Reach.FLEET, 429, 7.0, "RateLimitError"),
        (Status(500), Reach.FLEET, 500, None, "InternalServerError"),
        (Cut(), Reach.PROCESS, None, None, "APIConnectionError"),
    ],
    ids=repr,
)
async def test_provider_errors(
    bare: instructor.AsyncInstructor,
    provider: StubProvider,
    behaviour: Any,
    reach: Reach,
    status: int | None,
    retry_after: float | None,
    name: str,
) -> None:
    provider.script(None, behaviour)
    told = await failure(bare)
    assert told.reach is reach
    assert told.completion is None
    assert (told.record.class_name, told.record.status) == (name, status)
    assert told.record.retry_after == retry_after


async def test_a_timeout_is_the_leaders_own_if_its_caller_set_it(
    sdk: openai.AsyncOpenAI, provider: StubProvider
) -> None:
    provider.script(None, Hang(), Hang())
    bare = instructor.from_openai(sdk, model="m")
    assert (await failure(bare, timeout=0.05)).reach is Reach.OWN
    hasty = instructor.from_openai(sdk.with_options(timeout=0.05), model="m")
    assert (await failure(hasty)).reach is Reach.PROCESS


async def test_own_limits_and_wrong_arguments_are_the_leaders_own(
    bare: instructor.AsyncInstructor, provider: StubProvider
) -> None:
    provider.script(None, Malformed())
    assert (await failure(bare, token_budget=1)).reach is Reach.OWN
    assert (await failure(bare, token_budget=-1)).reach is Reach.OWN


async def test_a_failed_validation_takes_its_completion_along(
    bare: instructor.AsyncInstructor, provider: StubProvider
) -> None:
    """Others may parse it; the words of the error show nothing of it."""
    provider.script(None, Answer({"name": "secret answer", "age": "not a number"}))
    told = await failure(bare, max_retries=0)
    assert told.reach is Reach.FLEET
    assert told.completion is not None
    assert "secret answer" not in told.record.message
    with pytest.raises(InstructorRetryException) as refused:
        codec().refused(told.completion)
    assert refused.value.n_attempts == 1
    assert refused.value.last_completion.choices
    assert refused.value.messages == question()["messages"]
    assert len(refused.value.failed_attempts or []) == 1


async def test_a_reask_that_the_provider_refused_is_no_failed_validation(
    bare: instructor.AsyncInstructor, provider: StubProvider
) -> None:
    provider.script(None, Malformed(), Status(429))
    told = await failure(bare)
    assert told.completion is None
    assert told.record.status == 429


@pytest.mark.parametrize("secret", ["sk-abcdefghijklmnop123456", "Bearer abc.def-ghi_jkl"])
async def test_no_secret_and_nothing_of_the_prompt_is_told(
    bare: instructor.AsyncInstructor, provider: StubProvider, secret: str
) -> None:
    provider.script(None, Status(400, message=f"cannot read: {PROMPT[3:50]} with {secret}"))
    message = (await failure(bare)).record.message
    assert "cannot read" in message
    assert "Rosalind" not in message
    assert secret not in message
    provider.script(None, Status(400, message="long " * 1_000))
    assert len((await failure(bare)).record.message) <= 400


async def test_errors_of_anthropic(provider: StubProvider) -> None:
    async with anthropic.AsyncAnthropic(
        api_key="k", base_url=provider.anthropic_url, max_retries=0
    ) as sdk:
        bare = instructor.from_anthropic(sdk, model="m", max_tokens=10)
        provider.script(None, Status(529, retry_after=3))
        told = await failure(bare)
    assert (told.reach, told.record.status, told.record.retry_after) == (Reach.FLEET, 529, 3.0)


def test_another_process_gets_the_error_by_name() -> None:
    error = codec().rebuild(ErrorRecord("RateLimitError", "slow down", 429, 7.0))
    assert isinstance(error, RemoteCallError)
    assert (error.class_name, error.status, error.retry_after) == ("RateLimitError", 429, 7.0)


async def test_a_truncated_completion_is_shared_as_refused(cache: Cache) -> None:
    """`max_tokens` is part of the question: for the next caller it ends at the same place."""
    body = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": ""}}
        ],
    }
    calls: list[Any] = []

    of_sdk: Any = openai._base_client  # openai 3 speaks through httpx2, earlier ones httpx
    httpx = getattr(of_sdk, "httpx2", None) or of_sdk.httpx

    def answer(request: Any) -> Any:
        calls.append(request)
        return httpx.Response(200, json=body)

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    async with openai.AsyncOpenAI(api_key="k", http_client=http) as sdk:
        client = cached(instructor.from_openai(sdk, model="m"), cache)
        for _ in range(2):
            with pytest.raises(instructor.core.exceptions.IncompleteOutputException):
                await client.create(**question())
    assert len(calls) == 1


@pytest.mark.parametrize("payload", [Payload("other", b""), Payload("instructor", b"\xc1")])
def test_what_is_not_ours_is_undecodable(payload: Payload) -> None:
    with pytest.raises(Undecodable):
        codec().decode(payload)
    with pytest.raises(Undecodable):
        codec().refused(payload)
