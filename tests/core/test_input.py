"""Arguments that cannot be used are named at once, and secrets stay secret."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import warnings
from datetime import timedelta
from typing import Any

import pytest
from core_support import World, virtual

from samecall import L1, Cache, ConfigurationError, Policy, SamecallWarning
from samecall._memory import MemoryStore
from samecall._ports import Event, ProviderCalled


@pytest.mark.parametrize("value", [-1, 0, math.nan, math.inf, "60", True, None, 1e30, 10**400, [1]])
@pytest.mark.parametrize("name", ["ttl", "lease", "op_timeout", "deadline"])
def test_a_duration_that_is_none(name: str, value: Any) -> None:
    """The argument and what it takes are named."""
    with pytest.raises(ConfigurationError, match=rf"{name} takes seconds .*timedelta"):
        Policy(**{name: value})


def test_durations_are_seconds_or_timedeltas() -> None:
    """Both come out as seconds."""
    assert Policy(ttl=timedelta(minutes=2)).ttl == Policy(ttl=120).ttl == 120.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"namespace": ""}, "namespace takes a string"),
        ({"namespace": 7}, "namespace takes a string"),
        ({"namespace": "x" * 201}, "namespace takes a string"),
        ({"policy": {"ttl": 1}}, "policy takes a Policy; got dict"),
        ({"l1": 100}, "l1 takes a L1"),
        ({"secret": b"short"}, "secret takes 16 bytes"),
        ({"secret": "a string of characters"}, "secret takes a bytes; got str"),
        ({"observers": 3}, "observers takes a tuple or list"),
        ({"observers": [3]}, r"observers takes what has on_event\(\); got 3"),
        ({"clock": 3}, r"clock takes what has now\(\); got 3"),
        ({"url_or_store": object()}, "url_or_store takes a URL, a samecall store"),
        ({"url_or_store": None}, "url_or_store takes"),
        ({"url_or_store": MemoryStore}, "url_or_store takes"),
        ({"url_or_store": "ftp://host"}, "url_or_store takes a URL of memory://"),
        ({"url_or_store": "memory"}, "url_or_store takes a URL"),
        ({"url_or_store": ""}, "url_or_store takes a URL"),
        ({"url_or_store": "http://[::1"}, "url_or_store takes a URL"),
        ({"url_or_store": "memory://x"}, "url_or_store: memory:// is a whole URL"),
        ({"url_or_store": "embedded:///d?a=1"}, "url_or_store: embedded:// is a whole URL"),
    ],
)
def test_a_cache_that_cannot_be_made(arguments: dict[str, Any], words: str) -> None:
    """At once, not at the first call."""
    with pytest.raises(ConfigurationError, match=words):
        Cache(**arguments)


@pytest.mark.parametrize("arguments", [{"entries": 0}, {"bytes": True}, {"ttl": -1}])
def test_an_l1_that_cannot_be_made(arguments: dict[str, Any]) -> None:
    """Its bounds are checked like all others."""
    with pytest.raises(ConfigurationError, match=f"L1 {next(iter(arguments))} takes"):
        L1(**arguments)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://user:geheim@host/0",
        "ftp://user:ge/geheim@host/0",
        "ftp://user:ge?geheim#geheim@host/0",
        "redis:user:geheim@host",
        "redis:user:geheim://x@host",
        "//user:geheim@host",
        "ftp://host/0?password=geheim",
    ],
)
def test_a_password_is_in_no_message(url: str) -> None:
    """However wrong the URL is."""
    with pytest.raises(ConfigurationError) as caught:
        Cache(url)
    assert "geheim" not in str(caught.value)
    assert "host" in str(caught.value) or "x" in str(caught.value)


@virtual
async def test_a_call_that_cannot_be_made(w: World) -> None:
    """An unknown mode, a policy that is none, a call that is none."""
    cache, provider = w.cache(), w.provider()
    provider.answer("yes")
    mode: Any
    for mode in ("reload", None, ["use"]):
        with pytest.raises(ConfigurationError, match="cache_mode takes one of use, refresh"):
            await cache.get_or_call("k", provider, mode=mode)
    policy: Any = {"ttl": 1}
    with pytest.raises(ConfigurationError, match="policy takes a Policy"):
        await cache.get_or_call("k", provider, policy=policy)
    call: Any = provider()
    with pytest.raises(ConfigurationError, match="call takes an async function; got coroutine"):
        await cache.get_or_call("k", call)
    call.close()
    with pytest.raises(ConfigurationError, match="namespace takes"):
        await cache.clear("")
    assert cache.statistics().calls == 0


class Sore:
    """An observer that raises at everything."""

    def on_event(self, event: Event) -> None:
        raise RuntimeError("sore")


@virtual
async def test_an_observer_that_raises_is_a_warning(w: World) -> None:
    """The others hear what they should, the call is answered."""
    cache, provider = w.cache(observers=[Sore()]), w.provider()
    provider.answer("yes")
    with pytest.warns(SamecallWarning, match="observer Sore raised RuntimeError"):
        assert await cache.get_or_call("k", provider) == "yes"
    assert len(w.ears[0].of(ProviderCalled)) == 1


@virtual
async def test_warnings_made_errors_cost_no_answer(w: World) -> None:
    """They go to the event loop's exception handler."""
    cache, provider = w.cache(observers=[Sore()]), w.provider()
    provider.answer({1, 2})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert await cache.get_or_call("k", provider) == {1, 2}
    told = {str(complaint["exception"]) for complaint in w.complaints}
    assert any("Sore" in one for one in told)
    assert any("type set" in one for one in told)
    w.complaints.clear()
    warnings.simplefilter("ignore")


def test_the_core_imports_no_client_library() -> None:
    """`import samecall` and a memory cache need neither instructor, openai nor redis."""
    code = (
        "import sys, samecall; samecall.Cache(); "
        "print(sorted({'instructor', 'openai', 'redis', 'aiohttp'} & set(sys.modules)))"
    )
    got = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert got.stdout.strip() == "[]"


async def test_every_byte_of_a_secret_counts() -> None:
    """A key in PEM begins like all others of its kind for longer than BLAKE2b takes a key."""
    store, head = MemoryStore(), b"-----BEGIN PRIVATE KEY-----" + b"the same for all" * 4
    answers = iter(range(4))

    async def call() -> int:
        return next(answers)

    for ends, answer in ((b"", 0), (b"a", 1), (b"b", 2), (b"a", 1)):
        async with Cache(store, secret=head + ends, l1=None) as cache:
            assert await cache.get_or_call("k", call) == answer
