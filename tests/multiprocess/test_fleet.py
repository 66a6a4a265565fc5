"""A fleet of spawned processes on one real server: what is promised across processes.

The load scripts in `bench` run the same scenarios larger and measure them.
"""

import pytest

from outage import KINDS, outage
from replica import Setup, ask_all, start, statistics
from samecall.testing.provider import StubProvider
from samecall.testing.servers import LocalServer
from stampede import stampede
from takeover import takeover


def test_a_stampede_pays_once_per_prompt():
    """8 processes with 250 concurrent callers each over 200 prompts, twice."""
    runs = list(stampede(2))
    assert [(run.calls, run.prompts, run.provider_calls) for run in runs] == [(2000, 200, 200)] * 2
    assert [run.wrong for run in runs] == [[], []]


def test_a_call_of_four_leases_is_made_once():
    """The lease is renewed while the provider works, so nobody takes the call over."""
    lease = 0.3
    with (
        LocalServer() as server,
        StubProvider.in_process(latency=4 * lease) as stub,
        start(4, Setup(server.url, stub.openai_url, lease=lease)) as crew,
    ):
        answers = ask_all(crew, [["x"] * 20] * 4)
        assert answers.wrong == []
        assert len(answers.latencies) == 80
        assert stub.calls == 1
        assert sum(part["provider_calls"] for part in statistics(crew)) == 1


def test_a_leader_ended_by_sigkill_is_replaced_by_one():
    """Three processes wait for the one that dies: one of them calls, all are answered."""
    found = takeover(0.3, followers=3, callers=5)
    assert found.wrong == []
    assert found.answered == 15
    assert found.provider_calls == 2


@pytest.mark.parametrize("kind", KINDS)
def test_every_call_is_answered_without_redis_and_redis_is_used_again(kind):
    """Absent at the start, stalled (SIGSTOP) or killed with calls in the air; then back."""
    found = outage(kind, processes=2, prompts=10, waves=2)
    assert found.wrong == []
    assert found.answered == found.asked == 2 * 10 * 3
