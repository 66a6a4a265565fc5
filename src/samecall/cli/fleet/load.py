"""A load test: rounds of calls from a fleet, drawn by Zipf's law, while the cache fills."""

from __future__ import annotations

import random
import time
from collections import Counter

import msgspec

from samecall.cli._trouble import Trouble
from samecall.cli.fleet.plan import Plan
from samecall.cli.fleet.run import Course, Watcher, crew_of
from samecall.cli.fleet.stage import stage
from samecall.cli.fleet.tally import Phase
from samecall.testing.crew import WorkerLost

__all__ = ["Load", "LoadReport", "Round", "load"]


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """The load: in each round `plan.calls` calls, `concurrency` at a time in each worker.

    zipf: the k-th prompt is 1/k**zipf as frequent as the first; 0: all alike.
    """

    plan: Plan
    rounds: int
    zipf: float
    concurrency: int

    def waves(self) -> list[list[list[int]]]:
        """The numbers of the prompts, by round and worker."""
        plan = self.plan
        draw = random.Random(plan.seed)  # noqa: S311 - a repeatable draw, nothing secret
        weights = [1 / rank**self.zipf for rank in range(1, plan.prompts + 1)]
        return [
            [asked[worker :: plan.workers] for worker in range(plan.workers)]
            for asked in (
                draw.choices(range(plan.prompts), weights, k=plan.calls) for _ in range(self.rounds)
            )
        ]


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One round. `hit_rate`: the part of the calls that the provider was not asked for."""

    number: int
    calls: int
    seconds: float
    calls_per_second: float
    hit_rate: float
    l1_hits: int
    l2_hits: int
    coalesced: int
    provider_calls: int
    p50_ms: float
    p99_ms: float
    errors: int


class LoadReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the load test found; `once`: no prompt was paid for twice, and every call answered."""

    once: bool
    store: str
    workers: int
    concurrency: int
    calls: int
    distinct_prompts: int
    provider_calls: int
    calls_per_second: float
    hit_rate: float
    seconds: float
    first_error: str
    rounds: list[Round]


def load(of: Load, url: str | None, watcher: Watcher) -> LoadReport:
    """The whole load test. Raises `Trouble` for what is not there and for a worker that is lost."""
    began, waves = time.monotonic(), of.waves()
    watcher.says("starting the servers")
    with stage(url, of.plan.latency, "--url") as on:
        try:
            with crew_of(of.plan, on, watcher) as crew:
                course = Course(of.plan, on, crew, watcher, of.concurrency)
                phases = [
                    course.phase(f"round {number} of {of.rounds}", [wave], cached=True)
                    for number, wave in enumerate(waves, 1)
                ]
                course.dismiss()
        except WorkerLost as error:
            raise Trouble(str(error)) from None
        asked = Counter(number for wave in waves for part in wave for number in part)
        return _report(of, on.store, phases, len(asked), time.monotonic() - began)


def _report(of: Load, store: str, phases: list[Phase], distinct: int, took: float) -> LoadReport:
    rounds = [_round(number, phase) for number, phase in enumerate(phases, 1)]
    calls, paid = sum(r.calls for r in rounds), sum(r.provider_calls for r in rounds)
    errors = [error for phase in phases for error in phase.errors]
    return LoadReport(
        once=paid == distinct and not errors,
        store=store,
        workers=of.plan.workers,
        concurrency=of.concurrency,
        calls=calls,
        distinct_prompts=distinct,
        provider_calls=paid,
        calls_per_second=round(calls / sum(r.seconds for r in rounds), 1),
        hit_rate=round(1 - paid / calls, 4),
        seconds=round(took, 3),
        first_error=errors[0] if errors else "",
        rounds=rounds,
    )


def _round(number: int, phase: Phase) -> Round:
    return Round(
        number=number,
        calls=phase.calls,
        seconds=phase.seconds,
        calls_per_second=round(phase.calls / max(phase.seconds, 1e-6), 1),
        hit_rate=round(max(0.0, 1 - phase.provider_calls / phase.calls), 4),
        l1_hits=phase.l1_hits,
        l2_hits=phase.l2_hits,
        coalesced=phase.coalesced_local + phase.coalesced_remote,
        provider_calls=phase.provider_calls,
        p50_ms=phase.p50_ms,
        p99_ms=phase.p99_ms,
        errors=len(phase.errors),
    )
