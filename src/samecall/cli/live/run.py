"""The course of `samecall demo --stream`: one leads, two follow, one comes late."""

from __future__ import annotations

import time
from typing import Any, Protocol

import msgspec

from samecall.cli._trouble import Trouble
from samecall.cli.fleet.stage import stage
from samecall.cli.live.worker import ANSWER, PROMPT, Setup, Took, work
from samecall.testing.crew import Crew, WorkerLost

__all__ = ["ROLES", "Reader", "StreamReport", "Watcher", "run"]

ROLES = ("leader", "follower", "follower", "late follower")
_LATE = len(ROLES) - 1
_LATE_AT = 40  # items of the leader's, when the last one asks
_PAUSE = 0.05  # seconds between two events of the provider
_LIMIT = 180.0
_GLANCE = 0.1


class Reader(msgspec.Struct, frozen=True, kw_only=True):
    """One process's part. `asked_at`: items that the leader had when this one asked.

    first_ms, seconds: from its asking to the first item, and to the last.
    """

    role: str
    asked_at: int
    items: int
    first_ms: float
    seconds: float
    how: str


class StreamReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo found; `once`: one provider call, and the same items for all."""

    once: bool
    same_items: bool
    provider_calls: int
    store: str
    seconds: float
    readers: list[Reader]
    errors: list[str]


class Watcher(Protocol):
    """Shows what goes on."""

    def says(self, text: str) -> None:
        """What goes on before the stream."""
        ...

    def shows(self, reader: int, items: int, item: dict[str, Any]) -> None:
        """The newest item of a reader."""
        ...


def run(redis: str | None, watcher: Watcher) -> StreamReport:
    """The whole demo. Raises `Trouble` for what is not there and for a worker that is lost."""
    began = time.monotonic()
    watcher.says("starting the servers")
    with stage(redis, latency=0.5, chunk_delay=_PAUSE, chunk_chars=4) as on:
        setup = msgspec.to_builtins(Setup(on.store_url, on.namespace, on.provider.openai_url))
        try:
            with Crew(work, [setup] * len(ROLES)) as crew:
                watcher.says(f"starting {len(ROLES)} processes")
                crew.gather("ready", _LIMIT)
                on.provider.reset()  # the warm-up does not count
                on.provider.answer(PROMPT, ANSWER)
                course = _Course(crew, watcher)
                course.go()
                crew.tell(None)
                crew.gather("closed", _LIMIT)
        except WorkerLost as error:
            raise Trouble(str(error)) from None
        return course.report(on.provider.calls, on.store, time.monotonic() - began)


class _Course:
    """Who has asked, and what has come of it."""

    def __init__(self, crew: Crew, watcher: Watcher) -> None:
        self._crew, self._watcher = crew, watcher
        self._items = [0] * len(ROLES)
        self._asked: dict[int, int] = {}
        self._took: dict[int, Took] = {}
        self._errors: dict[int, str] = {}

    def go(self) -> None:
        """Let all ask, each at its time, until all have their answer."""
        end = time.monotonic() + _LIMIT
        self._ask(0)
        while len(self._took) + len(self._errors) < len(ROLES):
            if time.monotonic() > end:
                raise WorkerLost(f"the stream was not read within {_LIMIT:g} s")
            for reader, (kind, body) in self._crew.hear(_GLANCE):
                self._note(reader, kind, body)
            led = self._items[0]
            over = 0 in self._took or 0 in self._errors
            for reader in range(1, len(ROLES)):
                if led >= (_LATE_AT if reader == _LATE else 1) or over:
                    self._ask(reader)

    def _ask(self, reader: int) -> None:
        if reader not in self._asked:
            self._asked[reader] = self._items[0]
            self._crew.tell("go", reader)

    def _note(self, reader: int, kind: str, body: Any) -> None:
        if kind == "item":
            self._items[reader] += 1
            self._watcher.shows(reader, self._items[reader], body)
        elif kind == "took":
            self._took[reader] = msgspec.convert(body, Took)
        elif kind == "failed":
            self._errors[reader] = body

    def report(self, provider_calls: int, store: str, seconds: float) -> StreamReport:
        """What came of it."""
        same = len({took.digest for took in self._took.values()}) == 1 and not self._errors
        return StreamReport(
            once=same and provider_calls == 1,
            same_items=same,
            provider_calls=provider_calls,
            store=store,
            seconds=round(seconds, 3),
            readers=[self._reader(*each) for each in sorted(self._took.items())],
            errors=[f"{ROLES[reader]}: {told}" for reader, told in sorted(self._errors.items())],
        )

    def _reader(self, reader: int, took: Took) -> Reader:
        return Reader(
            role=ROLES[reader],
            asked_at=self._asked[reader],
            items=took.items,
            first_ms=round(took.first * 1000, 1),
            seconds=round(took.whole, 3),
            how=took.how,
        )
