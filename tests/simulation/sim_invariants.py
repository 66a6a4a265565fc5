"""What must hold of every history. Each function gives the breaches of one promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sim_answers import (
    answers_are_real,
    errors_are_documented,
    errors_travel_as_far_as_they_may,
    everybody_is_answered,
    forgotten_is_forgotten,
)
from sim_costs import (
    alone_needs_trouble,
    calls_end_by_their_deadline,
    grants_have_reasons,
    leases_end_in_one_of_three,
    one_alone_in_the_air,
    one_call_per_token,
    one_commit_per_lease,
)
from sim_history import History
from sim_waits import nobody_waits_for_nothing

__all__ = ["INVARIANTS", "judge"]

INVARIANTS: tuple[Callable[[History], Iterator[str]], ...] = (
    answers_are_real,
    everybody_is_answered,
    errors_are_documented,
    errors_travel_as_far_as_they_may,
    one_call_per_token,
    grants_have_reasons,
    leases_end_in_one_of_three,
    alone_needs_trouble,
    calls_end_by_their_deadline,
    one_alone_in_the_air,
    one_commit_per_lease,
    forgotten_is_forgotten,
    nobody_waits_for_nothing,
)


def judge(history: History) -> History:
    """The history with all its breaches in `violations`."""
    for invariant in INVARIANTS:
        for breach in invariant(history):
            history.violated(f"{invariant.__name__}: {breach}")
    return history
