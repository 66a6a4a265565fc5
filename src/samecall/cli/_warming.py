"""Calls asked ahead of time: JSON Lines of arguments, so many at a time."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

import msgspec
from anyio import to_thread

from samecall._warming import read_through
from samecall.cli._trouble import ExitCode, Trouble

__all__ = ["Warmed", "model_at", "warm"]

_OUR_ARGUMENTS = frozenset({"cache_namespace", "cache_tags", "cache_ttl", "cache_vary"})
_SHOWN = 200


class Warmed(msgspec.Struct, kw_only=True):
    """How it went: lines read, answered by the provider, there already, and failed."""

    lines: int = 0
    called: int = 0
    there: int = 0
    failed: int = 0


def model_at(path: str | None) -> Any:
    """The response model `module:Class` that was typed on the command line; raises `Trouble`."""
    if path is None:
        return None
    module, _, name = path.partition(":")
    if not module or not name:
        raise Trouble(f"--response-model takes module:Class; got {path!r:.80}", ExitCode.USAGE)
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise Trouble(f"--response-model {path}: {error}", ExitCode.USAGE) from None


async def warm(
    client: Any,
    cache: Any,
    lines: IO[str],
    model: Any,
    concurrency: int,
    moved: Callable[[Warmed], None],
    wrong: Callable[[str], None],
) -> Warmed:
    """Ask each line's call. Memory is bounded: a line is read when there is room to ask it."""
    warmed, numbered = Warmed(), enumerate(lines, 1)
    reading = asyncio.Lock()

    async def work() -> None:
        while True:
            async with reading:  # a pipe may be slow: it holds up nobody who is asking
                number, line = await to_thread.run_sync(_next, numbered)
            if line is None:
                return
            if not line.strip():
                continue
            warmed.lines += 1
            try:
                await read_through(await client.create(response_model=model, **_arguments(line)))
            except Exception as error:  # noqa: BLE001 - one line's fault is told, and the rest goes on
                warmed.failed += 1
                wrong(f"line {number}: {type(error).__name__}: {error}"[:_SHOWN])
            moved(warmed)

    before = cache.statistics().provider_calls
    await asyncio.gather(*(work() for _ in range(concurrency)))
    warmed.called = cache.statistics().provider_calls - before
    warmed.there = max(0, warmed.lines - warmed.failed - warmed.called)
    return warmed


def _next(numbered: Iterator[tuple[int, str]]) -> tuple[int, str | None]:
    try:
        return next(numbered, (0, None))
    except UnicodeDecodeError as error:
        raise Trouble(f"FILE is no UTF-8 text: {error}", ExitCode.USAGE) from None


def _arguments(line: str) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON: {error}") from None
    if not isinstance(told, dict):
        raise TypeError(f"a line is a JSON object of arguments of create; got {line!r:.60}")
    arguments = cast("dict[str, Any]", told)
    ours = [name for name in arguments if name.startswith("cache") and name not in _OUR_ARGUMENTS]
    if ours or "response_model" in arguments or "hooks" in arguments:
        names = ", ".join(ours) or "response_model, hooks"
        raise ValueError(f"a line cannot say {names}")
    if "messages" not in arguments:
        raise ValueError("messages are missing")
    return arguments
