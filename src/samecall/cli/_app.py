"""The typer application, put together from the files in `commands`."""

from __future__ import annotations

import importlib
import pkgutil

import typer

from samecall.cli import commands
from samecall.cli._trouble import plainly

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


def _root() -> None:
    """The same call, paid for once."""
