"""What the fleet stands on: a server to share answers through, a provider, a namespace."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from samecall._cache import Cache
from samecall._embedded import EmbeddedServer
from samecall._errors import ConfigurationError, SamecallError
from samecall._open import SCHEMES, open_store
from samecall.cli._options import run, store_at
from samecall.cli._trouble import ExitCode, Trouble
from samecall.testing.crew import interrupts_held
from samecall.testing.provider import StubProvider

__all__ = ["Stage", "stage"]

_TAKEN = tuple(scheme for scheme in SCHEMES if scheme not in {"memory", "embedded", "disk"})


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything is; `store` is the store's name for people, without a login."""

    store: str
    store_url: str
    namespace: str
    provider: Any


@contextmanager
def stage(
    redis: str | None, latency: float, option: str = "--redis", **more: Any
) -> Generator[Stage]:
    """Everything started and seen to answer; afterwards ended, and the namespace cleared.

    more: settings of the stub provider. Raises `Trouble` for a URL that cannot be used and a
    server that does not answer.
    """
    namespace = f"samecall-demo-{secrets.token_hex(4)}"
    _allow_many_connections()
    with ExitStack() as stack:
        if redis is None:
            store, url = "embedded Valkey", stack.enter_context(_embedded())
        else:
            store, url = _plain(redis, option), redis
        if redis is not None:
            _ask(url, option)
        stack.callback(_clear, url, namespace, store)
        with interrupts_held():
            settings = {"latency": latency, **more}
            provider = stack.enter_context(StubProvider.in_process(**settings))
        yield Stage(store, url, namespace, provider)


@contextmanager
def _embedded() -> Generator[str]:
    server = EmbeddedServer()
    try:
        yield server.start().url
    except ConfigurationError as error:
        raise Trouble(str(error)) from None
    finally:
        server.close()


def _plain(url: str, option: str) -> str:
    try:
        parts = urlsplit(url)
        place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        parts, place = urlsplit(""), url
    if parts.scheme not in _TAKEN:
        taken = ", ".join(f"{scheme}://" for scheme in _TAKEN)
        raise Trouble(f"{option} takes a URL of {taken}; got {place!r:.80}", ExitCode.USAGE)
    return place


def _ask(url: str, option: str) -> None:
    async def ask() -> None:
        async with store_at(url, able=False):  # one that takes no writes is part of the show
            pass

    try:
        run(ask())
    except Trouble as trouble:
        raise Trouble(str(trouble).replace("--url", option), trouble.code) from None


def _clear(url: str, namespace: str, store: str) -> None:
    async def clear() -> None:
        async with Cache(url, namespace=namespace) as cache:
            await cache.clear(reclaim=True)
        opener, _ = open_store(url, entries=1, size=1)
        board: Any = opener()
        try:
            await board.withdraw(namespace)
        finally:
            await board.aclose()

    try:
        asyncio.run(clear())
    except SamecallError as error:
        print(f"namespace {namespace} was left in {store}: {error}", file=sys.stderr)


def _allow_many_connections() -> None:
    # the provider holds one connection per call in the air; children inherit the limit
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
