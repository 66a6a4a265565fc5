"""The workers' shares and the provider's own count become a report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec

from samecall.cli.fleet.plan import Plan, prompt
from samecall.cli.fleet.worker import MODEL, Share

__all__ = ["Phase", "Report", "Tokens", "percentile", "report", "tally"]


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens and what they cost, in US dollars."""

    input: int
    output: int
    usd: float


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One wave of calls, or several. Latencies are milliseconds, `seconds` is wall time.

    `provider_calls` is what the provider counted; `answered` is the usage of all answers,
    `paid` of those that the provider was asked for.
    """

    name: str
    calls: int
    distinct_prompts: int
    provider_calls: int
    coalesced_local: int
    coalesced_remote: int
    l1_hits: int
    l2_hits: int
    p50_ms: float
    p99_ms: float
    seconds: float
    answered: Tokens
    paid: Tokens
    errors: list[str]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo found; `once`: with samecall every distinct prompt was paid for
    exactly once, and every call answered.
    """

    once: bool
    store: str
    model: str
    workers: int
    calls: int
    distinct_prompts: int
    provider_calls: int
    saved_calls: int
    saved_tokens: int
    saved_usd: float
    seconds: float
    phases: list[Phase]


def tally(
    name: str,
    asked: Sequence[int],
    shares: Iterable[Share],
    counted: Mapping[str, int],
    took: float,
) -> Phase:
    """One phase: `asked` are its prompts, `counted` the provider's calls by prompt text."""
    latencies: list[float] = []
    usage: dict[int, tuple[int, int]] = {}
    sums = Counter[str]()
    errors: list[str] = []
    for share in shares:
        latencies += share.latencies
        usage |= share.usage
        sums.update(share.statistics)
        errors += share.errors
    latencies.sort()
    paid = [number for number in usage for _ in range(counted.get(prompt(number), 0))]
    return Phase(
        name=name,
        calls=len(asked),
        distinct_prompts=len(set(asked)),
        provider_calls=sum(counted.values()),
        coalesced_local=sums["coalesced_local"],
        coalesced_remote=sums["coalesced_remote"],
        l1_hits=sums["l1_hits"],
        l2_hits=sums["l2_hits"],
        p50_ms=round(percentile(latencies, 0.50) * 1000, 2),
        p99_ms=round(percentile(latencies, 0.99) * 1000, 2),
        seconds=round(took, 3),
        answered=_tokens(usage[number] for number in asked if number in usage),
        paid=_tokens(usage[number] for number in paid),
        errors=errors,
    )


def report(plan: Plan, store: str, phases: list[Phase], took: float) -> Report:
    """The whole of the demo; the last phase is the one without samecall."""
    ours = phases[:-1]
    distinct = plan.prompts  # each wave asks for every prompt
    paid = sum(phase.provider_calls for phase in ours)
    answered, spent = [p.answered for p in ours], [p.paid for p in ours]
    return Report(
        once=paid == distinct and not any(phase.errors for phase in ours),
        store=store,
        model=MODEL,
        workers=plan.workers,
        calls=sum(phase.calls for phase in ours),
        distinct_prompts=distinct,
        provider_calls=paid,
        saved_calls=sum(phase.calls for phase in ours) - paid,
        saved_tokens=sum(map(_count, answered)) - sum(map(_count, spent)),
        saved_usd=round(sum(t.usd for t in answered) - sum(t.usd for t in spent), 6),
        seconds=round(took, 3),
        phases=phases,
    )


def percentile(ordered: Sequence[float], part: float) -> float:
    """The nearest-rank percentile of sorted values; NaN of none."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def _count(tokens: Tokens) -> int:
    return tokens.input + tokens.output


def _tokens(usages: Iterable[tuple[int, int]]) -> Tokens:
    listed = list(usages)
    given, made = sum(use[0] for use in listed), sum(use[1] for use in listed)
    return Tokens(input=given, output=made, usd=round(float(_price(given, made)), 6))


def _price(given: int, made: int) -> Decimal:
    from genai_prices import Usage, calc_price

    usage = Usage(input_tokens=given, output_tokens=made)
    return calc_price(usage, MODEL, provider_id="openai").total_price
