"""Where the examples are."""

from pathlib import Path

__all__ = ["EXAMPLES"]

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
