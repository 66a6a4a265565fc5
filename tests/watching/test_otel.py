"""OpenTelemetry with its real SDK, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import time_ns
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from watch_support import Priced

from samecall import Cache
from samecall._entry import Key
from samecall._events import CallAnswered
from samecall._memory import MemoryStore
from samecall.otel import OpenTelemetryObserver
from samecall.testing import GatedProvider


class Told:
    """One process's telemetry."""

    def __init__(self, sampler: Any = None, **more: Any) -> None:
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracing = TracerProvider(sampler=sampler)
        self.tracing.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.metering = MeterProvider([self.reader])
        self.tracer = self.tracing.get_tracer("test")
        self.observer = OpenTelemetryObserver(
            tracer_provider=self.tracing, meter_provider=self.metering, **more
        )

    def spans(self, name: str) -> list[Any]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def metric(self, name: str) -> dict[frozenset[tuple[str, Any]], Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            frozenset((point.attributes or {}).items()): point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        }


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    yield told
    told.tracing.shutdown()
    told.metering.shutdown()


MODEL = {"gen_ai.request.model": "gpt-4o-mini", "gen_ai.provider.name": "openai"}


async def test_a_follower_elsewhere_is_linked_to_its_leaders_span() -> None:
    here, there, store, provider = Told(), Told(), MemoryStore(), GatedProvider[str]()
    one, two = Cache(store, observers=[here.observer]), Cache(store, observers=[there.observer])
    with here.tracer.start_as_current_span("request here") as asking:
        leading = asyncio.ensure_future(one.get_or_call("k", provider, codec=Priced()))
        await provider.until_waiting(1)
    with there.tracer.start_as_current_span("request there") as waiting:
        following = asyncio.ensure_future(two.get_or_call("k", provider, codec=Priced()))
        while not store.statistics().listeners:
            await asyncio.sleep(0)
    provider.answer("yes")
    assert await asyncio.gather(leading, following) == ["yes", "yes"]

    [call] = here.spans("chat gpt-4o-mini")
    [led] = here.spans("samecall led")
    [followed] = there.spans("samecall coalesced_remote")
    assert call.parent.span_id == led.parent.span_id == asking.get_span_context().span_id
    assert followed.parent.span_id == waiting.get_span_context().span_id
    [link] = followed.links
    assert link.context.span_id == call.context.span_id
    assert link.context.trace_id == call.context.trace_id
    assert link.context.is_remote
    assert followed.attributes["samecall.flight"] == call.attributes["samecall.flight"]
    assert followed.attributes["samecall.saved.input_tokens"] == 1000
    assert there.spans("chat gpt-4o-mini") == []
    await one.aclose()
    await two.aclose()


async def test_the_call_follows_the_genai_conventions_and_holds_the_sdks_spans(told: Told) -> None:
    async def call() -> str:
        with told.tracer.start_as_current_span("POST"):
            return "yes"

    async with Cache(observers=[told.observer]) as cache:
        await cache.get_or_call("k", call, codec=Priced())
    [span], [http] = told.spans("chat gpt-4o-mini"), told.spans("POST")
    assert http.parent.span_id == span.context.span_id
    assert span.kind is trace.SpanKind.CLIENT
    assert (
        span.attributes.items()
        >= {
            **MODEL,
            "gen_ai.operation.name": "chat",
            "gen_ai.usage.input_tokens": 1000,
            "gen_ai.usage.output_tokens": 100,
            "samecall.namespace": "default",
        }.items()
    )
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_a_function_that_asks_no_model_is_no_genai_call(told: Told) -> None:
    async with Cache(observers=[told.observer]) as cache:

        @cache.memoize
        async def area(side: int) -> int:
            return side * side

        assert [await area(2), await area(2)] == [4, 4]
    [span] = told.spans("samecall provider call")
    assert span.kind is trace.SpanKind.INTERNAL
    assert not any(name.startswith("gen_ai.") for name in span.attributes)
    assert told.metric("gen_ai.client.operation.duration") == {}
    assert told.metric("samecall.calls")[frozenset({"samecall.how": "led"}.items())].value == 1


