"""`samecall warm`: calls asked ahead of time, so that their answers are there."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from samecall.cli._options import (
    Json,
    Namespace,
    Seals,
    Secret,
    Url,
    cache_at,
    note,
    run,
    seal_of,
    secret_of,
)
from samecall.cli._trouble import ExitCode, Trouble, require, say, to_json

if TYPE_CHECKING:
    from samecall._cache import Cache
    from samecall.cli._warming import Warmed

__all__ = ["command"]


def command(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help='JSON Lines of arguments of create: {"messages": [...]}; - is standard input.',
        ),
    ],
    url: Url,
    provider: Annotated[
        str,
        typer.Option("--provider", "-p", help="As for instructor: openai/gpt-4o-mini."),
    ],
    response_model: Annotated[
        str | None,
        typer.Option(metavar="MODULE:CLASS", help="The response model. [default: none]"),
    ] = None,
    account: Annotated[
        str | None, typer.Option(help="As for cached(client, cache, account=...).")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=1_000, help="Calls in the air.")] = 8,
    namespace: Namespace = "default",
    secret: Secret = None,
    seal: Seals = None,
    json: Json = False,
) -> None:
    """Ask calls ahead of time; those that are there already are not asked again.

    The keys are those of `cached(instructor.from_provider(PROVIDER), cache)` with the same
    arguments, its cache having this `--secret`; entries are sealed with the first `--seal`. A line
    that fails is told on standard error, and the rest goes on: exit code 1.
    """
    require("cli", "instructor")
    if file != "-" and not Path(file).is_file():
        raise Trouble(f"FILE takes a file of JSON Lines, or -; got {file!r:.80}", ExitCode.USAGE)
    sys.path.insert(0, "")  # as `python -m` has it: the response model may stand right here
    place = cache_at(url, namespace, seal_of(seal), secret_of(secret))
    with nullcontext(sys.stdin) if file == "-" else Path(file).open(encoding="utf-8") as lines:
        warmed = run(_warm(place, provider, response_model, account, concurrency, lines))
    say(to_json(warmed) if json else _text(warmed))
    if warmed.failed:
        raise typer.Exit(ExitCode.FAILED)


def _text(warmed: Warmed) -> str:
    return (
        f"{warmed.lines:,} calls: {warmed.called:,} asked of the provider, "
        f"{warmed.there:,} were there, {warmed.failed:,} failed"
    )


async def _warm(
    place: AbstractAsyncContextManager[Cache],
    provider: str,
    path: str | None,
    account: str | None,
    concurrency: int,
    lines: IO[str],
) -> Warmed:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from samecall.cli._warming import model_at, warm
    from samecall.instructor import cached

    model = model_at(path)
    console = Console(stderr=True)
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.completed:,} calls"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    async with place as cache:
        client = cached(_client(provider), cache, account=account)
        async with _closing(client):
            # rich before 14 ends a line even where it shows nothing
            with progress if console.is_terminal else nullcontext():
                task = progress.add_task("", total=None)

                def moved(warmed: Warmed) -> None:
                    progress.update(task, completed=warmed.lines)

                return await warm(client, cache, lines, model, concurrency, moved, note)


@asynccontextmanager
async def _closing(client: Any) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        ending = getattr(client.client, "close", None)
        done = None if ending is None else ending()
        if inspect.isawaitable(done):
            await done


def _client(provider: str) -> Any:
    import instructor

    # it logs what it raises, traceback and all
    logging.getLogger("instructor").addHandler(logging.NullHandler())
    try:
        return instructor.from_provider(provider, async_client=True)
    except Exception as error:  # noqa: BLE001 - of instructor or the SDK: a name, a key, a package
        raise Trouble(f"--provider {provider}: {error}", ExitCode.USAGE) from None
