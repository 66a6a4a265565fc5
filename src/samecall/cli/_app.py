"""The typer application, put together from the files in `commands`."""

from __future__ import annotations

import importlib
import pkgutil
from importlib import metadata
from typing import Annotated

import typer

from samecall.cli import commands
from samecall.cli._trouble import plainly, say

__all__ = ["application"]


def application() -> typer.Typer:
    """Every module in `commands` is a command of its name; its function is called `command`."""
    app = typer.Typer(
        name="samecall",
        help="The same call, paid for once.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)  # without it a single command would swallow its own name
    for info in pkgutil.iter_modules(commands.__path__):
        name = info.name.rstrip("_").replace("_", "-")
        module = importlib.import_module(f"{commands.__name__}.{info.name}")
        app.command(name)(plainly(name, module.command))
    return app


def _version(asked: bool) -> None:
    if asked:
        say(f"samecall {metadata.version('samecall')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """The same call, paid for once."""
