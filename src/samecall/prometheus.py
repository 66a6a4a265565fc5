"""A cache's numbers for Prometheus: `pip install "samecall[prometheus]"`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from samecall._events import Event, HearsHits
from samecall._gauges import BOUNDS, FREE, Label, Series, Watch

__all__ = ["PrometheusObserver"]

_LABELS = ["how", "error", "model", "provider"]
_ASKED = ["error", "model", "provider"]
_EDGES = [*(str(bound) for bound in BOUNDS), "+Inf"]


class PrometheusObserver(Collector):
    """An observer that is a collector, too: `Cache(..., observers=[PrometheusObserver()])`.

    registry: where it registers itself (default: the client's own; None: nowhere). One may
    observe several caches; their numbers are added up.

    Metrics: `samecall_calls_total`, `samecall_call_seconds` (a histogram), both by how, error,
    model, provider; `samecall_provider_calls_total`, `samecall_provider_call_seconds`,
    `samecall_paid_tokens_total`, `samecall_saved_tokens_total`; `samecall_store_faults_total` by
    operation, `samecall_undecodable_total`, `samecall_uncached_total`, `samecall_breaker_open`.
    """

    def __init__(self, registry: CollectorRegistry | None = REGISTRY) -> None:
        self._watch = Watch()
        if registry is not None:
            registry.register(self)

    @property
    def on_hit(self) -> HearsHits:
        """See `Observer`."""
        return self._watch.hit

    def on_event(self, event: Event) -> None:
        """See `Observer`."""
        self._watch.take(event)

    def describe(self) -> Iterable[Metric]:
        """No metric before the first call: registering must not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        """What a scrape gets."""
        calls, provider = self._watch.calls(), self._watch.provider()
        yield _counted("samecall_calls", "Calls by how they were answered.", calls, _LABELS)
        yield _timed("samecall_call_seconds", "Seconds until an answer.", calls, _LABELS)
        yield _counted("samecall_provider_calls", "Calls to a provider.", provider, _ASKED)
        yield _timed("samecall_provider_call_seconds", "Seconds of these.", provider, _ASKED)
        yield _tokens("samecall_paid_tokens", "Tokens that providers were paid for.", provider)
        free = {at: series for at, series in calls.items() if at[0] in FREE}
        yield _tokens("samecall_saved_tokens", "Tokens of answers that cost nothing.", free)
        faults = CounterMetricFamily(
            "samecall_store_faults", "Store operations that failed.", labels=["operation"]
        )
        for operation, count in tuple(self._watch.faults.items()):
            faults.add_metric([operation], count)
        yield faults
        yield CounterMetricFamily(
            "samecall_undecodable", "Entries that were refused.", self._watch.undecodable
        )
        yield CounterMetricFamily(
            "samecall_uncached", "Calls and answers that cannot be cached.", self._watch.uncached
        )
        yield GaugeMetricFamily(
            "samecall_breaker_open", "1 while calls go on without the store.", self._watch.open
        )


def _counted(
    name: str, text: str, series: dict[Label, Series], labels: list[str]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for at, each in series.items():
        family.add_metric(at[-len(labels) :], each.count)
    return family


def _timed(
    name: str, text: str, series: dict[Label, Series], labels: list[str]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=labels)
    for at, each in series.items():
        edges = list(zip(_EDGES, itertools.accumulate(each.buckets), strict=True))
        family.add_metric(at[-len(labels) :], edges, sum_value=each.seconds)
    return family


def _tokens(name: str, text: str, series: dict[Label, Series]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=["kind", "model", "provider"])
    sums: dict[tuple[str, str, str], int] = {}
    for (_, _, model, provider), each in series.items():
        for kind, count in (("input", each.input), ("output", each.output)):
            at = kind, model, provider
            sums[at] = sums.get(at, 0) + count
    for at, count in sums.items():
        family.add_metric(at, count)
    return family
