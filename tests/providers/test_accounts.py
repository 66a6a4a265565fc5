"""Whose calls a client's are, through every SDK: two customers never share by accident."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from provider_clients import AT_HOME
from pydantic import BaseModel

import instructor
from samecall import Cache
from samecall.instructor import cached, key_of

Make = Callable[[str, str], Any]


class User(BaseModel):
    name: str


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AT_HOME.items():
        monkeypatch.setenv(name, value)


def digest(client: Any, **kwargs: Any) -> str:
    key = key_of(cached(client, Cache(), **kwargs), response_model=User, messages=[])
    return key.hex


def _openai(key: str, url: str) -> Any:
    import openai

    return instructor.from_openai(openai.AsyncOpenAI(api_key=key, base_url=url), model="m")


def _azure(key: str, url: str) -> Any:
    import openai

    sdk = openai.AsyncAzureOpenAI(api_key=key, azure_endpoint=url, api_version="1")
    return instructor.from_openai(sdk, model="m")


def _anthropic(key: str, url: str) -> Any:
    import anthropic

    return instructor.from_anthropic(anthropic.AsyncAnthropic(api_key=key, base_url=url), model="m")


def _anthropic_token(key: str, url: str) -> Any:
    import anthropic

    sdk = anthropic.AsyncAnthropic(auth_token=key, base_url=url)
    return instructor.from_anthropic(sdk, model="m")


def _anthropic_bedrock(key: str, url: str) -> Any:
    import anthropic

    sdk = anthropic.AsyncAnthropicBedrock(
        aws_access_key=key, aws_secret_key="s", aws_region="r", base_url=url
    )
    return instructor.from_anthropic(sdk, model="m")


def _anthropic_vertex(key: str, url: str) -> Any:
    import anthropic

    sdk = anthropic.AsyncAnthropicVertex(project_id=key, region="r", access_token="t", base_url=url)
    return instructor.from_anthropic(sdk, model="m")


def _genai(key: str, url: str) -> Any:
    from google import genai

    sdk = genai.Client(api_key=key, http_options={"base_url": url})
    return instructor.from_genai(sdk, model="m", use_async=True)


def _genai_vertex(key: str, url: str) -> Any:
    from google import genai
    from google.oauth2.credentials import Credentials

    sdk = genai.Client(
        vertexai=True,
        project=key,
        location="l",
        credentials=Credentials(token="t"),
        http_options={"base_url": url},
    )
    return instructor.from_genai(sdk, model="m", use_async=True)


def _litellm(key: str, url: str) -> Any:
    import litellm

    return instructor.from_litellm(litellm.acompletion, model="openai/m", api_base=url, api_key=key)


def _mistral(key: str, url: str) -> Any:
    from instructor.v2.providers.mistral.client import Mistral

    sdk: Any = Mistral(api_key=key, server_url=url)
    return instructor.from_mistral(sdk, model="m", use_async=True)


def _cohere(key: str, url: str) -> Any:
    import cohere

    return instructor.from_cohere(cohere.AsyncClientV2(api_key=key, base_url=url), model="m")


def _groq(key: str, url: str) -> Any:
    import groq

    return instructor.from_groq(groq.AsyncGroq(api_key=key, base_url=url), model="m")


def _writer(key: str, url: str) -> Any:
    import writerai

    return instructor.from_writer(writerai.AsyncWriter(api_key=key, base_url=url), model="m")


def _cerebras(key: str, url: str) -> Any:
    from cerebras.cloud.sdk import AsyncCerebras

    sdk = AsyncCerebras(api_key=key, base_url=url, warm_tcp_connection=False)
    return instructor.from_cerebras(sdk, model="m")


def _fireworks(key: str, url: str) -> Any:
    from fireworks.client import AsyncFireworks

    return instructor.from_fireworks(AsyncFireworks(api_key=key, base_url=url), model="m")


def _boto3(url: str, **login: Any) -> Any:
    import boto3

    sdk = boto3.client("bedrock-runtime", endpoint_url=url, region_name="us-east-1", **login)
    return instructor.from_bedrock(sdk, model="m", async_client=True)


def _bedrock(key: str, url: str) -> Any:
    return _boto3(url, aws_access_key_id=key, aws_secret_access_key="s")


MAKERS: list[Make] = [
    _openai,
    _azure,
    _anthropic,
    _anthropic_token,
    _anthropic_bedrock,
    _anthropic_vertex,
    _genai,
    _genai_vertex,
    _litellm,
    _mistral,
    _cohere,
    _groq,
    _writer,
    _cerebras,
    _fireworks,
    _bedrock,
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__.strip("_"))
def test_account_and_endpoint_separate(make: Make) -> None:
    one = digest(make("key-1", "http://localhost:1"))
    assert digest(make("key-1", "http://localhost:1")) == one
    assert digest(make("key-2", "http://localhost:1")) != one
    assert digest(make("key-1", "http://localhost:2")) != one


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__.strip("_"))
def test_a_named_account_stands_for_its_keys(make: Make) -> None:
    """The endpoint goes on separating, unless the account is a part of it."""
    one = digest(make("key-1", "http://localhost:1"), account="fleet")
    assert digest(make("key-1", "http://localhost:2"), account="fleet") != one
    assert digest(make("key-2", "http://localhost:1"), account="other") != one
    assert digest(make("key-2", "http://localhost:1"), account="fleet") == one


def test_logins_of_aws_that_are_renewed() -> None:
    """A login for an hour separates nothing; the role that it is of does, and is not asked for."""
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

    def of_an_hour(key: str) -> str:
        login = {"aws_access_key_id": key, "aws_secret_access_key": "s"}
        return digest(_boto3("http://localhost:1", **login, aws_session_token=f"token of {key}"))

    assert of_an_hour("key-1") == of_an_hour("key-2")

    def of_role(role: str) -> str:
        client = _boto3("http://localhost:1")
        fetcher = AssumeRoleCredentialFetcher(None, None, role)
        credentials = DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
        client.client._request_signer._credentials = credentials
        return digest(client)

    assert of_role("arn:aws:iam::1:role/a") == of_role("arn:aws:iam::1:role/a")
    assert of_role("arn:aws:iam::1:role/a") != of_role("arn:aws:iam::2:role/a")


def test_anthropic_on_aws_with_a_login_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import anthropic

    living = instructor.from_anthropic(anthropic.AsyncAnthropicBedrock(aws_region="r"), model="m")
    before = digest(living)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    assert digest(living) != before
    monkeypatch.setenv("AWS_SESSION_TOKEN", "for an hour")
    renewed = digest(living)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a third")
    assert digest(living) == renewed
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert digest(living) != renewed


def test_what_a_client_of_google_sends_with_every_call_separates() -> None:
    from google import genai

    def of(**options: Any) -> str:
        sdk = genai.Client(api_key="k", http_options={"api_version": "v1", **options})
        return digest(instructor.from_genai(sdk, model="m", use_async=True))

    assert len({of(), of(api_version="v1alpha"), of(extra_body={"a": 1})}) == 3
    assert of(timeout=5, headers={"X-Pod": "7"}) == of()
