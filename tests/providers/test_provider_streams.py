"""A stream is the same for all: every SDK, mode and helper, by every way to it, item for item."""

from __future__ import annotations

import asyncio
import base64
import gc
import logging
import os
import pickle
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from provider_clients import by_hand
from redis.asyncio import Redis
from stream_ask import ASK, HELPERS, User, take

from instructor import AsyncInstructor, Mode
from samecall import Cache, Policy
from samecall.instructor import cached
from samecall.testing import StubProvider
from samecall.testing.provider import CutAfter, HoldAfter
from samecall.testing.servers import LocalServer

# by every way, across processes too
WHOLE = [
    ("from_openai", Mode.TOOLS),
    ("from_openai", Mode.JSON),
    ("from_openai", Mode.JSON_SCHEMA),
    ("from_openai", Mode.MD_JSON),
    ("from_openai", Mode.RESPONSES_TOOLS),
    ("from_anthropic", Mode.TOOLS),
    ("from_anthropic", Mode.JSON),
    ("from_anthropic", Mode.JSON_SCHEMA),
    ("from_genai", Mode.TOOLS),
    ("from_genai", Mode.JSON),
]
TABLE = [(name, mode, helper) for name, mode in WHOLE for helper in HELPERS]
TABLE.remove(("from_anthropic", Mode.JSON_SCHEMA, "stream=True"))  # it takes a model only
# by the ways of one process: every other one whose streams the bare client reads
OTHERS = [
    ("from_cohere", Mode.TOOLS),
    ("from_mistral", Mode.MD_JSON),
    *(("from_cerebras", mode) for mode in (Mode.JSON, Mode.JSON_SCHEMA, Mode.MD_JSON)),
    *(
        (name, mode)
        for name in ("from_fireworks", "from_groq", "from_litellm", "from_openrouter")
        for mode in (Mode.JSON, Mode.JSON_SCHEMA, Mode.MD_JSON, Mode.TOOLS)
    ),
    *(("from_writer", mode) for mode in (Mode.JSON_SCHEMA, Mode.MD_JSON, Mode.TOOLS)),
    ("from_perplexity", Mode.MD_JSON),
]


class OtherProcess:
    """A process that asks what it is told to; its items come back pickled."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("stream_ask.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def ask(self, *words: str) -> tuple[str, list[Any]]:
        """(how the answer came, the items)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\t".join(words) + "\n")
        self._process.stdin.flush()
        line = await asyncio.to_thread(self._process.stdout.readline)
        how, told = line.split()
        return how, pickle.loads(base64.b64decode(told))

    def close(self) -> None:
        self._process.communicate(timeout=30)


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with LocalServer() as server:
        yield server.url


@pytest.fixture(scope="module")
def other() -> Iterator[OtherProcess]:
    other = OtherProcess()
    yield other
    other.close()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


def hold(name: str, mode: Mode) -> int:
    """After so many events the stub waits: Google sends a tool call in one, and texts in few."""
    if name == "from_genai":
        return 0 if mode is Mode.TOOLS else 1
    return 2


def same(items: list[Any], others: list[Any]) -> None:
    assert others == items
    assert [type(item) for item in others] == [type(item) for item in items]


async def unless_instructor_cannot(bare: AsyncInstructor, stub: StubProvider) -> None:
    """With SDKs that instructor was not made for, what fails without samecall is no fault here."""
    if os.environ.get("SAMECALL_SDKS") != "newest":
        return
    why = ""
    try:
        await take(bare, "create_partial")
    except Exception as error:  # noqa: BLE001 - whatever it is
        why = f"without samecall: {type(error).__name__}: {error}"
    if why:
        gc.collect()  # what it left is not to be laid at the next test's door
        pytest.xfail(why)
    stub.reset()


