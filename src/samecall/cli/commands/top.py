"""`samecall top`: a fleet, live."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samecall._open import without_login
from samecall.cli._options import SomeNamespace, Url, every_namespace, number, run, store_at
from samecall.cli._trouble import Trouble, say, to_json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from samecall.cli.seen import Fleet

__all__ = ["command"]


def command(
    url: Url,
    namespace: SomeNamespace = None,
    interval: Annotated[
        float,
        typer.Option(
            "--interval", "-i", min=0.1, max=3600, callback=number, help="Seconds between looks."
        ),
    ] = 1.0,
    count: Annotated[
        int | None, typer.Option("--count", "-c", min=1, help="Looks. [default: until Ctrl-C]")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a look instead.")
    ] = False,
) -> None:
    """Watch a fleet: calls, hits, provider calls, latencies, tokens and money saved, hottest keys.

    Workers leave word of themselves about once a second. Without a terminal one look is printed
    unless --count says otherwise. Ctrl-C ends it.
    """
    only = every_namespace(namespace)
    run(_watch(url, only, interval, count, json=json))


async def _watch(
    url: str, namespace: str | None, interval: float, count: int | None, *, json: bool
) -> None:
    from rich.live import Live

    from samecall.cli._text import wide

    console = wide()
    shown = console.is_terminal and not json
    looks = count if count is not None or shown or json else 1
    async with store_at(url, board=True, able=False) as store:
        live: Any = Live(console=console, screen=True, auto_refresh=False) if shown else None
        fleet, trouble = None, ""
        with live or nullcontext():
            async for fleet, rates, trouble in _looks(store, namespace, interval, looks):
                if live is not None:
                    live.update(_screen(fleet, url, rates, trouble, console.height), refresh=True)
                elif fleet is not None:
                    if json:
                        say(to_json(fleet))
                    else:
                        console.print(_screen(fleet, url, rates, trouble, None))
    if fleet is None:  # nothing was seen in any look
        raise Trouble(f"no answer from {without_login(url)}: {trouble}")


async def _looks(
    store: Any, namespace: str | None, interval: float, looks: int | None
) -> AsyncIterator[tuple[Fleet | None, dict[str, float], str]]:
    """What is seen at each look; while the store is away, the last that was seen and why."""
    from samecall._errors import StoreError
    from samecall.cli.seen import Since, added_up, read

    since, fleet, rates, done = Since(), None, dict[str, float](), 0
    while True:
        trouble = ""
        try:
            fleet = added_up(read(await store.posted(namespace)))
            rates = since.rates(fleet, time.monotonic())
        except StoreError as error:
            trouble = str(error)
        yield fleet, rates, trouble
        done += 1
        if looks is not None and done >= looks:
            return
        await asyncio.sleep(interval)


def _screen(
    fleet: Fleet | None, url: str, rates: dict[str, float], trouble: str, height: int | None
) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from samecall.cli.seen.screen import picture

    where = without_login(url)
    parts: list[Any] = []
    if trouble:
        parts.append(Text(f"no answer from {where}, looking again: {trouble}", style="red"))
    if fleet is not None:
        parts.append(picture(fleet, where, rates, height))
    return Group(*parts)
