"""A fleet in virtual time keeps its promises, and a seed is a run."""

from __future__ import annotations

import pytest
from sim_costs import grants_have_reasons
from sim_history import Caller, Clear, Commit, Grant, History, Paid
from sim_invariants import judge
from sim_loop import Livelock, ProcessClock, StepLoop, Time
from sim_plan import Event, Plan, Rates, make_plan
from sim_shrink import shrink
from sim_world import run
from simulate import main, simulate

from samecall._flight import Flights


def test_two_hundred_fleets_keep_every_promise():
    tally = simulate(0, 200)
    assert tally.broken == {}
    assert tally.faults.total() > 300  # it rained, and nobody got wet
    assert {"crash", "pause", "cut", "restart", "lost", "slow", "twice", "jump"} <= set(
        tally.faults
    )


def test_a_seed_is_the_same_run_twice():
    for seed in range(100):
        first, second = (judge(run(make_plan(seed))) for _ in range(2))
        assert first.digest() == second.digest(), seed
        assert first.lines == second.lines, seed


def test_seeds_differ():
    assert len({run(make_plan(seed)).digest() for seed in range(50)}) == 50


def calm(*events: Event, leases: tuple[float, ...] = (1.0, 1.0), seed: int = 1) -> Plan:
    """A plan without luck: only what is listed happens."""
    named = tuple(Event(**{**vars(e), "name": name}) for name, e in enumerate(events))
    return Plan(seed, "calm", leases, False, Rates(), 0.0, 0.0, named)


def test_a_fleet_without_faults_calls_once():
    asks = [Event(0.001 * i, "ask", i % 4, "n0/a") for i in range(40)]
    history = judge(run(calm(*asks, leases=(1.0,) * 4)))
    assert history.violations == []
    assert len(history.paid) == 1
    assert all(caller.answer == ["n0/a", 0] for caller in history.callers)


def test_a_dead_leader_runs_no_code_and_is_replaced():
    plan = calm(
        Event(0.0, "ask", 0, "n0/a"),
        Event(0.0035, "crash", 0),
        Event(0.05, "ask", 1, "n0/a"),
        seed=next(s for s in range(100) if _slow_first_call(s)),
    )
    history = judge(run(plan))
    assert history.violations == []
    assert [paid.outcome for paid in history.paid] == ["lost", "ok"]
    assert [grant.end for grant in history.grants.values()] == ["expired", "committed"]
    assert 1.0 < history.paid[1].began < 1.5 + 0.1


def _slow_first_call(seed: int) -> bool:
    history = run(calm(Event(0.0, "ask", 0, "n0/a"), seed=seed))
    paid = history.paid[0]
    return paid.began < 0.0035 and (paid.ended or 0.0) > 0.02


def test_a_frozen_process_does_nothing_and_then_goes_on():
    plan = calm(
        Event(0.0, "pause", 0, seconds=3.0), Event(0.5, "ask", 0, "n0/a"), Event(1.0, "ask", 1)
    )
    plan = plan.without({2})
    (caller,) = judge(run(plan)).callers
    assert caller.at == pytest.approx(3.0)
    assert caller.answer is not None


def test_a_failing_history_is_shown_and_shrunk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(Flights, "detach", lambda *_: ())
    seed = next(s for s in range(1_000) if judge(run(make_plan(s))).violations)
    plan = make_plan(seed)
    smaller = shrink(plan)
    assert judge(run(smaller)).violations
    assert 0 < len(smaller.events) < len(plan.events)
    monkeypatch.setattr("sys.argv", ["simulate.py", "--replay", str(seed)])
    assert main() == 1
    told = capsys.readouterr().out
    assert "BROKEN: forgotten_is_forgotten" in told
    assert f"to {len(smaller.events)}:" in told


def test_a_sound_history_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.argv", ["simulate.py", "--replay", "0"])
    assert main() == 0
    assert run(make_plan(0)).digest() in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["simulate.py", "20", "--jobs", "1"])
    assert main() == 0
    assert "20 seeds" in capsys.readouterr().out


def test_a_loop_that_never_rests_is_noticed():
    time = Time()
    complaints: list[object] = []
    loop = StepLoop(ProcessClock(time, 0.0, 1.0), complaints.append)

    def again() -> None:
        loop.call_soon(again)

    again()
    with pytest.raises(Livelock):
        loop.run()


def test_a_clock_drifts_and_jumps():
    time = Time()
    clock = ProcessClock(time, 100.0, 1.01)
    assert clock.truly(201.0) == pytest.approx(100.0)
    time.now = 100.0
    assert clock.now() == pytest.approx(201.0)
    clock.jump(5.0)
    assert clock.now() == pytest.approx(206.0)


@pytest.mark.parametrize("seed", [0])
def test_history_tells_trouble(seed: int):
    history = History(make_plan(seed))
    history.trouble("p0", 1.0, 2.0, "cut")
    history.trouble("", 5.0, 6.0, "restart")
    assert not history.healthy("p0", 1.5, 9.0)
    assert not history.healthy("p1", 4.0, 5.0)
    assert history.healthy("p1", 0.0, 4.9)


def _refused(at: float, *clears: Clear, max_age: float | None = None, foreign: bool = False):
    """What is said of p1, who leads at `at` over an answer that p0 began at 10 and stored at 11."""
    history = History(calm())
    asker = Caller(1, "p0", "n0/a", "use", 10.0, None, None, None, None)
    other = Caller(2, "p1", "n0/a", "use", at, None, max_age, None, None)
    history.callers += [asker, other]
    history.paid.append(Paid(0, "1a", "p0", "n0/a", "led", "p0.1", asker, 10.0, None, False, 11.0))
    history.commits.append(Commit(11.0, "n0/a", "p0.1", "p0.1", b"s"))
    first = Grant("p0.1", "p0", "n0/a", 10.0, "first", None, b"", ended=11.0, end="committed")
    again = Grant("p1.2", "p1", "n0/a", at, "refused", first, b"s")
    history.grants |= {first.token: first, again.token: again}
    history.clears += clears
    history.foreign |= {("n0/a", b"s")} if foreign else set()
    return list(grants_have_reasons(history))


def test_a_clear_excuses_those_whom_it_concerns():
    assert _refused(12.0) == ["p1.2 leads after p0.1: 'refused'"]
    assert not _refused(12.0, Clear(10.5, "n0", "p0", done=True))
    assert not _refused(12.0, Clear(10.5, "n0", "p1", done=False))
    for none in (
        Clear(10.5, "n0", "p0", done=False),  # never came to the store, and p1 knows nothing of it
        Clear(10.5, "n1", "p0", done=True),  # of other keys
        Clear(7.5, "n0", "p0", done=True),  # long before the call began
        Clear(12.5, "n0", "p0", done=True),  # to come
    ):
        assert _refused(12.0, none), none
    assert not _refused(12.0, max_age=0.1)
    assert not _refused(12.0, foreign=True)
