"""The providers whose SDKs do not install beside the others: rows of docs/providers.md, too.

`nox -s apart` runs this in an environment for each; without its SDK a row is not run here.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

import pytest
from provider_apart import APART, APART_BY_NAME, Desk, apart, installed
from provider_clients import AT_HOME
from test_providers import APART_MODES, COLUMN, asked, check, page, quoted, stored

import instructor
from instructor import AsyncInstructor, Mode
from samecall import Cache, SamecallWarning
from samecall.instructor import cached
from samecall.testing import StubProvider

LONGEST = 100.0  # seconds: Google's SDKs try for half a minute before they say so
NO_AIM = "`from_provider` takes no base URL; by hand: below"


@pytest.fixture
def desk(stub: StubProvider) -> Desk:
    return Desk(stub)


def question(client: AsyncInstructor) -> dict[str, Any]:
    # xAI's own `create` takes no default of the client's
    return {**asked(client), "model": "m"} if client.provider.value == "xai" else asked(client)


async def told(client: AsyncInstructor, desk: Desk, package: str) -> str:
    """`works`, with what of a hit is not the miss again; or raises."""
    many = client.mode in Mode.parallel_modes()
    async with Cache() as cache:
        ours = cached(client, cache)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SamecallWarning)
            value, raw = await ours.create_with_completion(**question(client))
            await stored(cache)
            again, raw_again = await ours.create_with_completion(**question(client))
            third = await ours.create(**question(client))
        uncached = cache.statistics().uncached
    if many:
        value, again, third = list(value), list(again), list(third)
    assert value == again == third, "a hit's model differs"
    assert type(value) is type(again) is type(third), "a hit's model is of another class"
    if uncached:
        return f"works, uncached: {desk.calls} calls for {desk.calls}"
    assert desk.calls == 1, f"{desk.calls} provider calls"
    assert raw is None or type(raw).__module__.split(".")[0] == package
    if type(raw_again) is type(raw) and raw_again == raw:
        return "works"
    return f"works; a hit's completion is a `{type(raw_again).__name__}`"


async def outcome(connect: Any, desk: Desk, package: str) -> str:
    """What is told of a client, or the error of the failing run in one line."""
    with mock.patch.dict(os.environ, AT_HOME):
        bare: AsyncInstructor | None = None
        try:
            async with asyncio.timeout(LONGEST), connect as bare:
                try:
                    return await told(bare, desk, package)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is quoted
                    answered = await answer_of(bare)
                    return f"{'works without the cache; ' if answered else ''}{quoted(error)}"
        except TimeoutError:
            return f"`TimeoutError: no answer in {LONGEST:.0f} s`"
        except Exception as error:  # noqa: BLE001 - the same
            return quoted(error)


async def answer_of(bare: AsyncInstructor) -> bool:
    try:
        await bare.create(**question(bare))
    except Exception:  # noqa: BLE001 - the same
        return False
    return True


@asynccontextmanager
async def by_name(provider: str) -> AsyncIterator[AsyncInstructor]:
    more: dict[str, Any] = {}
    if provider == "vertexai":
        from google.auth.credentials import AnonymousCredentials

        more = {"project": "p", "credentials": AnonymousCredentials()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield instructor.from_provider(f"{provider}/m", async_client=True, api_key="k", **more)


@pytest.mark.timeout(3 * LONGEST)
@pytest.mark.parametrize("provider", APART_BY_NAME)
async def test_from_provider(provider: str, desk: Desk) -> None:
    if not installed(APART_BY_NAME[provider]):
        pytest.skip("its SDK has an environment of its own: nox -s apart")
    said = await outcome(by_name(provider), desk, APART[APART_BY_NAME[provider]][3])
    check(provider, "", f"{said} ({NO_AIM})" if said != "works" else said)


@pytest.mark.timeout(3 * LONGEST)
@pytest.mark.parametrize(
    ("name", "mode"), APART_MODES, ids=[f"{n}-{m.name}" for n, m in APART_MODES]
)
async def test_every_mode(name: str, mode: Mode, desk: Desk) -> None:
    if not installed(name):
        pytest.skip("its SDK has an environment of its own: nox -s apart")
    check(name, mode.name, await outcome(apart(name, mode, desk), desk, APART[name][3]))


def test_every_row_tells_of_a_run() -> None:
    """With the SDK or without: the page quotes a run, and no reason of ours."""
    for key in [
        *((name, "") for name in APART_BY_NAME),
        *((name, mode.name) for name, mode in APART_MODES),
    ]:
        said = page()[key][COLUMN]
        assert said.startswith(("works", "`")), key
