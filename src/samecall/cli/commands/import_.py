"""`samecall import`: the entries of an exported file into a store."""

from __future__ import annotations

from typing import Annotated

import typer

from samecall._moving import Imported
from samecall.cli._moving import from_pipe, moving
from samecall.cli._options import Json, Seals, Url, cache_at, every_namespace, run, seal_of
from samecall.cli._trouble import say, to_json

__all__ = ["command"]


def command(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="As export wrote it; - is standard input.")
    ],
    url: Url,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="Whose entries they become. [default: the file's]"),
    ] = None,
    seal: Seals = None,
    json: Json = False,
) -> None:
    """Store the entries of an exported file for the rest of their lives.

    Sealed entries need their key. Exit code 1 if a line is damaged (what stands before it is
    stored); 2 if the file cannot be read; 3 if the store is not there.
    """
    space = every_namespace(namespace)
    with moving(file), from_pipe(file) as path:
        done = run(_import(url, space, path, seal))
    if json:
        say(to_json(done))
    else:
        say(f"{done.stored:,} entries stored, {done.expired:,} had expired")


async def _import(url: str, namespace: str | None, file: str, seal: str | None) -> Imported:
    async with cache_at(url, namespace or "default", seal_of(seal)) as cache:
        return await cache.import_(file, namespace=namespace)
