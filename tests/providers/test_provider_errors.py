"""A refusal of every provider is paid for once, with the Retry-After that its SDK tells."""

from __future__ import annotations

import urllib.error
from email.message import Message
from typing import Any

import botocore.exceptions
import fireworks.client.error
import httpx
import openai
import pytest
from cohere.errors import TooManyRequestsError
from google.genai import errors as google
from instructor.core.exceptions import InstructorRetryException
from provider_clients import BY_HAND, by_hand, modes
from pydantic import BaseModel

from samecall import Cache, Policy, RemoteCallError
from samecall._entry import Key
from samecall._http import retry_after_of, status_of
from samecall._memory import MemoryStore
from samecall._ports import EPOCH_NONE
from samecall.instructor import cached
from samecall.testing import ManualClock, StubProvider
from samecall.testing.provider import Status

try:
    from mistralai.client.errors import SDKError
except ImportError:  # the lowest of its SDKs
    from mistralai.models import SDKError

UNTOLD = {"from_fireworks"}
"""Whose exceptions say nothing of Retry-After."""
WAIT = 0.02  # some SDKs wait for as long themselves, and try again


def response(**headers: str) -> httpx.Response:
    request = httpx.Request("POST", "https://provider.invalid")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(429, headers=named, request=request, json={"message": "no"})


def of_openai(**headers: str) -> Any:
    return openai.RateLimitError("no", response=response(**headers), body=None)


def of_google(delay: object) -> Any:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    fault = {"code": 429, "message": "no", "details": [{"@type": "other"}, info]}
    return google.ClientError(429, {"error": fault}, response())


def of_bedrock() -> Any:
    said = {"HTTPStatusCode": 429, "HTTPHeaders": {"retry-after": "7"}}
    return botocore.exceptions.ClientError(
        {"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": said},  # type: ignore[arg-type]
        "Converse",
    )


def of_urllib() -> Any:
    headers = Message()
    headers["Retry-After"] = "7"
    return urllib.error.HTTPError("http://provider.invalid", 429, "no", headers, None)


def of_litellm() -> Any:
    error: Any = of_openai()
    error.litellm_response_headers = {"Retry-After": "7"}
    return error


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (of_openai(retry_after="7"), 429, 7.0),
        (of_openai(retry_after_ms="1500", retry_after="2"), 429, 1.5),
        (of_openai(), 429, None),
        (of_google("17s"), 429, 17.0),
        (of_google("0.5s"), 429, 0.5),
        (of_google("soon"), 429, None),
        (of_google(7), 429, None),
        (of_bedrock(), 429, 7.0),
        (of_urllib(), 429, 7.0),
        (of_litellm(), 429, 7.0),
        (TooManyRequestsError(body={}, headers={"retry-after": "7"}), 429, 7.0),
        (SDKError("no", response(retry_after="7")), 429, 7.0),
        (fireworks.client.error.RateLimitError("no"), 429, None),
        (fireworks.client.error.APITimeoutError("no"), None, None),
        (ValueError("no"), None, None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_reply_was(error: Any, status: int | None, retry_after: float | None) -> None:
    """Wherever an SDK keeps it."""
    assert (status_of(error), retry_after_of(error)) == (status, retry_after)


class User(BaseModel):
    name: str


class Told(MemoryStore):
    """Knows for how long errors were to be kept."""

    told: tuple[float, ...] = ()

    async def fail(
        self, key: Key, token: bytes, data: bytes, ttl: float, epoch: bytes = EPOCH_NONE
    ) -> bool:
        self.told += (ttl,)
        return await super().fail(key, token, data, ttl, epoch)


@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize("name", BY_HAND)
async def test_a_refusal_is_paid_for_once(name: str, code: int, stub: StubProvider) -> None:
    """By one process, for itself and for another one, while the window lasts."""
    clock = ManualClock()  # which stands still, so that the window lasts
    store = Told(clock=clock)
    policy = Policy(error_ttl=WAIT / 2)
    stub.script(None, *[Status(code, retry_after=WAIT, message="slow down")] * 20)
    messages = [{"role": "user", "content": "Who?"}]
    async with by_hand(name, modes(name)[0], stub) as client:
        paid: set[int] = set()
        for _ in range(2):  # as many processes
            async with Cache(store, policy=policy, clock=clock) as cache:
                asks: Any = cached(client, cache, account="fleet").create
                for _ in range(2):
                    with pytest.raises((InstructorRetryException, RemoteCallError)) as caught:
                        await asks(response_model=User, messages=messages, max_retries=0)
                    assert "slow down" in str(caught.value)
                    paid.add(stub.calls)
    assert len(paid) == 1
    assert store.told == (WAIT / 2 if name in UNTOLD else WAIT,)
