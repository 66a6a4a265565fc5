"""The books of one event loop: what is counted of its calls, and told of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from samecall._entry import Entry, Key, Spent
from samecall._events import (
    TRACE,
    TRACE_MOST,
    CallAnswered,
    Event,
    HearsHits,
    ProviderAsked,
    ProviderCalled,
)
from samecall._outcome import COUNTED, Counters, Request
from samecall._ports import Clock
from samecall._tally import Tally

__all__ = ["Books", "bill"]

_SAMPLE = 16
"""Of so many calls that memory answers, one is timed for the report."""


@dataclass(slots=True, eq=False)
class Books:
    """Counts calls; tells observers of each, and a tally for the fleet's report.

    observed: whether anybody hears `emit`. tally: None where nothing is reported.
    """

    clock: Clock
    emit: Callable[[Event], None]
    tell: Callable[[Event], None]
    """As `emit`, for an event that no counter waits for."""
    counters: Counters
    observed: bool = False
    hits: tuple[HearsHits, ...] = ()
    """Those who hear of hits in memory, where all observers have a shorter way for that."""
    tally: Tally | None = None
    changed: Callable[[], None] | None = None
    """Called when the tally gets its first count since `quiet` was set."""
    quiet: bool = True

    # --- callers ---------------------------------------------------------------------------------

    def opened(self, request: Request) -> None:
        """A call comes in."""
        counters = self.counters
        counters.calls += 1
        if self.observed or (self.tally is not None and not counters.calls % _SAMPLE):
            request.began = self.clock.now()

    def starts(self) -> float:
        """When a call that memory may answer began, on the clock; -1.0: nobody asks."""
        if self.observed or (
            self.tally is not None and self.counters.calls % _SAMPLE == _SAMPLE - 1
        ):
            return self.clock.now()
        return -1.0

    def at_hand(self, key: Key, entry: Entry, began: float) -> None:
        """Count a call that memory answers, which `starts` has seen."""
        counters, tally = self.counters, self.tally
        calls = counters.calls = counters.calls + 1
        counters.l1_hits += 1
        if tally is not None:
            line = tally.near.get(entry.stamp)
            if line is None:
                tally.hit("l1", key, entry)
            else:
                line.calls += 1
            if self.quiet:
                self._wake()
        if began < 0.0:
            return
        seconds = self.clock.now() - began
        if tally is not None and not calls % _SAMPLE:
            tally.took("l1", seconds, _SAMPLE)
        if not self.observed:
            return
        spent = entry.payload.spent
        if self.hits:  # no record is made, and nobody is called between
            try:
                for hit in self.hits:
                    hit(key, seconds, spent, entry.stamp)
                return
            except Exception:  # noqa: BLE001 - told once more: what is raised there is a warning
                self.hits = ()
        self.tell(CallAnswered(key, "l1", seconds, None, spent, entry.stamp, entry.trace))

    def asks(self, request: Request) -> None:
        """Memory has no answer: the clock runs for each of these."""
        if request.began < 0.0 and self.tally is not None:
            request.began = self.clock.now()
            request.timed = True

    def answered(self, request: Request, answer: object) -> object:
        """Count one answered call, and hand its answer on."""
        how, counters = request.how, self.counters
        name = COUNTED[how]
        setattr(counters, name, getattr(counters, name) + 1)
        if request.stale:
            counters.stale += 1
        if self.tally is not None:
            if request.entry is not None:
                self.tally.hit(how, request.key, request.entry)
            elif request.spent is not None:
                self.tally.hit_by(how, request.key, request.leader, request.spent)
            if self.quiet:
                self._wake()
        if request.began >= 0.0:
            self._tell(request, None)
        return answer

    def failed(self, request: Request, error: BaseException) -> None:
        """Count one call that ends with an exception, its cancellation included."""
        self.counters.errors += 1
        if self.tally is not None and self.quiet:
            self._wake()
        if request.began >= 0.0:
            self._tell(request, type(error).__name__)

    def _wake(self) -> None:
        self.quiet = False
        if self.changed is not None:
            self.changed()

    def _tell(self, request: Request, error: str | None) -> None:
        how, entry = request.how, request.entry
        seconds = self.clock.now() - request.began
        if self.tally is not None:
            every = 1 if self.observed or request.timed else _SAMPLE
            self.tally.took("error" if error is not None else how, seconds, every)
        if not self.observed:
            return
        if entry is None:
            spent = request.spent or _about(request)
            leader, trace = request.leader, request.trace
        else:
            spent, leader, trace = entry.payload.spent, entry.stamp, entry.trace
        self.emit(CallAnswered(request.key, how, seconds, error, spent, leader, trace))

    # --- the provider ----------------------------------------------------------------------------

    def asked(self, request: Request, leader: bytes) -> None:
        """Count a call that goes to the provider now, in the context that it runs in."""
        self.counters.provider_calls += 1
        request.leader = leader
        if self.observed:
            self.emit(ProviderAsked(request.key, _about(request), leader))
            trace = TRACE.get()
            request.trace = trace if len(trace) <= TRACE_MOST else b""

    def dropped(self, request: Request, seconds: float) -> None:
        """The call was cancelled, and nobody knows what it cost."""
        if self.observed:
            spent, error = _about(request), "CancelledError"
            self.emit(ProviderCalled(request.key, seconds, error, spent, request.leader))

    def paid(
        self, request: Request, seconds: float, error: str | None, spent: Spent | None = None
    ) -> None:
        """Count a call that came to its end, and tell of it."""
        self.counters.provider_errors += error is not None
        if spent is None:
            spent = _about(request)
        if self.tally is not None:
            self.tally.took("provider", seconds)
            if spent is not None:
                self.tally.paid(spent, error)
        if self.observed:
            self.emit(ProviderCalled(request.key, seconds, error, spent, request.leader))


def bill(request: Request, answer: object) -> Spent | None:
    """What the call cost that gave this; None where its codec does not know."""
    return _asked(request.codec, "bill", answer)


def _about(request: Request) -> Spent | None:
    """Which model a request asks, with nothing spent; None where its codec does not know."""
    return _asked(request.codec, "about")


def _asked(codec: object, name: str, *of: object) -> Spent | None:
    asks = getattr(codec, name, None)
    if asks is None:
        return None
    try:
        told = asks(*of)
    except Exception:  # noqa: BLE001 - a codec's fault in what is only told must not cost a call
        return None
    return told if isinstance(told, Spent) else None