async def until_followed(redis: Redis, namespace: str) -> None:
    """Return once another process waits for what is asked here."""
    while not await redis.pubsub_channels(f"*{namespace}*"):
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(("name", "mode", "helper"), TABLE)
async def test_every_way_to_a_stream_gives_the_same_items(
    name: str,
    mode: Mode,
    helper: str,
    stub: StubProvider,
    redis_url: str,
    other: OtherProcess,
) -> None:
    """Leader, followers here and elsewhere, late ones, and hits of both kinds; one call."""
    namespace = f"streams-{secrets.token_hex(6)}"
    policy = Policy(op_timeout=30)
    words = (name, mode.name, helper, stub.url, redis_url, namespace)
    async with (
        by_hand(name, mode, stub) as bare,
        Cache(redis_url, namespace=namespace, policy=policy) as cache,
        Cache(redis_url, namespace=namespace, policy=policy, l1=None) as beside,
        Redis.from_url(redis_url) as redis,
    ):
        plain = await take(bare, helper)
        client = cached(bare, cache)
        stub.script(None, HoldAfter(hold(name, mode)))
        led = asyncio.create_task(take(client, helper))
        await stub.until_waiting(1)
        here = [asyncio.create_task(take(client, helper)) for _ in range(2)]
        while cache.statistics().calls < 3:
            await asyncio.sleep(0)
        elsewhere = asyncio.create_task(other.ask(*words))
        await until_followed(redis, namespace)
        stub.release()
        items = await led
        same(items, await take(client, helper))
        assert cache.statistics().l1_hits == 1
        for follower in here:
            same(items, await follower)
        how, followed = await elsewhere
        assert how == "coalesced_remote"
        same(items, followed)
        await stored(cache)
        same(items, await take(cached(bare, beside), helper))
        assert beside.statistics().l2_hits == 1
        how, hit = await other.ask(*words)
        assert how == "l2_hits"
        same(items, hit)
    assert stub.calls == 2  # one of them without the cache
    if helper == "stream=True":
        assert [type(item) for item in items] == [type(item) for item in plain]
    else:
        same(plain, items)


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")  # fireworks newest, in instructor
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("name", "mode"), OTHERS)
async def test_streams_of_every_other_sdk(name: str, mode: Mode, stub: StubProvider) -> None:
    """Leader, follower and hit in one process."""
    async with by_hand(name, mode, stub) as bare, Cache() as cache:
        await unless_instructor_cannot(bare, stub)
        client = cached(bare, cache)
        for helper in ("create_partial", "create_iterable"):
            plain = await take(bare, helper)
            led, followed = await asyncio.gather(take(client, helper), take(client, helper))
            same(plain, led)
            same(led, followed)
            same(led, await take(client, helper))
    assert stub.calls == 4


@pytest.mark.parametrize(("name", "mode"), [*WHOLE, *OTHERS])
@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:not cached")
async def test_part_of_a_stream_is_never_stored(name: str, mode: Mode, stub: StubProvider) -> None:
    """Not even where its body ends in good order: every provider has a last word."""
    policy = Policy(error_ttl=0)  # some SDKs miss it, too, and make an error of it
    async with by_hand(name, mode, stub) as bare, Cache(policy=policy) as cache:
        await unless_instructor_cannot(bare, stub)
        client = cached(bare, cache)
        stub.script(None, CutAfter(hold(name, mode), clean=True))
        with suppress(Exception):  # some of these parts pass validation, some don't
            await take(client, "create_partial")
        while cache.statistics().flights:
            await asyncio.sleep(0)
        assert cache.statistics().stored == 0
        whole = await take(client, "create_partial")
        assert stub.calls == 2
        assert type(whole[-1]) is User
        same(whole, await take(client, "create_partial"))
    assert stub.calls == 2


async def stored(cache: Cache) -> None:
    """Return when the answer is stored, which comes after its caller has it."""
    while not cache.statistics().stored:
        await asyncio.sleep(0.001)


# --- streams answer calls that do not stream, and the other way round -----------------------------


OWN_FORM = [("from_mistral", Mode.MD_JSON), ("from_cohere", Mode.TOOLS)]


@pytest.mark.parametrize(("name", "mode"), [*WHOLE, *OWN_FORM])
async def test_a_stored_stream_answers_a_call_that_does_not_stream(
    name: str, mode: Mode, stub: StubProvider
) -> None:
    """With the same model, and the completion that the stream was."""
    async with by_hand(name, mode, stub) as bare, Cache() as cache, Cache() as fresh:
        client = cached(bare, cache)
        parts = await take(client, "create_partial")
        user, raw = await client.create_with_completion(response_model=User, messages=ASK)
        assert stub.calls == 1
        assert cache.statistics().l1_hits == 1
        plain, plain_raw = await cached(bare, fresh).create_with_completion(
            response_model=User, messages=ASK
        )
        assert user.model_dump() == parts[-1].model_dump() == plain.model_dump()
        assert type(user) is type(plain)
        assert type(raw) is type(plain_raw)
        assert user._raw_response is raw
        again = await client.create(response_model=User, messages=ASK)
        assert again == user
        assert again._raw_response is not raw


@pytest.mark.parametrize(("name", "mode"), [*WHOLE, *OWN_FORM])
async def test_a_stored_answer_is_streamed(name: str, mode: Mode, stub: StubProvider) -> None:
    """In as few events as say it: the last item is what the stream would have come to."""
    async with by_hand(name, mode, stub) as bare, Cache() as cache:
        client = cached(bare, cache)
        user = await client.create(response_model=User, messages=ASK)
        parts = await take(client, "create_partial")
        assert stub.calls == 1
        assert parts[-1].model_dump() == user.model_dump()
        assert type(parts[-1]) is User
