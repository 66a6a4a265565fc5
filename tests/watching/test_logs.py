"""Structured logs, read by the standard library and by the real structlog."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog
from watch_support import Priced

from samecall import Cache, ConfigurationError
from samecall._entry import Key
from samecall._events import (
    BreakerChanged,
    CallAnswered,
    CallUncached,
    EntryUndecodable,
    ProviderAsked,
    ProviderCalled,
    StoreFaulted,
)
from samecall.logs import LogObserver

KEY = Key(b"\xab" * 32)


async def call() -> str:
    return "the secret answer"


async def test_records_carry_their_facts_as_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "samecall")
    async with Cache(observers=[LogObserver()]) as cache:
        for _ in range(2):
            await cache.get_or_call("the secret prompt", call, codec=Priced())
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert told == [
        ("DEBUG", "provider asked"),
        ("INFO", "provider answered"),
        ("INFO", "call answered"),
        ("DEBUG", "call answered"),
    ]
    hit = vars(caplog.records[-1])
    assert (hit["samecall_how"], hit["samecall_model"]) == ("l1", "gpt-4o-mini")
    assert (hit["samecall_input_tokens"], hit["samecall_output_tokens"]) == (1000, 100)
    assert "secret" not in str([vars(record) for record in caplog.records])


@pytest.mark.parametrize(
    ("event", "level", "message"),
    [
        (CallAnswered(KEY, "led", 1.0, "ValueError"), "WARNING", "call failed"),
        (CallAnswered(KEY, "coalesced_remote", 1.0), "INFO", "call answered"),
        (ProviderAsked(KEY), "DEBUG", "provider asked"),
        (ProviderCalled(KEY, 1.0, "ValueError"), "WARNING", "provider failed"),
        (CallUncached("x: y"), "WARNING", "call not cached"),
        (EntryUndecodable(KEY, "why"), "WARNING", "entry refused"),
        (StoreFaulted("get", "gone"), "WARNING", "store failed"),
        (BreakerChanged(open=True), "WARNING", "going on without the store"),
        (BreakerChanged(open=False), "INFO", "store is back"),
    ],
)
def test_every_event_has_its_level(event, level, message, caplog) -> None:
    caplog.set_level(logging.DEBUG, "app.cache")
    LogObserver(logging.getLogger("app.cache")).on_event(event)
    [record] = caplog.records
    assert (record.levelname, record.getMessage()) == (level, message)
    assert any(name.startswith("samecall_") for name in vars(record))


async def test_structlog_takes_the_fields_over() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logger = logging.getLogger("structured")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    async with Cache(observers=[LogObserver("structured")]) as cache:
        for _ in range(2):
            await cache.get_or_call("k", call, codec=Priced())
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["provider answered", "call answered"]
    assert lines[1]["samecall_how"] == "led"
    assert lines[1]["level"] == "info"


def test_a_logger_that_is_none() -> None:
    with pytest.raises(ConfigurationError, match="logger takes a name"):
        LogObserver(7)  # type: ignore[arg-type]
