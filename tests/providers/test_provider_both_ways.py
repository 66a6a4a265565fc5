"""One entry for both ways to ask: the table in docs/streams.md, row by row."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from provider_clients import Client, by_hand
from stream_ask import ASK, User, take
from test_provider_streams import OTHERS, WHOLE, quiet, unless_instructor_cannot

from instructor import Mode
from samecall import Cache
from samecall.instructor import cached
from samecall.testing import StubProvider

__all__ = ["quiet"]  # a fixture

PAGE = Path(__file__).parents[2] / "docs" / "streams.md"
HIT, MISS, NONE = "a hit", "asks anew", "-"


def _table() -> dict[str, list[str]]:
    rows = re.findall(
        r"^\| `(from_\w+)` \| ([A-Z_, ]+) \| (.*) \|$", PAGE.read_text(), re.MULTILINE
    )
    return {
        f"{name} {mode}": [cell.strip() for cell in cells.split("|")]
        for name, modes, cells in rows
        for mode in modes.split(", ")
    }


async def call(client: Client, helper: str) -> Any:
    """A call that does not stream: the model, or the SDK's completion."""
    model = User if helper == "create_partial" else None
    return await client.create(response_model=model, messages=ASK)


async def way(bare: Client, helper: str, stub: StubProvider, *, streamed: bool) -> str:
    """Whether what was streamed (or not) answers the other way to ask."""
    async with Cache() as cache:
        client = cached(bare, cache)
        first, then = (take, call) if streamed else (call, take)
        try:
            before = await first(client, helper)
            calls = stub.calls
            after = await then(client, helper)
        except Exception:  # noqa: BLE001 - instructor or the SDK has no such way
            return NONE
    if stub.calls > calls:
        return MISS
    if helper == "create_partial":
        model, parts = (after, before) if streamed else (before, after)
        assert parts[-1].model_dump() == model.model_dump()
    return HIT


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")  # fireworks newest, in instructor
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("name", "mode"), [*WHOLE, *OTHERS])
async def test_both_ways(name: str, mode: Mode, stub: StubProvider) -> None:
    async with by_hand(name, mode, stub) as bare:
        await unless_instructor_cannot(bare, stub)
        row = [
            await way(bare, helper, stub, streamed=streamed)
            for helper in ("create_partial", "stream=True")
            for streamed in (True, False)
        ]
    assert row == _table().get(f"{name} {mode.name}")