async def test_an_error_is_the_spans_error(told: Told) -> None:
    async def call() -> str:
        raise ValueError("no")

    async with Cache(observers=[told.observer]) as cache:
        for mode in ("use", "bypass"):
            with pytest.raises(ValueError, match="no"):
                await cache.get_or_call("k", call, codec=Priced(), mode=mode)  # type: ignore[arg-type]
    for span in told.spans("chat gpt-4o-mini"):
        assert span.attributes["error.type"] == "ValueError"
        assert span.status.status_code is trace.StatusCode.ERROR
    assert len(told.spans("samecall led")) == len(told.spans("samecall bypass")) == 1
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_a_cancelled_call_ends_its_span(told: Told) -> None:
    cache, provider = Cache(observers=[told.observer]), GatedProvider[str]()
    task = asyncio.ensure_future(cache.get_or_call("k", provider, mode="bypass"))
    await provider.until_waiting(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    [span] = told.spans("chat") or told.spans("samecall provider call")
    assert span.attributes["error.type"] == "CancelledError"
    await cache.aclose()


async def test_the_metrics(told: Told) -> None:
    async def call() -> str:
        return "yes"

    async with Cache(observers=[told.observer]) as cache:
        for _ in range(3):
            await cache.get_or_call("k", call, codec=Priced())
    calls = told.metric("samecall.calls")
    assert calls[frozenset({**MODEL, "samecall.how": "l1"}.items())].value == 2
    assert calls[frozenset({**MODEL, "samecall.how": "led"}.items())].value == 1
    saved = told.metric("samecall.saved.tokens")
    assert saved[frozenset({**MODEL, "gen_ai.token.type": "input"}.items())].value == 2000
    assert saved[frozenset({**MODEL, "gen_ai.token.type": "output"}.items())].value == 200
    asked = {**MODEL, "gen_ai.operation.name": "chat"}
    assert told.metric("gen_ai.client.operation.duration")[frozenset(asked.items())].count == 1
    used = told.metric("gen_ai.client.token.usage")
    assert used[frozenset({**asked, "gen_ai.token.type": "input"}.items())].sum == 1000
    assert used[frozenset({**asked, "gen_ai.token.type": "output"}.items())].sum == 100
    assert told.metric("samecall.breaker.open")[frozenset()].value == 0


def answered(how: str, **more: Any) -> CallAnswered:
    return CallAnswered(Key(b"k" * 32), how, 0.5, **more)


async def test_of_free_answers_a_hundred_a_second_are_timed(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are counted, with their time; what was paid for, or failed, is timed whatever comes."""
    now = 7.0
    monkeypatch.setattr(
        "samecall.otel.time", SimpleNamespace(monotonic=lambda: now, time_ns=time_ns)
    )
    for _ in range(2):
        for _ in range(150):
            told.observer.on_event(answered("l2"))
        now += 1
    for _ in range(150):
        told.observer.on_event(answered("led"))
    for _ in range(150):
        told.observer.on_event(answered("l2", error="ValidationError"))
    counts = {
        point.attributes.get("error.type", point.attributes["samecall.how"]): point.count
        for point in told.metric("samecall.call.duration").values()
    }
    assert counts == {"l2": 200, "led": 150, "ValidationError": 150}
    free = frozenset({"samecall.how": "l2"}.items())
    assert told.metric("samecall.calls")[free].value == 300
    assert told.metric("samecall.calls.time")[free].value == 150.0


@pytest.mark.parametrize(("callers", "spans"), [(True, 2), (False, 0)])
async def test_callers_are_spans_unless_they_are_many(*, callers: bool, spans: int) -> None:
    told = Told(callers=callers)

    async def call() -> str:
        await asyncio.sleep(0)
        return "yes"

    async with Cache(observers=[told.observer]) as cache:
        asking = (cache.get_or_call("k", call, codec=Priced()) for _ in range(2))
        assert await asyncio.gather(*asking) == ["yes", "yes"]
    assert len(told.spans("samecall led") + told.spans("samecall coalesced_local")) == spans
    assert len(told.spans("chat gpt-4o-mini")) == 1
    calls = told.metric("samecall.calls")
    assert {dict(labels)["samecall.how"] for labels in calls} == {"led", "coalesced_local"}


@pytest.mark.parametrize(("hits", "spans"), [(False, 0), (True, 2)])
async def test_hits_are_spans_only_when_asked_for(*, hits: bool, spans: int) -> None:
    told = Told(hits=hits)

    async def call() -> str:
        return "yes"

    async with Cache(observers=[told.observer]) as cache:
        for _ in range(3):
            await cache.get_or_call("k", call)
    found = told.spans("samecall l1")
    assert len(found) == spans
    [led] = told.spans("samecall provider call") or told.spans("chat")
    for span in found:
        assert span.links[0].context.span_id == led.context.span_id


async def test_an_instrumented_sdk_tells_its_own_genai_spans() -> None:
    told = Told(genai=False)

    async def call() -> str:
        return "yes"

    async with Cache(observers=[told.observer]) as cache:
        await cache.get_or_call("k", call, codec=Priced())
    [span] = told.spans("samecall provider call")
    assert not any(name.startswith("gen_ai.") for name in span.attributes)
    assert span.kind is trace.SpanKind.INTERNAL
    assert told.metric("gen_ai.client.token.usage") == {}


async def test_a_trace_that_is_not_sampled_is_linked_all_the_same() -> None:
    here, there, store = Told(sampler=ALWAYS_OFF), Told(hits=True), MemoryStore()

    async def call() -> str:
        return "yes"

    for told in (here, there):
        await Cache(store, l1=None, observers=[told.observer]).get_or_call("k", call)
    assert here.exporter.get_finished_spans() == ()
    [hit] = there.spans("samecall l2")
    [link] = hit.links
    assert not link.context.trace_flags.sampled


@pytest.mark.parametrize("trace_bytes", [b"", b"short", b"\0" * 25, b"x" * 32])
async def test_a_trace_of_somebody_else_is_no_link(told: Told, trace_bytes: bytes) -> None:
    told.observer.on_event(
        CallAnswered(Key(b"k" * 32), "coalesced_remote", 0.1, None, None, b"", trace_bytes)
    )
    [span] = told.spans("samecall coalesced_remote")
    assert span.links == ()
