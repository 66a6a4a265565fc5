"""A refusal of every provider is paid for once, with the Retry-After that its SDK tells."""

from __future__ import annotations

import urllib.error
from email.message import Message
from functools import partial
from typing import Any

import httpx
import pytest
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
    from fireworks.client import error as fireworks
except ImportError:  # the newest of its SDKs, whose exceptions are made as OpenAI's
    fireworks: Any = None

UNTOLD = set() if fireworks is None else {"from_fireworks"}
"""Whose exceptions say nothing of Retry-After."""
WAIT = 0.02  # some SDKs wait for as long themselves, and try again


def response(**headers: str) -> httpx.Response:
    request = httpx.Request("POST", "https://provider.invalid")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(429, headers=named, request=request, json={"message": "no"})


# Each brings its own SDK: `nox -s newest` has not all of them in one place.
def of_openai(**headers: str) -> Any:
    import openai

    return openai.RateLimitError("no", response=response(**headers), body=None)


def of_google(delay: object) -> Any:
    from google.genai import errors as google

    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    fault = {"code": 429, "message": "no", "details": [{"@type": "other"}, info]}
    return google.ClientError(429, {"error": fault}, response())


def of_bedrock() -> Any:
    import botocore.exceptions

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


def of_cohere() -> Any:
    from cohere.errors import TooManyRequestsError

    return TooManyRequestsError(body={}, headers={"retry-after": "7"})


def of_mistral() -> Any:
    try:
        from mistralai.client.errors import SDKError
    except ImportError:  # the lowest of its SDKs
        from mistralai.models import SDKError

    return SDKError("no", response(retry_after="7"))


@pytest.mark.parametrize(
    ("make", "status", "retry_after"),
    [
        (partial(of_openai, retry_after="7"), 429, 7.0),
        (partial(of_openai, retry_after_ms="1500", retry_after="2"), 429, 1.5),
        (of_openai, 429, None),
        (partial(of_google, "17s"), 429, 17.0),
        (partial(of_google, "0.5s"), 429, 0.5),
        (partial(of_google, "soon"), 429, None),
        (partial(of_google, 7), 429, None),
        (of_bedrock, 429, 7.0),
        (of_urllib, 429, 7.0),
        (of_litellm, 429, 7.0),
        (of_cohere, 429, 7.0),
        (of_mistral, 429, 7.0),
        (ValueError, None, None),
    ],
    ids=lambda value: getattr(getattr(value, "func", value), "__name__", None),
)
def test_what_the_reply_was(make: Any, status: int | None, retry_after: float | None) -> None:
    """Wherever an SDK keeps it."""
    error = make()
    assert (status_of(error), retry_after_of(error)) == (status, retry_after)


@pytest.mark.skipif(fireworks is None, reason="of the SDK within instructor's bounds")
def test_what_an_exception_is_called_tells_its_status() -> None:
    errors = fireworks.RateLimitError("no"), fireworks.APITimeoutError("no")
    assert [status_of(error) for error in errors] == [429, None]
    assert [retry_after_of(error) for error in errors] == [None, None]


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
