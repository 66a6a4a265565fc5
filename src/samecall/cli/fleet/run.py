"""The demo's course: stage, crew, two waves with samecall, the same two without."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec

from samecall.cli._trouble import Trouble
from samecall.cli.fleet.plan import Plan
from samecall.cli.fleet.stage import Stage, stage
from samecall.cli.fleet.tally import Phase, Report, report, tally
from samecall.cli.fleet.worker import Order, Setup, Share, work
from samecall.testing.crew import Crew, WorkerLost

__all__ = ["Course", "Watcher", "crew_of", "run"]

_START_LIMIT = 60.0
_GLANCE = 0.2
_FIRST, _SECOND, _BARE = "first wave", "second wave", "without samecall"


class Watcher(Protocol):
    """Shows what goes on. `visible`: whether anybody sees it."""

    visible: bool

    def says(self, text: str) -> None:
        """What goes on before and between the phases."""
        ...

    def begins(self, phase: str, calls: int) -> None:
        """A phase of so many calls."""
        ...

    def moves(self, answered: int, provider_calls: int) -> None:
        """So many calls of the phase are answered; the provider has counted so many."""
        ...


def run(plan: Plan, redis: str | None, watcher: Watcher) -> Report:
    """The whole demo. Raises `Trouble` for what is not there and for a worker that is lost."""
    began = time.monotonic()
    watcher.says("starting the servers")
    with stage(redis, plan.latency) as on:
        try:
            with crew_of(plan, on, watcher) as crew:
                course = Course(plan, on, crew, watcher)
                phases = course.phases()
                course.dismiss()
        except WorkerLost as error:
            raise Trouble(str(error)) from None
        return report(plan, on.store, phases, time.monotonic() - began)


@contextmanager
def crew_of(plan: Plan, on: Stage, watcher: Watcher) -> Generator[Crew]:
    """The workers, ready; raises `WorkerLost`."""
    setup = msgspec.to_builtins(Setup(on.store_url, on.namespace, on.provider.openai_url))
    with Crew(work, [setup] * plan.workers) as crew:
        watcher.says(f"starting {plan.workers} workers")
        crew.gather("ready", _START_LIMIT + plan.latency)  # a warm-up call is made
        yield crew


class Course:
    """The phases, one after the other; `concurrency` calls at a time in each worker (0: all)."""

    def __init__(
        self, plan: Plan, on: Stage, crew: Crew, watcher: Watcher, concurrency: int = 0
    ) -> None:
        self._plan, self._on, self._crew, self._watcher = plan, on, crew, watcher
        self._concurrency = concurrency
        self._limit = 120.0 + plan.calls * 0.05 + plan.latency * 20

    def phases(self) -> list[Phase]:
        """Two waves with samecall, and the same two without."""
        first, second = self._plan.waves()
        return [
            self.phase(_FIRST, [first], cached=True),
            self.phase(_SECOND, [second], cached=True),
            self.phase(_BARE, [first, second], cached=False),
        ]

    def dismiss(self) -> None:
        """Send the workers home, and wait until they have gone."""
        self._crew.tell(None)
        self._crew.gather("closed", _START_LIMIT)

    def phase(self, name: str, waves: list[list[list[int]]], *, cached: bool) -> Phase:
        """Some waves, one after the other, and what the provider counted meanwhile."""
        asked = [number for wave in waves for part in wave for number in part]
        self._on.provider.reset()
        self._watcher.begins(name, len(asked))
        began, shares, done = time.monotonic(), list[Share](), 0
        for wave in waves:
            shares += self._wave(wave, done, cached=cached)
            done = sum(len(share.latencies) for share in shares)
        took = time.monotonic() - began
        counted: Counter[str] = self._on.provider.calls_by_prompt
        self._watcher.moves(done, sum(counted.values()))
        return tally(name, asked, shares, counted, took)

    def _wave(self, wave: list[list[int]], before: int, *, cached: bool) -> list[Share]:
        for worker, asked in enumerate(wave):
            self._crew.tell(msgspec.to_builtins(Order(asked, cached, self._concurrency)), worker)
        end = time.monotonic() + self._limit
        done: dict[int, int] = {}
        shares: dict[int, Share] = {}
        while len(shares) < len(wave):
            if time.monotonic() > end:
                raise WorkerLost(f"a wave was not answered within {self._limit:g} s")
            for worker, (kind, body) in self._crew.hear(_GLANCE):
                self._note(worker, kind, body, done, shares)
            if self._watcher.visible:
                self._watcher.moves(before + sum(done.values()), self._on.provider.calls)
        return list(shares.values())

    def _note(
        self, worker: int, kind: str, body: Any, done: dict[int, int], shares: dict[int, Share]
    ) -> None:
        if kind == "progress":
            done[worker] = body
        elif kind == "share":
            shares[worker] = msgspec.convert(body, Share, str_keys=False)
            done[worker] = len(shares[worker].latencies)
