"""The list of broken protocols and the model name the same mutations and invariants."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
MODEL = (HERE / "lease.pml").read_text(encoding="utf-8")
sys.path.insert(0, str(HERE))

import variants  # noqa: E402 - a script's neighbour, not a module of a package

FOUND_BY_SPIN = {"invalid end state", "acceptance cycle"}


def test_each_mutation_of_the_model_is_run():
    in_model = set(re.findall(r"\bM_(\w+)", MODEL)) - {""}
    assert {mutant.name for mutant in variants.MUTANTS} == in_model


def test_each_invariant_is_broken_by_some_mutant():
    invariants = set(re.findall(r"HOLDS\([^;]*?,\s*(\w+)\)[;\s}]", MODEL)) - {"name"}
    assert {mutant.breaks for mutant in variants.MUTANTS} == invariants | FOUND_BY_SPIN


def test_each_mutant_has_a_quick_world():
    worlds = {world.name for world in variants.QUICK}
    assert {mutant.world for mutant in variants.MUTANTS} <= worlds


def test_each_setting_is_used_in_the_model_and_by_a_world():
    used = {name for world in variants.QUICK for name in world.settings}
    for name in variants.SETTINGS:
        assert re.search(rf"\b{name}\b", MODEL), name
    assert used == set(variants.SETTINGS)
