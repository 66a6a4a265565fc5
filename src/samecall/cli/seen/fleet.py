"""Many workers' reports as one picture of the fleet."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from samecall._board import Posted
from samecall._errors import Undecodable
from samecall._report import Hot, Report, Row, decode_report, percentiles
from samecall.cli.seen.prices import price

__all__ = ["Fleet", "Latency", "Model", "Seen", "Since", "Worker", "added_up", "read"]

_PARTS = (0.5, 0.9, 0.99)
_ANSWERED = ("l1", "l2", "coalesced_local", "coalesced_remote", "led", "bypass")
_SAVED = ("l1_hits", "l2_hits", "coalesced_local", "coalesced_remote")
_MOST_HOT = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """One worker's report, and the seconds since it came."""

    namespace: str
    age: float
    report: Report


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds; None where nothing was timed."""

    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model's share; money in US dollars, None where no price is known."""

    model: str
    calls: int
    l1_hits: int
    l2_hits: int
    coalesced: int
    provider_calls: int
    errors: int
    paid_tokens: int
    saved_tokens: int
    paid_usd: float | None
    saved_usd: float | None


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """One process. `quiet`: seconds since it last told of anything new."""

    worker: str
    namespace: str
    quiet: float
    calls: int
    l1_hits: int
    l2_hits: int
    coalesced: int
    provider_calls: int
    errors: int
    p99_ms: float | None


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `hit_rate`: the part of the answered calls that no provider was asked for."""

    workers: list[Worker]
    counters: dict[str, int]
    hit_rate: float | None
    latency: dict[str, Latency]
    models: list[Model]
    paid_tokens: int
    saved_tokens: int
    paid_usd: float | None
    saved_usd: float | None
    hottest: list[dict[str, Any]]


def read(posted: Iterable[Posted]) -> list[Seen]:
    """The reports among what was posted; what cannot be read is left out."""
    found: list[Seen] = []
    for each in posted:
        try:
            found.append(Seen(each.namespace, each.age, decode_report(each.data)))
        except Undecodable:
            continue
    return sorted(found, key=lambda seen: (seen.namespace, seen.report.worker))


def added_up(seen: Iterable[Seen]) -> Fleet:
    """The whole fleet's numbers."""
    every = list(seen)
    counters, latency, rows = Counter[str](), dict[str, Counter[int]](), dict[str, Row]()
    for each in every:
        counters.update(each.report.counters)
        for how, buckets in each.report.latency.items():
            latency.setdefault(how, Counter()).update(buckets)
        for name, row in each.report.models.items():
            _add(rows.setdefault(name, Row()), row)
    models = sorted((_model(name, row) for name, row in rows.items()), key=lambda m: -m.calls)
    saved = sum(counters[name] for name in _SAVED)
    answered = saved + counters["led"]
    return Fleet(
        workers=[_worker(each) for each in every],
        counters=dict(sorted(counters.items())),
        hit_rate=saved / answered if answered else None,
        latency=_latencies(latency),
        models=models,
        paid_tokens=sum(model.paid_tokens for model in models),
        saved_tokens=sum(model.saved_tokens for model in models),
        paid_usd=_sum(model.paid_usd for model in models),
        saved_usd=_sum(model.saved_usd for model in models),
        hottest=_hottest(hot for each in every for hot in each.report.hot),
    )


def _add(total: Row, row: Row) -> None:
    total.ways = dict(Counter(total.ways) + Counter(row.ways))
    for name in ("provider_calls", "errors", *_TOKENS):
        setattr(total, name, getattr(total, name) + getattr(row, name))


_TOKENS = ("paid_input", "paid_output", "saved_input", "saved_output")


def _model(name: str, row: Row) -> Model:
    ways = Counter(row.ways)
    return Model(
        model=name,
        calls=sum(ways.values()),
        l1_hits=ways["l1"],
        l2_hits=ways["l2"],
        coalesced=ways["coalesced_local"] + ways["coalesced_remote"],
        provider_calls=row.provider_calls,
        errors=row.errors,
        paid_tokens=row.paid_input + row.paid_output,
        saved_tokens=row.saved_input + row.saved_output,
        paid_usd=price(name, row.paid_input, row.paid_output),
        saved_usd=price(name, row.saved_input, row.saved_output),
    )


def _worker(seen: Seen) -> Worker:
    count = Counter(seen.report.counters)
    buckets = Counter[int]()
    for how in _ANSWERED:
        buckets.update(seen.report.latency.get(how, {}))
    return Worker(
        worker=seen.report.worker,
        namespace=seen.namespace,
        quiet=round(seen.age, 1),
        calls=count["calls"],
        l1_hits=count["l1_hits"],
        l2_hits=count["l2_hits"],
        coalesced=count["coalesced_local"] + count["coalesced_remote"],
        provider_calls=count["provider_calls"],
        errors=count["errors"],
        p99_ms=_ms(percentiles(buckets, [0.99])[0]),
    )


def _latencies(by_way: Mapping[str, Counter[int]]) -> dict[str, Latency]:
    every = Counter[int]()
    for how in _ANSWERED:
        every.update(by_way.get(how, {}))
    named = {"all": every, **by_way}
    return {
        how: Latency(p50_ms=p50, p90_ms=p90, p99_ms=p99)
        for how, buckets in named.items()
        for p50, p90, p99 in [map(_ms, percentiles(buckets, _PARTS))]
    }


def _hottest(hot: Iterable[Hot]) -> list[dict[str, Any]]:
    calls, models = Counter[tuple[str, str]](), dict[tuple[str, str], str]()
    for each in hot:
        at = each.namespace, each.digest.hex()
        calls[at] += each.calls
        models[at] = each.model
    return [
        {"key": at[1], "namespace": at[0], "model": models[at], "calls": count}
        for at, count in calls.most_common(_MOST_HOT)
    ]


def _ms(seconds: float) -> float | None:
    return None if math.isnan(seconds) else round(seconds * 1000, 3)


def _sum(money: Iterable[float | None]) -> float | None:
    told = [each for each in money if each is not None]
    return round(sum(told), 6) if told else None


@dataclass(slots=True)
class Since:
    """What went by since the last look: rates of a fleet that is looked at again and again."""

    before: dict[str, int] = field(default_factory=dict[str, int])
    at: float | None = None

    def rates(self, fleet: Fleet, now: float) -> dict[str, float]:
        """Counts per second since the last look; empty at the first."""
        then, before = self.at, self.before
        self.at, self.before = now, fleet.counters
        if then is None or now <= then:
            return {}
        # a worker that is gone takes its counts along: no rate is below 0
        return {
            name: max(0, count - before.get(name, 0)) / (now - then)
            for name, count in fleet.counters.items()
        }
