"""What a call cost: the tokens in the usage that a provider told, under whatever names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samecall._entry import Spent

__all__ = ["spent_on"]

_USAGE = ("usage", "usage_metadata", "meta")  # OpenAI and its likes, Google, Cohere
_INNER = ("tokens", "billed_units")  # Cohere
_INPUT = ("prompt_tokens", "input_tokens", "prompt_token_count", "inputTokens")
_OUTPUT = ("completion_tokens", "output_tokens", "candidates_token_count", "outputTokens")
_MORE_INPUT = ("cache_read_input_tokens", "cache_creation_input_tokens")  # Anthropic
_MORE_OUTPUT = ("thoughts_token_count",)  # Google
_NAME = 200


def spent_on(model: object, provider: str, completion: Any, usage: Any = None) -> Spent | None:
    """The tokens of `usage` (of all attempts), or else of the completion's own.

    model: the one asked for; where it isn't known, the one that answered. None if neither is.
    """
    if not isinstance(model, str) or not model:
        model = _get(completion, "model") or _get(completion, "model_version")
    if not isinstance(model, str) or not model:
        return None
    told = _sides(usage) or _told(completion) or (0, 0)
    return Spent(model[:_NAME], provider, *told)


def _told(completion: Any) -> tuple[int, int] | None:
    for name in _USAGE:
        usage = _get(completion, name)
        if usage is not None:
            return _sides(usage)
    return None


def _sides(usage: Any) -> tuple[int, int] | None:
    if usage is None:
        return None
    for holder in (usage, *(_get(usage, name) for name in _INNER)):
        given, made = _first(holder, _INPUT), _first(holder, _OUTPUT)
        if given is not None or made is not None:
            given = (given or 0) + sum(_count(holder, name) or 0 for name in _MORE_INPUT)
            made = (made or 0) + sum(_count(holder, name) or 0 for name in _MORE_OUTPUT)
            return given, made
    return None


def _first(holder: Any, names: tuple[str, ...]) -> int | None:
    return next((count for name in names if (count := _count(holder, name)) is not None), None)


def _count(holder: Any, name: str) -> int | None:
    value = _get(holder, name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # Cohere counts in floats
    return value if isinstance(value, int) and 0 <= value < 2**53 else None


def _get(holder: Any, name: str) -> Any:
    if isinstance(holder, Mapping):
        return holder.get(name)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return getattr(holder, name, None)
