"""A stream whose leader dies, that is forgotten, whose messages come late or twice: 1,000 times."""

from __future__ import annotations

import pytest
from sim_stream_mutants import MUTANTS, mutated
from sim_streams import play

_TRIALS = 1_000
_BLOCKS = 4
_SEEN_WITHIN = 200  # seeds; the first ten show it


@pytest.mark.parametrize("block", range(_BLOCKS))
def test_a_leader_dies_and_no_generations_mix(block: int) -> None:
    """Whole, or told what it has; never two generations, never a hole, always in bounded time."""
    seeds = range(block, _TRIALS, _BLOCKS)
    trials = [play(seed) for seed in seeds]
    assert [fault for trial in trials for fault in trial.faults()] == []
    heard = [one for trial in trials for one in trial.heard]
    interrupted = sum(one.error is not None for one in heard)
    assert 0.1 < interrupted / len(heard) < 0.9  # both ways out were tried
    assert sum(trial.calls == 2 for trial in trials) > len(trials) / 4
    assert sum(bool(trial.forgotten) for trial in trials) > len(trials) / 4
    assert sum(trial.again for trial in trials) > len(trials) / 4


@pytest.mark.parametrize("name", MUTANTS)
def test_a_guard_that_is_gone_is_seen(name: str) -> None:
    with mutated(MUTANTS[name]):
        assert any(play(seed).faults() for seed in range(_SEEN_WITHIN))


@pytest.mark.parametrize("seed", [917_539, 926_834])
def test_what_once_broke(seed: int) -> None:
    """A doubled ACQUIRE, or one whose reply was lost, gave a forgotten generation a lease again."""
    assert play(seed).faults() == []
