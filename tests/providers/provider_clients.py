"""One async client per provider of instructor, aimed at the stub."""

from __future__ import annotations

import functools
import inspect
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from unittest import mock

from instructor.v2.core.providers import Provider

import instructor
from instructor import Mode
from samecall.testing import StubProvider

__all__ = [
    "AT_HOME",
    "BY_HAND",
    "BY_NAME",
    "NO_BASE_URL",
    "by_hand",
    "by_name",
    "modes",
    "modes_of",
]

Client = instructor.AsyncInstructor

# Whatever an SDK does with a base URL, it does not leave the machine. And LiteLLM asks the
# network for prices unless it is told not to.
AT_HOME = {
    **dict.fromkeys(("HTTPS_PROXY", "https_proxy", "grpc_proxy"), "http://127.0.0.1:9"),
    **dict.fromkeys(("NO_PROXY", "no_proxy", "no_grpc_proxy"), "127.0.0.1"),
    "AWS_ACCESS_KEY_ID": "k",
    "AWS_SECRET_ACCESS_KEY": "k",
    "AWS_EC2_METADATA_DISABLED": "true",
    "OPENAI_API_KEY": "k",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}

# --- by `from_provider`, in its default mode --------------------------------------------------


def _compatible(stub: StubProvider) -> dict[str, Any]:
    return {"base_url": stub.openai_url}


def _azure(stub: StubProvider) -> dict[str, Any]:
    return {"azure_endpoint": stub.url}


def _google(stub: StubProvider) -> dict[str, Any]:
    return {"http_options": {"base_url": stub.gemini_url}}


def _litellm(stub: StubProvider) -> dict[str, Any]:
    # from_provider drops the key, which comes from the environment, and the model: see `asked`
    return {"api_base": stub.openai_url}


def _none(stub: StubProvider) -> dict[str, Any]:
    return {}


# Provider: the arguments that aim it at the stub, the variables of its SDK that do, its package.
BY_NAME: dict[str, tuple[Callable[[StubProvider], dict[str, Any]], tuple[str, ...], str]] = {
    "openai": (_compatible, (), "openai"),
    "anyscale": (_compatible, (), "openai"),
    "together": (_compatible, (), "openai"),
    "azure_openai": (_azure, (), "openai"),
    "databricks": (_compatible, (), "openai"),
    "anthropic": (_none, ("ANTHROPIC_BASE_URL",), "anthropic"),
    "google": (_google, (), "google"),
    "mistral": (_none, (), "mistralai"),
    "cohere": (_none, (), "cohere"),
    "perplexity": (_none, (), "openai"),
    "groq": (_none, ("GROQ_BASE_URL",), "groq"),
    "writer": (_none, ("WRITER_BASE_URL",), "writerai"),
    "bedrock": (_none, ("AWS_ENDPOINT_URL",), "builtins"),
    "cerebras": (_none, ("CEREBRAS_BASE_URL",), "cerebras"),
    "fireworks": (_none, ("FIREWORKS_BASE_URL",), "fireworks"),
    "generative-ai": (_none, ("GOOGLE_GEMINI_BASE_URL",), "google"),
    "ollama": (_compatible, (), "openai"),
    "deepseek": (_compatible, (), "openai"),
    "openrouter": (_compatible, (), "openai"),
    "litellm": (_litellm, (), "litellm"),
}

# Why `from_provider` cannot be aimed at the stub, where the SDK itself can.
NO_BASE_URL = {
    "mistral": "`from_provider` takes no base URL",
    "perplexity": "`from_provider` takes no base URL",
    "fireworks": "`from_provider` takes no base URL",
    "cohere": "`from_provider` takes no base URL, and the SDK reads its variable at import only",
}


@asynccontextmanager
async def by_name(provider: str, stub: StubProvider) -> AsyncIterator[Client]:
    """The provider's client by `from_provider`; raises what that raises."""
    aim, variables, _ = BY_NAME[provider]
    aimed = dict.fromkeys(variables, stub.url)
    with mock.patch.dict(os.environ, AT_HOME | aimed):
        settings = {"api_key": "k"} | aim(stub)
        client = instructor.from_provider(f"{provider}/m", async_client=True, **settings)
        yield client
        await _close(client.client)


# --- by hand, in every mode -------------------------------------------------------------------


def _openai(stub: StubProvider, mode: Mode, **more: Any) -> Client:
    import openai

    sdk = openai.AsyncOpenAI(api_key="k", base_url=stub.openai_url, max_retries=0)
    return instructor.from_openai(sdk, mode=mode, model="m", **more)


def _anthropic(stub: StubProvider, mode: Mode) -> Client:
    import anthropic

    sdk = anthropic.AsyncAnthropic(api_key="k", base_url=stub.anthropic_url, max_retries=0)
    return instructor.from_anthropic(sdk, mode=mode, model="m", max_tokens=99)


def _genai(stub: StubProvider, mode: Mode) -> Client:
    from google import genai

    sdk = genai.Client(api_key="k", http_options={"base_url": stub.gemini_url})
    return instructor.from_genai(sdk, mode=mode, model="m", use_async=True)


def _genai_vertex(stub: StubProvider, mode: Mode) -> Client:
    from google import genai
    from google.oauth2.credentials import Credentials

    sdk = genai.Client(
        vertexai=True,
        project="p",
        location="l",
        credentials=Credentials(token="t"),
        http_options={"base_url": stub.gemini_url},
    )
    return instructor.from_genai(sdk, mode=mode, model="m", use_async=True)


