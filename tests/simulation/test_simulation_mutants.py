"""The simulation sees it when a guard of the real code is taken away."""

from __future__ import annotations

import pytest
from sim_invariants import judge
from sim_mutants import MUTANTS, mutated
from sim_plan import make_plan
from sim_world import run

SEEDS = 300


@pytest.mark.parametrize("name", MUTANTS)
def test_seen(name: str):
    with mutated(name):
        seen = any(judge(run(make_plan(seed))).violations for seed in range(SEEDS))
    assert seen, f"{SEEDS} seeds do not see that {name}"
