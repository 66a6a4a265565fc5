"""Events counted by label, cheaply: what `samecall.otel` and `samecall.prometheus` hand on."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from operator import attrgetter

from samecall._entry import Key, Spent
from samecall._events import (
    BreakerChanged,
    CallAnswered,
    CallUncached,
    EntryUndecodable,
    Event,
    ProviderCalled,
    StoreFaulted,
)

__all__ = ["BOUNDS", "FREE", "Label", "Series", "Watch"]

BOUNDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0,
)  # fmt: skip
"""Upper bounds of the latency buckets in seconds; one more has none."""
FREE = frozenset({"l1", "l2", "coalesced_local", "coalesced_remote"})
"""The ways to an answer that no provider was asked for."""
_MODELS = 100
_HEARD = 1_000
_ENTRIES, _TIMES = 1_024, 256
_FACTS = attrgetter("how", "error", "leader", "seconds", "spent")
_OTHER = ("other", "")

Label = tuple[str, str, str, str]
"""How, class of the error or "", model, provider."""


class Series:
    """What has been counted under one label."""

    __slots__ = ("buckets", "count", "input", "output", "seconds")

    def __init__(self) -> None:
        self.count = self.input = self.output = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(BOUNDS) + 1)

    def add(self, seconds: float, spent: Spent | None) -> None:
        self.count += 1
        self.seconds += seconds
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        if spent is not None:
            self.input += spent.input
            self.output += spent.output

    def add_all(self, times: list[float], spent: Spent | None) -> None:
        """As `add` for each of them; sorts them."""
        self.count += len(times)
        self.seconds += sum(times)
        times.sort()
        below = 0
        for index, bound in enumerate(BOUNDS):
            until = bisect_right(times, bound, below)
            self.buckets[index] += until - below
            below = until
            if below == len(times):
                break
        self.buckets[-1] += len(times) - below
        if spent is not None:
            self.input += spent.input * len(times)
            self.output += spent.output * len(times)

    def copy(self) -> Series:
        """What is there now."""
        other = Series()
        other.count, other.input, other.output = self.count, self.input, self.output
        other.seconds, other.buckets = self.seconds, [*self.buckets]
        return other


_Hits = tuple[list[float], Spent | None]


class Watch:
    """Counts events; any thread may read. At most 100 models are told apart."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heard: list[CallAnswered] = []
        self._hits: dict[bytes, _Hits] = {}
        self._before: tuple[_Hits, ...] = ()
        self._calls: dict[Label, Series] = {}
        self._provider: dict[Label, Series] = {}
        self._models: set[tuple[str, str]] = set()
        self.faults = Counter[str]()
        self.undecodable = 0
        self.uncached = 0
        self.open = False

    def take(self, event: Event) -> None:
        """Count one event."""
        if type(event) is CallAnswered:  # every hit comes here: counted later, many at a time
            heard = self._heard
            heard.append(event)
            if len(heard) >= _HEARD:
                self._fold()
            return
        with self._lock:
            self._take(event)

    def hit(self, key: Key, seconds: float, spent: Spent | None, leader: bytes) -> None:
        """Count a hit in memory; of one entry nothing differs but the time."""
        hits = self._hits.get(leader)
        if hits is None:
            hits = self._first(leader, spent)
        times = hits[0]
        times.append(seconds)
        if len(times) >= _TIMES:
            self._fold_hits((hits,))

    def _first(self, leader: bytes, spent: Spent | None) -> _Hits:
        if len(self._hits) >= _ENTRIES:
            # another thread may be about to add to one of these: it is not lost before the second
            # time, and nobody takes that long
            self._fold_hits(self._before)
            self._before, self._hits = tuple(self._hits.values()), {}
        return self._hits.setdefault(leader, ([], spent))

    def _fold_hits(self, hits: Iterable[_Hits]) -> None:
        with self._lock:
            for times, spent in hits:
                batch = times[:]
                del times[: len(batch)]
                if batch:
                    self._series(self._calls, "l1", None, spent).add_all(batch, spent)

    def _fold(self) -> None:
        self._fold_hits((*self._before, *tuple(self._hits.values())))
        with self._lock:
            heard = self._heard
            count = len(heard)  # other threads may append meanwhile
            batch = heard[:count]
            del heard[:count]
            known: dict[tuple[str, str | None, bytes], Series] = {}
            for how, error, leader, seconds, spent in map(_FACTS, batch):
                # answers of one leader cost the same; without one, nobody knows
                series = known.get((how, error, leader)) if leader else None
                if series is None:
                    series = self._series(self._calls, how, error, spent)
                    known[how, error, leader] = series
                series.count += 1
                series.seconds += seconds
                series.buckets[bisect_left(BOUNDS, seconds)] += 1
                if spent is not None:
                    series.input += spent.input
                    series.output += spent.output

    def _take(self, event: Event) -> None:
        match event:
            case ProviderCalled(seconds=seconds, error=error, spent=spent):
                self._series(self._provider, "provider", error, spent).add(seconds, spent)
            case StoreFaulted(operation=operation):
                self.faults[operation] += 1
            case EntryUndecodable():
                self.undecodable += 1
            case CallUncached():
                self.uncached += 1
            case BreakerChanged(open=is_open):
                self.open = is_open
            case _:
                pass

    def _series(
        self, held: dict[Label, Series], how: str, error: str | None, spent: Spent | None
    ) -> Series:
        at: Label = (
            (how, error or "", "", "")
            if spent is None
            else (how, error or "", spent.model, spent.provider)
        )
        series = held.get(at)
        if series is None:
            model, provider = at[2:]
            if (model, provider) not in self._models and len(self._models) >= _MODELS:
                model, provider = _OTHER
            self._models.add((model, provider))
            series = held.setdefault((how, error or "", model, provider), Series())
        return series

    def calls(self) -> dict[Label, Series]:
        """Answered calls by how they were answered."""
        self._fold()
        return self._copied(self._calls)

    def provider(self) -> dict[Label, Series]:
        """Calls that the provider was asked."""
        return self._copied(self._provider)

    def _copied(self, held: dict[Label, Series]) -> dict[Label, Series]:
        with self._lock:
            return {at: series.copy() for at, series in held.items()}
