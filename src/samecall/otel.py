"""Spans and metrics for OpenTelemetry, under its GenAI conventions: `samecall[otel]`.

https://opentelemetry.io/docs/specs/semconv/gen-ai/ names what begins with `gen_ai.`; what a cache
adds begins with `samecall.`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextvars import ContextVar, Token
from dataclasses import dataclass
from functools import lru_cache

from opentelemetry import context, metrics, trace
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TracerProvider,
)

from samecall._entry import Spent
from samecall._events import (
    TRACE,
    CallAnswered,
    Event,
    HearsHits,
    ProviderAsked,
    ProviderCalled,
)
from samecall._gauges import FREE, Watch
from samecall._genai import (
    MODEL,
    Attributes,
    asked_of,
    labels_of,
    model_of,
    place,
    tokens_saved,
)

__all__ = ["OpenTelemetryObserver"]

_NAME = "samecall"
_HITS = frozenset({"l1", "l2"})
_SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
_TOKENS = [4.0**power for power in range(14)]
_TRACE_SIZE = 25
_TIMED = 100


@dataclass(frozen=True, slots=True)
class _Open:
    """The span of a call that runs in this context, and what was there before."""

    span: Span
    token: Token[context.Context]
    outer: _Open | None


_open: ContextVar[_Open | None] = ContextVar("samecall_otel_open", default=None)


class OpenTelemetryObserver:
    """Tells OpenTelemetry of every call: `Cache(..., observers=[OpenTelemetryObserver()])`.

    Each call of a provider is a span, in which the SDK's own spans find themselves; each caller
    that waited for one is a span that links to it, in whichever process and trace it is.

    hits: whether calls that memory or the store answer are spans too (default False: a span costs
        as much as a hit; they are in the metrics all the same). callers: whether calls that waited
        for a provider are (default True; False where crowds follow a call). genai: whether the
        provider's spans and metrics are told under the GenAI conventions (default True; False where
        the SDK is instrumented and tells them itself). tracer_provider, meter_provider: default:
        the global ones.
    """

    def __init__(
        self,
        *,
        hits: bool = False,
        callers: bool = True,
        genai: bool = True,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        self._hits, self._callers, self._genai = hits, callers, genai
        self._second, self._timed = 0.0, 0
        self._watch = Watch()
        self._tracer = trace.get_tracer(_NAME, tracer_provider=tracer_provider)
        meter = metrics.get_meter(_NAME, meter_provider=meter_provider)
        self._took = meter.create_histogram(
            "samecall.call.duration",
            "s",
            f"Seconds until a caller had its answer; of free ones {_TIMED} a second at most, "
            "and no hits in memory, are timed.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._asked = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        counted = meter.create_observable_counter
        counted("samecall.calls", [self._calls], "{call}", "Calls by how they were answered.")
        counted("samecall.calls.time", [self._waited], "s", "Seconds that all these calls took.")
        counted("samecall.saved.tokens", [self._saved], "{token}", "Tokens of free answers.")
        counted("samecall.store.faults", [self._faults], "{fault}", "Store operations that failed.")
        counted("samecall.uncached", [self._uncached], "{call}", "Calls that cannot be cached.")
        counted("samecall.undecodable", [self._undecodable], "{entry}", "Entries refused.")
        meter.create_observable_gauge(
            "samecall.breaker.open", [self._breaker], "1", "1 while the store is not asked."
        )

    # --- events ----------------------------------------------------------------------------------

    @property
    def on_hit(self) -> HearsHits | None:
        """See `Observer`."""
        return None if self._hits else self._watch.hit

    def on_event(self, event: Event) -> None:
        """See `Observer`."""
        self._watch.take(event)
        kind = type(event)
        if kind is CallAnswered:
            if event.how != "l1" or self._hits:  # type: ignore[union-attr]
                self._answered(event)  # type: ignore[arg-type]
        elif kind is ProviderAsked:
            self._begin(event)  # type: ignore[arg-type]
        elif kind is ProviderCalled:
            self._end(event)  # type: ignore[arg-type]

    def _begin(self, event: ProviderAsked) -> None:
        asked = asked_of(event.about) if self._genai else {}
        span = self._tracer.start_span(
            f"chat {asked[MODEL]}" if asked else "samecall provider call",
            kind=SpanKind.CLIENT if asked else SpanKind.INTERNAL,
            attributes={**place(event.key, event.leader), **asked},
        )
        token = context.attach(trace.set_span_in_context(span))
        _open.set(_Open(span, token, _open.get()))
        TRACE.set(_packed(span.get_span_context()))

    def _end(self, event: ProviderCalled) -> None:
        if self._genai:
            self._measure(event)
        held = _open.get()
        if held is None:
            return
        _open.set(held.outer)
        context.detach(held.token)
        if self._genai and event.spent is not None and event.error is None:
            input_, output = event.spent.input, event.spent.output
            used = {"gen_ai.usage.input_tokens": input_, "gen_ai.usage.output_tokens": output}
            held.span.set_attributes(used)
        if event.error is not None:
            held.span.set_attribute("error.type", event.error)
            held.span.set_status(StatusCode.ERROR)
        held.span.end()

    def _measure(self, event: ProviderCalled) -> None:
        labels = asked_of(event.spent)
        if not labels:
            return
        if event.error is not None:
            labels["error.type"] = event.error
        self._asked.record(event.seconds, labels)
        if event.spent is not None and event.error is None:
            for kind, count in (("input", event.spent.input), ("output", event.spent.output)):
                self._tokens.record(count, {**labels, "gen_ai.token.type": kind})

    def _answered(self, event: CallAnswered) -> None:
        labels: Attributes = {"samecall.how": event.how, **model_of(event.spent)}
        if event.error is not None:
            labels["error.type"] = event.error
        if event.how not in FREE or event.error is not None or self._may_time():
            self._took.record(event.seconds, labels)
        if self._hits if event.how in _HITS else self._callers:
            self._span(event, labels)

    def _may_time(self) -> bool:
        # the SDK takes as long for it as a good part of a hit
        now = time.monotonic()
        if now - self._second >= 1:
            self._second, self._timed = now, 0
        self._timed += 1
        return self._timed <= _TIMED

    def _span(self, event: CallAnswered, labels: Attributes) -> None:
        now = time.time_ns()
        span = self._tracer.start_span(
            f"samecall {event.how}".rstrip(),
            start_time=now - int(event.seconds * 1e9),
            links=_links(event.trace),
            attributes=labels,
        )
        if span.is_recording():
            span.set_attributes({**place(event.key, event.leader), **tokens_saved(event)})
        if event.error is not None:
            span.set_status(StatusCode.ERROR)
        span.end(now)

    # --- what a reader asks for ------------------------------------------------------------------

    def _calls(self, _: CallbackOptions) -> Iterable[Observation]:
        for label, series in self._watch.calls().items():
            yield Observation(series.count, labels_of(label))

    def _waited(self, _: CallbackOptions) -> Iterable[Observation]:
        for label, series in self._watch.calls().items():
            yield Observation(series.seconds, labels_of(label))

    def _saved(self, _: CallbackOptions) -> Iterable[Observation]:
        sums: dict[tuple[str, str, str], int] = {}
        for (how, _error, model, provider), series in self._watch.calls().items():
            if how in FREE:
                for kind, count in (("input", series.input), ("output", series.output)):
                    at = kind, model, provider
                    sums[at] = sums.get(at, 0) + count
        for (kind, model, provider), count in sums.items():
            labels = model_of(Spent(model, provider))
            yield Observation(count, {**labels, "gen_ai.token.type": kind})

    def _faults(self, _: CallbackOptions) -> Iterable[Observation]:
        for operation, count in tuple(self._watch.faults.items()):
            yield Observation(count, {"samecall.operation": operation})

    def _uncached(self, _: CallbackOptions) -> Iterable[Observation]:
        yield Observation(self._watch.uncached)

    def _undecodable(self, _: CallbackOptions) -> Iterable[Observation]:
        yield Observation(self._watch.undecodable)

    def _breaker(self, _: CallbackOptions) -> Iterable[Observation]:
        yield Observation(int(self._watch.open))


def _packed(told: SpanContext) -> bytes:
    """W3C trace context, level 1: trace id, span id and flags."""
    if not told.is_valid:
        return b""
    flags = int(told.trace_flags)
    return told.trace_id.to_bytes(16, "big") + told.span_id.to_bytes(8, "big") + bytes([flags])


@lru_cache(maxsize=128)
def _links(told: bytes) -> tuple[Link, ...]:
    """To a leader's span; all who follow it ask for the same."""
    leader = _unpacked(told)
    return () if leader is None else (Link(leader, {"samecall.link": "leader"}),)


def _unpacked(data: bytes) -> SpanContext | None:
    if len(data) != _TRACE_SIZE:
        return None
    told = SpanContext(
        int.from_bytes(data[:16], "big"),
        int.from_bytes(data[16:24], "big"),
        is_remote=True,
        trace_flags=TraceFlags(data[24]),
    )
    return told if told.is_valid else None
