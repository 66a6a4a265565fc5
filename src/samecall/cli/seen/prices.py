"""What tokens cost, by the price list of the `genai-prices` package."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import cache
from importlib.util import find_spec

__all__ = ["known", "price"]

# what instructor calls a provider, and what the price list does
_PROVIDERS = {
    "azure_openai": "azure",
    "bedrock": "aws",
    "gemini": "google",
    "genai": "google",
    "google": "google",
    "vertexai": "google",
    "xai": "x-ai",
}
_MILLION = 1_000_000


def known() -> bool:
    """Whether the price list is installed."""
    return find_spec("genai_prices") is not None


def price(model: str, given: int, made: int) -> float | None:
    """US dollars for so many tokens of "provider/model"; None where the list has no price."""
    rates = _rates(model)
    if rates is None:
        return None
    # from the rate per million, so that tiers of one call's length do not apply to a sum of many
    return float((rates[0] * given + rates[1] * made) / _MILLION)


@cache
def _rates(model: str) -> tuple[Decimal, Decimal] | None:
    if not known():
        return None
    from genai_prices import Usage, calc_price

    provider, _, name = model.partition("/")
    asked: list[Callable[[Usage], Decimal]] = [
        lambda usage: (
            calc_price(usage, name, provider_id=_PROVIDERS.get(provider, provider)).total_price
        ),
        lambda usage: calc_price(usage, name).total_price,
    ]
    for ask in asked:
        try:
            # of a call of ordinary size: long ones may cost more
            given, made = ask(Usage(input_tokens=1000)), ask(Usage(output_tokens=1000))
        except (LookupError, ValueError):
            continue
        return given * 1000, made * 1000
    return None
