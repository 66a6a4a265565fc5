"""What may be done with an entry that is about to become stale, or is."""

from __future__ import annotations

import math

from samecall._entry import Entry
from samecall._policy import Policy

__all__ = ["is_due", "usable"]


def usable(entry: Entry, policy: Policy, now: float, window: float) -> bool:
    """Whether `entry` may answer up to `window` seconds after it has become stale.

    Never one that is older than the reader's `max_age`, or than the store would have kept it.
    """
    age = now - entry.born
    oldest = min(entry.fresh_for + window, entry.kept_for)
    return age < (oldest if policy.max_age is None else min(oldest, policy.max_age))


def is_due(entry: Entry, policy: Policy, now: float, luck: float) -> bool:
    """Whether a fresh `entry` is to be refreshed early; `luck` is evenly spread over (0, 1].

    XFetch: Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention",
    PVLDB 8(8), 2015, algorithm 1; their delta is the entry's cost, their beta `early_refresh`.
    """
    ahead = -entry.cost * policy.early_refresh * math.log(luck)
    return now + ahead >= entry.born + entry.fresh_for
