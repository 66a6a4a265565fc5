"""The simulation sees it when a guard of the real code is taken away."""

from __future__ import annotations

from itertools import chain

import pytest
from sim_invariants import judge
from sim_mutants import MUTANTS, mutated
from sim_plan import make_plan
from sim_world import run

SEEDS = 1_500
RARE = {
    "a forget leaves no tombstone": 600,
    "the fingerprint is not compared": 2_350,
    "a waiter does not watch the lease's end": 450,
    "without a store, flights of one key do not see each other": 360,
}
"""Near which seed it was seen first; the others are seen within the first 130."""


@pytest.mark.parametrize("name", MUTANTS)
def test_seen(name: str):
    near = RARE.get(name, 0)
    with mutated(name):
        seeds = chain(range(near, near + 150), range(SEEDS))
        assert any(judge(run(make_plan(seed))).violations for seed in seeds)
