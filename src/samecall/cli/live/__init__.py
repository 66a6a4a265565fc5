"""One stream, read live by several processes."""

from samecall.cli.live import screen
from samecall.cli.live.run import run

__all__ = ["run", "screen"]
