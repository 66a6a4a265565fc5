"""A fleet of worker processes under the same load with samecall and without, and its bill."""

from samecall.cli.fleet.plan import Plan
from samecall.cli.fleet.run import run

__all__ = ["Plan", "run"]