def _from_litellm(stub: StubProvider, mode: Mode) -> Client:
    import litellm

    return instructor.from_litellm(
        litellm.acompletion, mode=mode, model="openai/m", api_base=stub.openai_url, api_key="k"
    )


def _mistral(stub: StubProvider, mode: Mode) -> Client:
    from instructor.v2.providers.mistral.client import Mistral

    sdk: Any = Mistral(api_key="k", server_url=stub.url)
    return instructor.from_mistral(sdk, mode=mode, model="m", use_async=True)


def _cohere(stub: StubProvider, mode: Mode) -> Client:
    import cohere

    sdk = cohere.AsyncClientV2(api_key="k", base_url=stub.url)
    return instructor.from_cohere(sdk, mode=mode, model="m")


def _perplexity(stub: StubProvider, mode: Mode) -> Client:
    import openai

    sdk = openai.AsyncOpenAI(api_key="k", base_url=stub.openai_url, max_retries=0)
    return instructor.from_perplexity(sdk, mode=mode, model="m")


def _openrouter(stub: StubProvider, mode: Mode) -> Client:
    import openai

    sdk = openai.AsyncOpenAI(api_key="k", base_url=stub.openai_url, max_retries=0)
    return instructor.from_openrouter(sdk, mode=mode, model="m")


def _groq(stub: StubProvider, mode: Mode) -> Client:
    import groq

    sdk = groq.AsyncGroq(api_key="k", base_url=stub.url, max_retries=0)
    return instructor.from_groq(sdk, mode=mode, model="m")


def _writer(stub: StubProvider, mode: Mode) -> Client:
    import writerai

    sdk = writerai.AsyncWriter(api_key="k", base_url=stub.url, max_retries=0)
    return instructor.from_writer(sdk, mode=mode, model="m")


def _bedrock(stub: StubProvider, mode: Mode) -> Client:
    import boto3

    sdk = boto3.client("bedrock-runtime", endpoint_url=stub.url, region_name="us-east-1")
    return instructor.from_bedrock(sdk, mode=mode, model="m", async_client=True)


def _cerebras(stub: StubProvider, mode: Mode) -> Client:
    from cerebras.cloud.sdk import AsyncCerebras

    sdk = AsyncCerebras(api_key="k", base_url=stub.url, max_retries=0, warm_tcp_connection=False)
    return instructor.from_cerebras(sdk, mode=mode, model="m")


def _fireworks(stub: StubProvider, mode: Mode) -> Client:
    from fireworks.client import AsyncFireworks

    sdk = AsyncFireworks(api_key="k", base_url=stub.openai_url)
    return instructor.from_fireworks(sdk, mode=mode, model="m")


# Name: how the client is made, the provider whose modes it has, the package of its completions.
BY_HAND: dict[str, tuple[Callable[[StubProvider, Mode], Client], Provider, str]] = {
    "from_openai": (_openai, Provider.OPENAI, "openai"),
    "from_anthropic": (_anthropic, Provider.ANTHROPIC, "anthropic"),
    "from_genai": (_genai, Provider.GENAI, "google"),
    "from_genai, Vertex AI": (_genai_vertex, Provider.GENAI, "google"),
    "from_litellm": (_from_litellm, Provider.OPENAI, "litellm"),
    "from_mistral": (_mistral, Provider.MISTRAL, "mistralai"),
    "from_cohere": (_cohere, Provider.COHERE, "cohere"),
    "from_perplexity": (_perplexity, Provider.PERPLEXITY, "openai"),
    "from_openrouter": (_openrouter, Provider.OPENROUTER, "openai"),
    "from_groq": (_groq, Provider.GROQ, "groq"),
    "from_writer": (_writer, Provider.WRITER, "writerai"),
    "from_bedrock": (_bedrock, Provider.BEDROCK, "builtins"),
    "from_cerebras": (_cerebras, Provider.CEREBRAS, "cerebras"),
    "from_fireworks": (_fireworks, Provider.FIREWORKS, "fireworks"),
}


_LIST_MODES = """
import json, instructor
from instructor.v2.core.providers import Provider
from instructor.v2.core.registry import mode_registry
modes = mode_registry.get_modes_for_provider
print(json.dumps({p.name: sorted(mode.name for mode in modes(p)) for p in Provider}))
"""


@functools.cache
def _offered() -> dict[str, list[str]]:
    # asked in a new interpreter: instructor registers more modes as a process uses them
    command = [sys.executable, "-c", _LIST_MODES]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(json.loads(found))


def modes(name: str) -> list[Mode]:
    """Every mode that instructor offers for a client of `BY_HAND`."""
    return modes_of(BY_HAND[name][1])


def modes_of(provider: Provider) -> list[Mode]:
    """Every mode that instructor offers for a provider."""
    return [Mode[mode] for mode in _offered()[provider.name]]


@asynccontextmanager
async def by_hand(name: str, mode: Mode, stub: StubProvider) -> AsyncIterator[Client]:
    """A client made from its SDK's own; raises what that raises."""
    with mock.patch.dict(os.environ, AT_HOME):
        client = BY_HAND[name][0](stub, mode)
        yield client
        await _close(client.client)


async def _close(sdk: Any) -> None:
    for owner in (getattr(sdk, "aio", None), sdk):
        for name in ("aclose", "close"):
            with suppress(AttributeError, TypeError):
                closing = getattr(owner, name)()
                if inspect.isawaitable(closing):
                    await closing
                break
