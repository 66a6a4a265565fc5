"""A warning that costs nobody an answer, where warnings are errors too."""

from __future__ import annotations

import asyncio
import warnings
from pathlib import Path

from samecall._errors import SamecallWarning

__all__ = ["warn"]


def warn(message: str, level: int = 1) -> None:
    """Warn the code that is `level` calls above this one's caller.

    Where warnings are errors, the event loop is told instead, or whoever shows warnings.
    """
    try:
        warnings.warn(message, SamecallWarning, stacklevel=level + 2)
    except SamecallWarning as error:
        # what was being handled quotes, in its traceback, what others have said of an answer
        error.__context__ = None
        told = error.with_traceback(None)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            here = Path(__file__)
            warnings.showwarning(told, SamecallWarning, str(here), 0)
        else:
            loop.call_exception_handler({"message": message, "exception": told})
