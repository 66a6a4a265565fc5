"""What is told of a call as attributes: the GenAI conventions' names, and a cache's own."""

from __future__ import annotations

from samecall._entry import Key, Spent
from samecall._events import CallAnswered
from samecall._gauges import FREE, Label

__all__ = [
    "MODEL",
    "Attributes",
    "asked_of",
    "labels_of",
    "model_of",
    "place",
    "tokens_saved",
]

MODEL = "gen_ai.request.model"
# what instructor calls a provider, and what the conventions do
_PROVIDERS = {
    "azure_openai": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "genai": "gcp.gemini",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertexai": "gcp.vertex_ai",
    "xai": "x_ai",
}
Attributes = dict[str, str | int | float | bool]


def place(key: Key, leader: bytes) -> Attributes:
    return {
        "samecall.key": key.hex[:16],
        "samecall.namespace": key.namespace,
        "samecall.flight": leader.hex(),
    }


def model_of(spent: Spent | None) -> Attributes:
    if spent is None or not spent.model:
        return {}
    provider = _PROVIDERS.get(spent.provider, spent.provider)
    return {MODEL: spent.model, "gen_ai.provider.name": provider}


def labels_of(label: Label) -> Attributes:
    how, error, model, provider = label
    labels: Attributes = {"samecall.how": how, **model_of(Spent(model, provider))}
    return {**labels, "error.type": error} if error else labels


def asked_of(spent: Spent | None) -> Attributes:
    """What the conventions want of a call to a model; nothing for any other function's call."""
    model = model_of(spent)
    return {"gen_ai.operation.name": "chat", **model} if model else {}


def tokens_saved(event: CallAnswered) -> Attributes:
    spent = event.spent
    if spent is None or event.how not in FREE or event.error is not None:
        return {}
    return {
        "samecall.saved.input_tokens": spent.input,
        "samecall.saved.output_tokens": spent.output,
    }
