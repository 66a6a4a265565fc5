"""What the demo asks, and how the shares of its workers become a bill."""

from collections import Counter

import msgspec
import pytest

from samecall.cli.fleet.plan import Plan, prompt
from samecall.cli.fleet.tally import percentile, report, tally
from samecall.cli.fleet.worker import Share

PLAN = Plan(workers=3, calls=100, prompts=10, latency=0.0, seed=1)


def share(*numbers, errors=(), **statistics):
    return Share([0.1] * len(numbers), dict.fromkeys(numbers, (100, 10)), statistics, [*errors])


def phase(asked, calls, **more):
    counted = Counter({prompt(number): times for number, times in calls.items()})
    return tally("x", asked, [share(*set(asked), **more)], counted, 1.0)


def test_every_wave_asks_every_prompt_and_the_first_most():
    for wave in PLAN.waves():
        asked = Counter(number for part in wave for number in part)
        assert sorted(asked) == list(range(10))
        assert sum(asked.values()) == 100
        assert asked[0] == max(asked.values())
        assert {len(part) for part in wave} == {33, 34}


def test_the_draw_is_the_same_for_the_same_seed_and_differs_between_waves():
    first, second = PLAN.waves()
    assert PLAN.waves() == [first, second]
    assert first != second
    assert msgspec.structs.replace(PLAN, seed=2).waves() != [first, second]


def test_prompts_differ():
    assert len({prompt(number) for number in range(10_000)}) == 10_000


@pytest.mark.parametrize(
    ("values", "part", "expected"),
    [([1.0], 0.99, 1.0), ([1.0, 2.0], 0.5, 1.0), ([*range(1, 101)], 0.99, 99), ([1, 2, 3], 1.0, 3)],
)
def test_a_percentile_is_of_the_nearest_rank(values, part, expected):
    assert percentile(values, part) == expected


def test_what_is_paid_is_what_the_provider_counted():
    one = phase([0, 0, 0, 1], {0: 1, 1: 2})
    assert (one.calls, one.distinct_prompts, one.provider_calls) == (4, 2, 3)
    assert (one.answered.input, one.answered.output) == (400, 40)
    assert (one.paid.input, one.paid.output) == (300, 30)
    assert 0 < one.paid.usd < one.answered.usd


@pytest.mark.parametrize(
    ("first", "second", "bare", "once"),
    [
        (({0: 1, 1: 1}, ()), ({}, ()), ({0: 9}, ()), True),
        (({0: 1, 1: 2}, ()), ({}, ()), ({0: 9}, ()), False),
        (({0: 1, 1: 1}, ()), ({1: 1}, ()), ({0: 9}, ()), False),
        (({0: 1}, ()), ({}, ()), ({0: 9}, ()), False),
        (({0: 1, 1: 1}, ["no"]), ({}, ()), ({0: 9}, ()), False),
        (({0: 1, 1: 1}, ()), ({}, ()), ({0: 9}, ["timeout"]), True),
    ],
)
def test_once_is_about_the_phases_with_samecall(first, second, bare, once):
    plan = Plan(workers=1, calls=4, prompts=2, latency=0.0, seed=1)
    phases = [phase([0, 0, 0, 1], calls, errors=errors) for calls, errors in (first, second, bare)]
    assert report(plan, "s", phases, 1.0).once is once
