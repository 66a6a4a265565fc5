"""Every provider of instructor through its real SDK and the cached client: docs/providers.md.

`SAMECALL_WRITE_PROVIDERS=1` writes what a run gives into the page; otherwise the page is checked.
`SAMECALL_SDKS=newest` says that the newest SDKs are installed, which have a column of their own.
"""

from __future__ import annotations

import asyncio
import os
import re
import traceback
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Union

import pytest
from provider_apart import APART, APART_BY_NAME
from provider_clients import BY_HAND, BY_NAME, NO_BASE_URL, by_hand, by_name, modes, modes_of
from pydantic import BaseModel

from instructor import AsyncInstructor, Mode
from samecall import Cache
from samecall.instructor import cached
from samecall.testing import StubProvider

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "providers.md"
COLUMN = {"bounds": 0, "newest": 1}[os.environ.get("SAMECALL_SDKS", "bounds")]
WRITE = bool(os.environ.get("SAMECALL_WRITE_PROVIDERS"))

HAND = [(name, mode) for name in BY_HAND for mode in modes(name)]
APART_MODES = [(name, mode) for name, row in APART.items() for mode in modes_of(row[2])]


class User(BaseModel):
    name: str
    age: int


class Admin(BaseModel):
    name: str
    rights: list[str]


def asked(client: AsyncInstructor, *, mode: Mode | None = None) -> dict[str, Any]:
    """A question to this client."""
    model: Any = User
    if (mode or client.mode) in Mode.parallel_modes():
        model = Iterable[Union[User, Admin]]  # noqa: UP007 - instructor takes no other spelling
    # from_provider drops LiteLLM's model, so it is named in the call
    named = {"model": "openai/m"} if client.client is None else {}
    messages = [{"role": "user", "content": "Who?"}]
    return {"response_model": model, "messages": messages, "max_retries": 0, **named}


async def stored(cache: Cache) -> None:
    """Return when the answer is stored, which comes after its caller has it."""
    for _ in range(1000):
        statistics = cache.statistics()
        if statistics.stored or statistics.uncached:
            return
        await asyncio.sleep(0.001)
    raise AssertionError("the answer was neither stored nor counted as uncached")


async def ask_cached(bare: AsyncInstructor, stub: StubProvider, package: str) -> None:
    """One provider call for three of ours; the hits are the miss again."""
    async with Cache() as cache:
        client = cached(bare, cache)
        value, raw = await client.create_with_completion(**asked(bare))
        await stored(cache)
        again, raw_again = await client.create_with_completion(**asked(bare))
        third = await client.create(**asked(bare))
    if bare.mode in Mode.parallel_modes():
        value, again, third = list(value), list(again), list(third)
    assert stub.calls == 1, f"{stub.calls} provider calls"
    assert value == again == third, "a hit's model differs"
    assert type(value) is type(again) is type(third), "a hit's model is of another class"
    assert type(raw).__module__.split(".")[0] == package, f"a {type(raw).__qualname__}"
    assert type(raw_again) is type(raw), "a hit's completion is of another class"
    assert raw_again == raw, "a hit's completion differs"


async def outcome(
    connect: AbstractAsyncContextManager[AsyncInstructor], stub: StubProvider, package: str
) -> str:
    """`works`, or the error of the failing run in one line."""
    bare: AsyncInstructor | None = None
    try:
        async with connect as bare, asyncio.timeout(10):
            try:
                await ask_cached(bare, stub, package)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is quoted
                # what fails here fails without the cache too, or it is our fault
                answered = await answer_of(bare)
                return f"{'works without the cache; ' if answered else ''}{quoted(error)}"
    except Exception as error:  # noqa: BLE001 - the same
        return quoted(error)
    return "works"


async def answer_of(bare: AsyncInstructor) -> bool:
    """Whether the client answers without the cache."""
    try:
        await bare.create(**asked(bare))
    except Exception:  # noqa: BLE001 - the same
        return False
    return True


def quoted(error: BaseException) -> str:
    """An error in one line that is the same on every machine and day."""
    details = getattr(error, "details", None)
    told = str(details()) if callable(details) else str(error)  # gRPC's has a page of its own
    if not told and (frames := traceback.extract_tb(error.__traceback__)):
        told = f"in {Path(frames[-1].filename).parent.name}, {frames[-1].line}"
    text = " ".join(f"{type(error).__name__}: {told}".split())
    text = re.sub(r"<[^>]*>|'date': '[^']*', |0x[0-9a-f]+|127\.0\.0\.1:\d+", "", text)
    return f"`{text[:160].strip().replace('|', '/').replace('`', chr(39))}`"


def page() -> dict[tuple[str, str], list[str]]:
    """The page's rows: (client, mode) to what it says under instructor's bounds and newest."""
    rows = re.findall(r"^\| `([^`]+)` \| (\S*) \| (.*) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    return {(client, mode): [bounds, newest] for client, mode, bounds, newest in rows}


def write(client: str, mode: str, said: str) -> None:
    """Put one cell into the page."""
    rows = page()
    rows.setdefault((client, mode), ["", ""])[COLUMN] = said
    head = PAGE.read_text().partition("\n| client |")[0]
    order = [(name, "") for name in (*BY_NAME, *APART_BY_NAME)]
    order += [(name, each.name) for name, each in HAND + APART_MODES]
    order = [key for key in order if key in rows]
    lines = ["| client | mode | within instructor's bounds | newest |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {of} | {' | '.join(rows[name, of])} |" for name, of in order]
    PAGE.write_text(head + "\n" + "\n".join(lines) + "\n")


def check(client: str, mode: str, said: str) -> None:
    """What the page says of a row is what its run gives; of an error, its class counts."""
    if WRITE:
        write(client, mode, said)
    told = page()[client, mode][COLUMN]
    assert said.split(":", maxsplit=1)[0] == told.split(":")[0]
    assert "without the cache" not in said


@pytest.mark.parametrize("name", BY_NAME)
async def test_from_provider(name: str, stub: StubProvider) -> None:
    """`from_provider` in its default mode."""
    said = await outcome(by_name(name, stub), stub, BY_NAME[name][2])
    if name in NO_BASE_URL and said != "works":
        said += f" ({NO_BASE_URL[name]}; by hand: below)"
    check(name, "", said)


@pytest.mark.parametrize(("name", "mode"), HAND, ids=[f"{n}-{m.name}" for n, m in HAND])
async def test_every_mode(name: str, mode: Mode, stub: StubProvider) -> None:
    """A client made by hand, in every mode that instructor offers for it."""
    check(name, mode.name, await outcome(by_hand(name, mode, stub), stub, BY_HAND[name][2]))


def test_every_provider_has_a_row() -> None:
    """The page has a row for all that `from_provider` knows, and no other row."""
    from instructor.v2 import auto_client

    known = {*auto_client._PROVIDER_BUILDERS}
    assert known == {*BY_NAME, *APART_BY_NAME}
    assert {*page()} == {*((n, "") for n in known), *((n, m.name) for n, m in HAND + APART_MODES)}


async def test_the_page_would_not_hide_a_second_call(stub: StubProvider) -> None:
    """A client that calls its provider at every hit is not said to work."""
    async with by_hand("from_openai", Mode.TOOLS, stub) as bare:
        await bare.create(**asked(bare))
        with pytest.raises(AssertionError, match="2 provider calls"):
            await ask_cached(bare, stub, "openai")
