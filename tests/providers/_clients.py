"""One async client per provider of `instructor.from_provider`, aimed at the stub."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from unittest import mock

import instructor
from samecall.testing import StubProvider

__all__ = ["PROVIDERS", "client_for", "wrap"]


def wrap(client: instructor.AsyncInstructor) -> instructor.AsyncInstructor:
    """The client under test; bare for now."""
    return client


def _compatible(stub: StubProvider) -> dict[str, Any]:
    return {"base_url": stub.openai_url}


def _azure(stub: StubProvider) -> dict[str, Any]:
    return {"azure_endpoint": stub.url}


def _google(stub: StubProvider) -> dict[str, Any]:
    return {"http_options": {"base_url": stub.gemini_url}}


def _litellm(stub: StubProvider) -> dict[str, Any]:
    return {"model": "openai/m", "api_base": stub.openai_url, "api_key": "k"}


def _none(stub: StubProvider) -> dict[str, Any]:
    return {}


# Provider, the arguments that aim it at the stub, the variables of its SDK that do.
PROVIDERS: dict[str, tuple[Callable[[StubProvider], dict[str, Any]], tuple[str, ...]]] = {
    "openai": (_compatible, ()),
    "anyscale": (_compatible, ()),
    "together": (_compatible, ()),
    "azure_openai": (_azure, ()),
    "databricks": (_compatible, ()),
    "anthropic": (_none, ("ANTHROPIC_BASE_URL",)),
    "google": (_google, ()),
    "gemini": (_none, ()),
    "mistral": (_none, ()),
    "cohere": (_none, ("CO_API_URL",)),
    "perplexity": (_none, ()),
    "groq": (_none, ("GROQ_BASE_URL",)),
    "writer": (_none, ("WRITER_BASE_URL",)),
    "bedrock": (_none, ("AWS_ENDPOINT_URL",)),
    "cerebras": (_none, ("CEREBRAS_BASE_URL",)),
    "fireworks": (_none, ()),
    "vertexai": (_none, ()),
    "generative-ai": (_google, ()),
    "ollama": (_compatible, ()),
    "deepseek": (_compatible, ()),
    "xai": (_none, ()),
    "openrouter": (_compatible, ()),
    "litellm": (_litellm, ()),
}

# These cannot leave the machine whatever their SDK does with a base URL.
_NOWHERE = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), "http://127.0.0.1:9")


def client_for(provider: str, stub: StubProvider) -> instructor.AsyncInstructor:
    """The provider's own async client by `from_provider`; raises what it raises."""
    aim, variables = PROVIDERS[provider]
    settings = aim(stub)
    settings.setdefault("api_key", "k")
    base = dict.fromkeys(variables, stub.url) | {
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "k",
    }
    with mock.patch.dict(os.environ, base | _NOWHERE):
        return wrap(instructor.from_provider(f"{provider}/m", async_client=True, **settings))
