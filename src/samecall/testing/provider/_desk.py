"""What the stub knows and decides: counts, the gate, scripts and answers. No network."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from samecall.testing.provider._ask import Ask
from samecall.testing.provider._behaviour import Answer, Behaviour

__all__ = ["Desk", "Predicate", "Request"]

Predicate = Callable[[Ask], bool]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    json: dict[str, Any]


@dataclass(slots=True)
class _Script:
    matches: Predicate
    queue: deque[Behaviour]


@dataclass(slots=True)
class Desk:
    """The stub's memory; used from its event loop only."""

    kept: int = 1000
    calls: int = 0
    calls_by_prompt: Counter[str] = field(default_factory=Counter[str])
    in_flight: int = 0
    most_in_flight: int = 0
    waiting: int = 0
    requests: deque[Request] = field(default_factory=deque[Request])
    _scripts: list[_Script] = field(default_factory=list[_Script])
    _answers: dict[str, Answer] = field(default_factory=dict[str, Answer])
    _held: bool = False
    _release: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def script(self, matching: str | Predicate | None, behaviours: tuple[Behaviour, ...]) -> None:
        """Queue behaviours, one a call, for one prompt, for what a predicate takes, or for all."""
        self._scripts.append(_Script(_predicate(matching), deque(behaviours)))

    def answer(self, prompt: str, answer: Answer) -> None:
        """Answer a prompt so from now on."""
        self._answers[prompt] = answer

    async def arrive(self, ask: Ask, request: Request) -> Behaviour | None:
        """Count a call in and say what is to be done with it (None: answer by its schema)."""
        self.calls += 1
        self.calls_by_prompt[ask.prompt] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.requests.append(request)
        while len(self.requests) > self.kept:
            self.requests.popleft()
        behaviour = self._next(ask)
        await self._tell()
        return behaviour

    async def leave(self) -> None:
        """Count a call out."""
        self.in_flight -= 1
        await self._tell()

    async def pass_gate(self) -> None:
        """Return at once if the gate is open, else when it opens."""
        if self._held:
            await self.next_release()

    async def next_release(self) -> None:
        """Return when the gate is opened the next time, whether it is held now or not."""
        release = self._release
        self.waiting += 1
        try:
            await self._tell()
            await release.wait()
        finally:
            self.waiting -= 1

    def hold(self) -> None:
        """Close the gate."""
        self._held = True

    def release(self) -> None:
        """Open the gate and let all go on that wait."""
        self._held = False
        self._release.set()
        self._release = asyncio.Event()

    async def until(self, true: Callable[[Desk], bool]) -> None:
        """Return once `true` of this desk."""
        async with self._changed:
            await self._changed.wait_for(lambda: true(self))

    def reset(self) -> None:
        """Counts, scripts, answers and requests to nothing; calls in flight stay counted."""
        self.calls, self.most_in_flight = 0, self.in_flight
        self.calls_by_prompt.clear()
        self.requests.clear()
        self._scripts.clear()
        self._answers.clear()

    def explicit(self, ask: Ask) -> Answer | None:
        """The answer that was set for this prompt."""
        return self._answers.get(ask.prompt)

    def _next(self, ask: Ask) -> Behaviour | None:
        for script in self._scripts:
            if script.queue and script.matches(ask):
                return script.queue.popleft()
        return None

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _predicate(matching: str | Predicate | None) -> Predicate:
    if matching is None:
        return lambda ask: True
    if isinstance(matching, str):
        return lambda ask: ask.prompt == matching
    return matching
