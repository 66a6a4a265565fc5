"""The clock of a file: seconds that all processes of a machine agree on, also after a reboot.

Within one boot the time is the machine's own uptime plus an offset that the file holds, so that a
jump of the wall clock moves nothing. The first process after a reboot (or on another machine)
takes a new offset from the wall clock, and never one that would turn the file's time back.
Where the system names no boot (it is Linux that does), the offset is taken at each opening.
"""

from __future__ import annotations

import time
from pathlib import Path

__all__ = ["Machine"]

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Machine:
    """What this machine knows of time; a test hands in one that it moves by hand."""

    def boot(self) -> str:
        """The name of this boot; "" where there is none."""
        try:
            return _BOOT.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return ""

    def up(self) -> float:
        """Seconds since the boot, those asleep included."""
        boottime = getattr(time, "CLOCK_BOOTTIME", None)
        return time.monotonic() if boottime is None else time.clock_gettime(boottime)

    def wall(self) -> float:
        """Seconds since 1970, as far as this machine knows."""
        return time.time()
