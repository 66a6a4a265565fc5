"""The options that commands share, and the way to the store that they name."""

from __future__ import annotations

import asyncio
import binascii
import math
import sys
from base64 import b64decode
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, TypeVar

import typer

from samecall._arguments import check_namespace
from samecall._cache import Cache
from samecall._errors import (
    ConfigurationError,
    SamecallError,
    StoreError,
    StoreRefused,
    StoreUnreachable,
    Undecodable,
)
from samecall._open import open_store, without_login
from samecall._policy import Policy
from samecall._seal import Seal
from samecall.cli._trouble import ExitCode, Trouble

__all__ = [
    "Json",
    "Namespace",
    "Seals",
    "Secret",
    "SomeNamespace",
    "Url",
    "cache_at",
    "every_namespace",
    "namespace_of",
    "note",
    "number",
    "run",
    "seal_of",
    "secret_of",
    "store_at",
    "told",
]

T = TypeVar("T")
PATIENCE = 5.0
"""Seconds within which a server owes a reply to a person."""

Url = Annotated[
    str,
    typer.Option(
        "--url",
        "-u",
        metavar="URL",
        envvar="SAMECALL_URL",
        help="The store: redis://, rediss://, redis+cluster://, redis+sentinel://, ...",
    ),
]
Namespace = Annotated[
    str,
    typer.Option("--namespace", "-n", envvar="SAMECALL_NAMESPACE", help="Whose entries."),
]
SomeNamespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        envvar="SAMECALL_NAMESPACE",
        help="Only workers of this one. [default: all]",
    ),
]
Seals = Annotated[
    str | None,
    typer.Option(
        "--seal",
        metavar="ID=BASE64,...",
        envvar="SAMECALL_SEAL",
        help="Keys of sealed entries; the first one writes. Better in the environment.",
    ),
]
Secret = Annotated[
    str | None,
    typer.Option(
        "--secret",
        metavar="TEXT",
        envvar="SAMECALL_SECRET",
        help="What keys the digests, as the service has it; base64:... for bytes that are no text. "
        "Better in the environment.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work; trouble with the store or an argument becomes a plain message."""
    try:
        return asyncio.run(work)
    except ConfigurationError as error:
        code = ExitCode.UNAVAILABLE if "refuses the login" in str(error) else ExitCode.USAGE
        raise Trouble(str(error).replace("url_or_store", "--url"), code) from None
    except Undecodable:
        raise
    except SamecallError as error:
        raise Trouble(told(error)) from None


def told(error: SamecallError) -> str:
    """What is wrong with the store, in words for the person who typed the URL."""
    if isinstance(error, StoreRefused):
        return error.advice("the store")
    if isinstance(error, StoreError):
        return f"no answer from the store: {error}"
    return str(error)


def namespace_of(namespace: str) -> str:
    """A namespace that can be used; raises `Trouble`."""
    try:
        return check_namespace(namespace)
    except ConfigurationError as error:
        raise Trouble(f"--{error}", ExitCode.USAGE) from None


def every_namespace(namespace: str | None) -> str | None:
    """As `namespace_of`; None stands for all."""
    return None if namespace is None else namespace_of(namespace)


def number(value: float) -> float:
    """A number within its option's range: what compares with the ends may let a NaN through."""
    if math.isnan(value):
        raise typer.BadParameter("nan is not a number in the range")
    return value


def seal_of(text: str | None) -> Seal | None:
    """The seal with these keys; raises `Trouble`, which shows none of them."""
    if text is None:
        return None
    try:
        pairs = [pair.partition("=") for pair in text.split(",")]
        keys = {name: b64decode(data, validate=True) for name, _, data in pairs}
        return Seal(keys, pairs[0][0])
    except ConfigurationError as error:
        raise Trouble(f"--seal: {error}", ExitCode.USAGE) from None
    except (binascii.Error, ValueError):
        raise Trouble(
            "--seal takes ID=BASE64 of 32 bytes, several with commas; see Seal.new_key()",
            ExitCode.USAGE,
        ) from None


def secret_of(text: str | None) -> bytes | None:
    """The secret's bytes; raises `Trouble`, which shows none of them."""
    if text is None:
        return None
    try:
        is_text = not text.startswith("base64:")
        secret = text.encode() if is_text else b64decode(text[len("base64:") :], validate=True)
    except (binascii.Error, ValueError):
        raise Trouble("--secret: what follows base64: is no base64", ExitCode.USAGE) from None
    if len(secret) < 16:
        raise Trouble("--secret takes 16 bytes or more", ExitCode.USAGE)
    return secret


def _shared(url: str) -> str:
    if url.partition("://")[0].lower() in {"memory", "embedded"}:
        scheme = url.partition("://")[0].lower()
        raise Trouble(
            f"--url takes a store that other processes use; {scheme}:// is this process's own",
            ExitCode.USAGE,
        )
    return url


@asynccontextmanager
async def store_at(url: str, *, board: bool = False, able: bool = True) -> AsyncGenerator[Any]:
    """The store itself, seen to answer and, if it must be `able`, to take writes; with `board` one
    that keeps reports.

    Raises `StoreError`, `ConfigurationError`, `Trouble`.
    """
    opener, _ = open_store(_shared(url), entries=1, size=1)
    store: Any = opener()
    if board and not hasattr(store, "posted"):
        raise Trouble(f"{without_login(url)} keeps no reports of workers", ExitCode.USAGE)
    try:
        await _answers(store, url, able=able)
        yield store
    finally:
        await store.aclose()


async def _answers(store: Any, url: str, *, able: bool) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            await store.ping()
    except TimeoutError:
        raise Trouble(f"no answer from {without_login(url)} in {PATIENCE:g} s") from None
    except StoreRefused as error:
        raise Trouble(error.advice(without_login(url))) from None
    except StoreUnreachable as error:
        if able or not await _told_by_some(store):
            raise Trouble(f"no answer from {without_login(url)}: {error}") from None
    except StoreError as error:
        if able:
            raise Trouble(f"{without_login(url)} does not do its work: {error}") from None


async def _told_by_some(store: Any) -> bool:
    """Whether servers are there that say what they are, though they do no work."""
    if not hasattr(store, "everywhere"):
        return False
    with suppress(TimeoutError, StoreError):
        async with asyncio.timeout(PATIENCE):
            return any(isinstance(reply, bytes) for reply in await store.everywhere("INFO"))
    return False


@asynccontextmanager
async def cache_at(
    url: str, namespace: str, seal: Seal | None = None, secret: bytes | None = None
) -> AsyncGenerator[Cache]:
    """A cache over the store, seen to answer, that keeps nothing itself and reports nothing."""
    async with store_at(url):
        pass
    policy = Policy(op_timeout=PATIENCE)
    async with Cache(
        url, namespace=namespace_of(namespace), policy=policy, l1=None, report=False, seal=seal,
        secret=secret,
    ) as cache:  # fmt: skip
        yield cache


def note(text: str) -> None:
    """Write to standard error, where it is in no pipe's way."""
    print(text, file=sys.stderr)
