"""`samecall export`: a namespace's entries into a file."""

from __future__ import annotations

from typing import Annotated

import typer

from samecall.cli._moving import PIPE, moving, to_pipe
from samecall.cli._options import Json, Namespace, Url, cache_at, namespace_of, note, run
from samecall.cli._trouble import say, to_json

__all__ = ["command"]


def command(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Is there once it is whole; - is standard output.")
    ],
    url: Url,
    namespace: Namespace = "default",
    json: Json = False,
) -> None:
    """Write the entries of a namespace to a file, as JSON Lines; sealed ones stay sealed.

    The whole database is walked over in small steps, in bounded memory per entry. Exit code 2 if
    the file cannot be written; 3 if the store is not there.
    """
    space = namespace_of(namespace)
    with moving(file), to_pipe(file) as path:
        count = run(_export(url, space, path))
    told = to_json({"entries": count, "file": file}) if json else f"{count:,} entries in {file}"
    (note if file == PIPE else say)(told)


async def _export(url: str, namespace: str, file: str) -> int:
    async with cache_at(url, namespace) as cache:
        return await cache.export(file)
