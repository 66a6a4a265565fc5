"""`samecall stats`: what a fleet has asked, paid and saved, once."""

from __future__ import annotations

import typer

from samecall.cli._options import Json, SomeNamespace, Url, every_namespace, run, store_at
from samecall.cli._trouble import ExitCode, say, to_json

__all__ = ["command"]


def command(
    url: Url,
    namespace: SomeNamespace = None,
    json: Json = False,
) -> None:
    """Add up what all workers have told of themselves in the last hour, and print it.

    Each worker counts since it began. Exit code 1 if no worker has told of anything; 3 if the
    store is not there.
    """
    from samecall._open import without_login
    from samecall.cli._text import wide
    from samecall.cli.seen import Fleet, added_up, read
    from samecall.cli.seen.screen import picture

    only = every_namespace(namespace)

    async def look() -> Fleet:
        async with store_at(url, board=True, able=False) as store:
            return added_up(read(await store.posted(only)))

    fleet = run(look())
    if json:
        say(to_json(fleet))
    else:
        wide().print(picture(fleet, without_login(url)))
    if not fleet.workers:
        raise typer.Exit(ExitCode.FAILED)
