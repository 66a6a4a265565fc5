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
from test_accounts import User, digest
from test_providers import APART_MODES, COLUMN, asked, check, page, quoted, stored

import instructor
from instructor import AsyncInstructor, Mode
from samecall import Cache, SamecallWarning, Unkeyable
from samecall.instructor import cached, key_of
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
        # xAI's SDK shows nobody whose calls its are
        account = "tests" if client.provider.value == "xai" else None
        ours = cached(client, cache, account=account)
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


# --- whose calls they are ------------------------------------------------------------------------


@pytest.mark.skipif(not installed("from_xai"), reason="xAI's SDK: nox -s apart")
async def test_xai_shows_nobody_its_login() -> None:
    """So its account has to be named, or the call goes uncached."""
    from xai_sdk.aio.client import Client

    client = instructor.from_xai(Client(api_key="k", api_host="localhost:1"), model="m")
    with pytest.raises(Unkeyable, match=r"^account: .*cached\(client, cache, account="):
        digest(client)
    assert digest(client, account="a") != digest(client, account="b")


def _gemini(key: str, url: str, model: str = "m", **settings: Any) -> Any:
    import google.generativeai as genai

    genai.configure(api_key=key, transport="rest", client_options={"api_endpoint": url})
    return instructor.from_gemini(genai.GenerativeModel(model, **settings))


@pytest.mark.skipif(not installed("from_gemini"), reason="Gemini's old SDK: nox -s apart")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_what_a_gemini_model_was_made_with_separates() -> None:
    one = digest(_gemini("key-1", "http://localhost:1"))
    assert digest(_gemini("key-1", "http://localhost:1")) == one
    others = [
        _gemini("key-2", "http://localhost:1"),
        _gemini("key-1", "http://localhost:2"),
        _gemini("key-1", "http://localhost:1", "other"),
        _gemini("key-1", "http://localhost:1", system_instruction="be short"),
        _gemini("key-1", "http://localhost:1", generation_config={"temperature": 0}),
        _gemini("key-1", "http://localhost:1", safety_settings={"HATE": "BLOCK_NONE"}),
        _gemini("key-1", "http://localhost:1", tools="code_execution"),
        _gemini("key-1", "http://localhost:1", tool_config={"function_calling_config": "ANY"}),
    ]
    # a model takes what `configure` said last, until it is connected
    _gemini("key-1", "http://localhost:1")
    assert len({one, *map(digest, others[2:])}) == len(others) - 1
    for key, url in (("key-2", "http://localhost:1"), ("key-1", "http://localhost:2")):
        assert digest(_gemini(key, url)) != one


@pytest.mark.skipif(not installed("from_gemini"), reason="Gemini's old SDK: nox -s apart")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_connected_gemini_model_stays_with_its_key() -> None:
    client = _gemini("key-1", "http://localhost:1")
    ours = cached(client, Cache())

    def asked() -> str:
        return key_of(ours, response_model=User, messages=[]).hex

    before = asked()
    from google.generativeai.client import get_default_generative_client

    client.client._client = get_default_generative_client()
    _gemini("key-2", "http://localhost:1")
    assert asked() == before


@pytest.mark.skipif(not installed("from_vertexai"), reason="Vertex AI's SDK: nox -s apart")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_what_a_vertexai_model_was_made_with_separates() -> None:
    import vertexai
    import vertexai.generative_models as gm
    from google.auth.credentials import AnonymousCredentials

    def made(
        project: str = "p", place: str = "us-central1", model: str = "m", **settings: Any
    ) -> str:
        vertexai.init(project=project, location=place, credentials=AnonymousCredentials())
        of = gm.GenerativeModel(model, **settings)
        return digest(instructor.from_vertexai(of, use_async=True))

    def tool(name: str) -> Any:
        said = gm.FunctionDeclaration(name=name, parameters={"type": "object"})
        return gm.Tool([said])

    keys = [
        made(),
        made("q"),
        made(place="europe-west1"),
        made(model="other"),
        made(system_instruction="be short"),
        made(system_instruction=["be", gm.Part.from_text("short")]),
        made(generation_config={"temperature": 0}),
        made(generation_config=gm.GenerationConfig(temperature=1)),
        made(tools=[tool("a")]),
        made(tools=[tool("b")]),
        made(
            tool_config=gm.ToolConfig(
                gm.ToolConfig.FunctionCallingConfig(gm.ToolConfig.FunctionCallingConfig.Mode.ANY)
            )
        ),
    ]
    assert len(set(keys)) == len(keys)
    assert made() == keys[0]
    assert made(labels={"team": "a"}) == keys[0]
