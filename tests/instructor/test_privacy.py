"""No prompt, answer or secret in anything that the library emits, or in the names of its keys."""

from __future__ import annotations

import logging
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import BaseModel
from redis.asyncio import Redis, RedisCluster

import instructor
from samecall import Cache, CacheMiss, Key, Policy, SamecallError, Seal
from samecall._entry import MAGIC, STAMP_END
from samecall._envelopes import PLAIN
from samecall._key import DIGEST_SIZE
from samecall.instructor import NativeCache, cached, key_of
from samecall.logs import LogObserver
from samecall.otel import OpenTelemetryObserver
from samecall.prometheus import PrometheusObserver
from samecall.testing import LocalCluster, StubProvider
from samecall.testing.provider import Status

PROMPT, ANSWER, VARY = "planted prompt 7c1", "planted-answer-9d2", "planted-tenant-3e4"
SHORT = "7c1 HIV"  # shorter than any window
API_KEY, SECRET, TOKEN = "sk-planted-key-5f6", b"planted-secret-77", "planted-kwarg-8a9"
KEY = b"planted-seal-key" * 2
PLANTED = (PROMPT, SHORT, ANSWER, VARY, API_KEY, SECRET.decode(), TOKEN, KEY.decode(), KEY.hex())


class Person(BaseModel):
    name: str


class Ears:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_event(self, event: Any) -> None:
        self.heard.append(event)


async def everything(cache: Cache, provider: StubProvider, said: list[str]) -> None:
    """A miss, hits, followers, an error, a damaged entry, and every kind of refusal."""
    sdk = openai.AsyncOpenAI(api_key=API_KEY, base_url=provider.openai_url, max_retries=0)
    client = cached(instructor.from_openai(sdk, model="stub-1"), cache)
    messages = [{"role": "user", "content": PROMPT}]
    asked: dict[str, Any] = {"response_model": Person, "messages": messages, "cache_vary": VARY}
    for _ in range(2):
        assert (await client.create(**asked)).name == ANSWER
    await client.create(**asked, cache_mode="refresh")
    await client.create(**asked, context={"note": TOKEN, "thing": object()})  # cannot be keyed
    key = key_of(client, **asked)
    said += [repr(key), str(key), repr(cache), repr(cache.statistics()), repr(cache.policy)]
    said.append(repr(await cache._rooms.here().store.get(key, 1.0)))
    await cache.forget(key)
    for wrong in (
        client.create(**asked, cache_mode="only"),
        cache.get_or_call(PROMPT, lambda: None, mode="only"),
        cache.get_or_call(object(), lambda: None),
    ):
        with pytest.raises(SamecallError) as raised:
            await wrong
        said += [str(raised.value), repr(raised.value)]

    @cache.memoize
    async def ask(text: str, thing: object = None) -> Any:
        return {"said": ANSWER} if thing is None else Person(name=ANSWER)

    await ask(PROMPT)
    await ask(PROMPT, object())
    await ask(PROMPT, 3)
    said += [repr(ask), repr(ask.key_of(PROMPT))]
    await client.create(**asked)
    await sdk.close()


async def refused(cache: Cache, provider: StubProvider, said: list[str]) -> None:
    """An error that quotes the prompt, told to another process; rules and tags that fail."""
    sdk = openai.AsyncOpenAI(api_key=API_KEY, base_url=provider.openai_url, max_retries=0)
    client = cached(instructor.from_openai(sdk, model="stub-1"), cache)
    for text in (f"{PROMPT}, is it bad?", SHORT, f"1970\n{SHORT}\n'x'"):
        provider.script(text, Status(400, message=f"refused: {text} (key {API_KEY})"))
        asked: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
        with pytest.raises(Exception, match="refused"):
            await client.create(**asked, response_model=Person, max_retries=1)

    def quotes(*what: Any) -> Any:
        raise ValueError(what)

    asked = {"response_model": Person, "messages": [{"role": "user", "content": PROMPT}]}
    base = cache.policy
    policies = [base.replace(should_store=quotes), base.replace(lifetime=quotes)]
    policies.append(base.replace(lifetime=lambda person: person.name))
    for number, policy in enumerate(policies):
        await client.create(**asked, cache_policy=policy, cache_vary=number)
    await client.create(**asked, context={"a": {PROMPT: object()}})
    for tags in (PROMPT, [PROMPT * 20], [PROMPT + "\ud800"]):
        with pytest.raises(SamecallError) as raised:
            await client.create(**asked, cache_tags=tags)
        said.append(str(raised.value))
    await sdk.close()


