"""`python -m samecall.cli`."""

from __future__ import annotations

from samecall.cli import main

if __name__ == "__main__":
    main()
