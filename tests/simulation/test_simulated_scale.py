"""The scenarios of `scale.py` in small; time is virtual."""

from __future__ import annotations

from scale import deploy, lost, steady, viral

WORKERS = 300


def test_a_viral_prompt_is_one_call() -> None:
    told = viral(WORKERS)
    assert (told["provider_calls"], told["answered"]) == (1, WORKERS)
    assert told["its_shard"]["messages"] == WORKERS - 1


def test_a_large_viral_answer_is_read_in_turn() -> None:
    """60 MB for 300 readers: over 150 ms, instead of a queue of 48."""
    told = viral(WORKERS, size=200_000)
    assert (told["provider_calls"], told["answered"]) == (1, WORKERS)
    assert told["its_shard"]["longest_queue_ms"] < 20
    assert told["after_first_answer_last_ms"] > 100


def test_what_has_an_answer_is_never_called_again() -> None:
    assert steady(WORKERS, sample=5, seconds=2.0)["provider_calls"] == 0
    assert deploy(WORKERS, rate=10.0)["provider_calls"] == 0


def test_without_its_shard_every_call_is_answered() -> None:
    told = lost(20, away=3.0)
    assert (told["calls"], told["failed"]) == (60, 0)
    assert 0 < told["provider_calls"] <= 60