class Watchers:
    """All observers that there are, and all that they emit."""

    def __init__(self) -> None:
        self._ears = Ears()
        self._spans, self._metrics = InMemorySpanExporter(), InMemoryMetricReader()
        self._registry = CollectorRegistry()
        traces = TracerProvider()
        traces.add_span_processor(SimpleSpanProcessor(self._spans))
        meters = MeterProvider([self._metrics])
        self.all = (
            self._ears,
            LogObserver(),
            PrometheusObserver(registry=self._registry),
            OpenTelemetryObserver(hits=True, tracer_provider=traces, meter_provider=meters),
        )

    def said(self, records: list[logging.LogRecord]) -> list[str]:
        logged = [record for record in records if record.name.startswith("samecall")]
        assert len(logged) > 10
        return [
            *map(repr, self._ears.heard),
            *(f"{record.getMessage()} {record.__dict__!r}" for record in logged),
            *(span.to_json() for span in self._spans.get_finished_spans()),
            str(self._metrics.get_metrics_data()),
            generate_latest(self._registry).decode(),
        ]


@pytest.fixture(scope="module")
def cluster_url() -> Iterator[str]:
    with LocalCluster() as cluster:
        yield cluster.url


@pytest.mark.parametrize("sealed", [False, True], ids=["open", "sealed"])
@pytest.mark.parametrize("where", ["redis", "cluster", "disk"])
async def test_nothing_that_was_planted_is_seen(
    request: pytest.FixtureRequest,
    where: str,
    sealed: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="samecall")
    seal = Seal({"a": KEY}, "a") if sealed else None
    watchers, said, space = Watchers(), list[str](), f"privacy-{sealed}"
    file = tmp_path / "cache.db"
    url = f"disk://{file}" if where == "disk" else request.getfixturevalue(f"{where}_url")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        async with StubProvider() as provider:
            provider.answer(PROMPT, {"name": ANSWER})
            async with Cache(
                url,
                namespace=space,
                policy=Policy(error_ttl=600),
                secret=SECRET,
                seal=seal,
                observers=watchers.all,
            ) as cache:
                await everything(cache, provider, said)
                await refused(cache, provider, said)
                said += [repr(seal), repr(cache._rooms.envelopes)]
    said += watchers.said(caplog.records)
    said += [str(each.message) for each in told if "samecall" in each.category.__module__]
    names, values = on_disk(file) if where == "disk" else await in_redis(url, space)
    assert len(values) > 3
    said += names
    kept = [opened(value) for value in values if value.startswith(MAGIC) and not sealed]
    assert sealed or any("refused: [" in text for text in kept)
    if sealed:
        kept = [value.decode("latin-1") for value in values]
    for planted in PLANTED:
        assert not [text for text in said if planted in text]
        if sealed or planted != ANSWER:
            assert not [text for text in kept if planted in text]


async def in_redis(url: str, space: str) -> tuple[list[str], list[bytes]]:
    """The names of all keys, and what stands in them."""
    raw: Any = (
        RedisCluster.from_url(url.replace("+cluster", "").partition(",")[0], protocol=2)
        if "cluster" in url
        else Redis.from_url(url.replace("redis+unix", "unix"), protocol=2)
    )
    names = [name async for name in raw.scan_iter(match=f"*{space}*")]
    values = [await raw.get(name) for name in names if await raw.type(name) == b"string"]
    await raw.aclose()
    return [name.decode() for name in names], [value for value in values if value]


def on_disk(file: Path) -> tuple[list[str], list[bytes]]:
    """All that the file says in words, and the rows of entries; as a whole, too."""
    connection = sqlite3.connect(file)
    words = [line for line in connection.iterdump() if '"entries"' not in line]
    values: list[bytes] = [data for (data,) in connection.execute("SELECT data FROM entries")]
    connection.close()
    return words, [*values, file.read_bytes()]


def opened(data: bytes) -> str:
    """An entry as who reads the store sees it: an answer, or what is told of an error."""
    key = Key(data[STAMP_END : STAMP_END + DIGEST_SIZE])
    return PLAIN.read(key, data, left=1.0, now=0.0).payload.data.decode("utf-8", "replace")


def test_a_native_cache_is_as_silent() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        native = NativeCache("memory://")
        native.set(PROMPT, object())
        native.set(PROMPT, [ANSWER, {ANSWER}])
    assert len(told) == 2
    for planted in PLANTED:
        assert not [each for each in told if planted in str(each.message)]


def test_the_search_can_fail() -> None:
    assert CacheMiss(f"{PROMPT}").args[0] in PLANTED
