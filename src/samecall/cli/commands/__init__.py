"""One file per command: it defines `command`, whose docstring is the help text."""

__all__: list[str] = []
