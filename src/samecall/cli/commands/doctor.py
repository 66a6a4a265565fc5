"""`samecall doctor`: what is slow or unsafe about a store, and how to mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from samecall.cli._options import Json, Namespace, Url, namespace_of, run, store_at
from samecall.cli._trouble import ExitCode, say, to_json

if TYPE_CHECKING:
    from samecall.cli.doctor import Finding

__all__ = ["command"]

_COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "failed": "red"}


def command(
    url: Url,
    namespace: Namespace = "default",
    strict: Annotated[
        bool, typer.Option("--strict", help="A warning gives exit code 1 too.")
    ] = False,
    json: Json = False,
) -> None:
    """Look at a store as a cache will use it: rights, latency, memory, persistence, cluster.

    Each operation is tried once under the login and the namespace given, on a key that is gone
    afterwards. Exit code 1 if something fails; 3 if the store is not there.
    """
    from samecall.cli.doctor import Health

    found = run(_look(url, namespace_of(namespace)))
    if json:
        say(to_json(found))
    else:
        _print(found)
    bad = {Health.FAILED, Health.WARNING} if strict else {Health.FAILED}
    if any(finding.health in bad for finding in found):
        raise typer.Exit(ExitCode.FAILED)


async def _look(url: str, namespace: str) -> list[Finding]:
    from samecall.cli.doctor import examine, exercise

    async with store_at(url, able=False) as store:
        return [*await examine(store), *[found async for found in exercise(store, namespace)]]


def _print(found: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    from samecall.cli._text import wide

    console: Any = wide()
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for finding in found:
        colour = _COLOURS[finding.health]
        says = Text(finding.says)
        if finding.mend:
            says.append(f"\n-> {finding.mend}", style="bold")
        table.add_row(Text(finding.health.value, style=colour), Text(finding.check), says)
    console.print(table)
