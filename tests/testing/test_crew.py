"""Worker processes: messages, failures, deaths, and none left behind."""

import asyncio
import os
import signal
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

from samecall.testing.crew import Crew, WorkerLost

LIMIT = 60.0


async def echo(line, setup):
    line.tell(("ready", setup))
    while (heard := await line.hear()) is not None:
        line.tell(("echo", heard))


async def fail(line, setup):
    raise ValueError(f"no {setup}")


async def hang(line, setup):
    line.tell(("ready", os.getpid()))
    await asyncio.Event().wait()


async def end_well(line, setup):
    line.tell(("ready", None))
    try:
        await asyncio.Event().wait()
    finally:
        Path(setup).write_text("ended well")  # noqa: ASYNC240


async def tell_mask(line, setup):
    line.tell(("mask", [signal.Signals(each).name for each in signal.pthread_sigmask(0, [])]))
    await line.hear()


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_messages_go_to_all_or_to_one_and_come_back_in_order():
    with Crew(echo, [{"n": 0}, {"n": 1}]) as crew:
        assert crew.gather("ready", LIMIT) == [{"n": 0}, {"n": 1}]
        crew.tell("all")
        assert crew.gather("echo", LIMIT) == ["all", "all"]
        crew.tell("one", 1)
        crew.tell("zero", 0)
        assert crew.gather("echo", LIMIT) == ["zero", "one"]


def test_no_worker_sees_ctrl_c():
    """Not the first one of a process either, with which multiprocessing starts its tracker."""
    resource_tracker._resource_tracker._stop()
    with Crew(tell_mask, [None, None]) as crew:
        assert crew.gather("mask", LIMIT) == [["SIGINT"], ["SIGINT"]]


def test_a_worker_that_fails_is_told_with_its_error():
    with (
        Crew(fail, ["luck"]) as crew,
        pytest.raises(WorkerLost, match="0 failed: ValueError: no luck"),
    ):
        crew.gather("ready", LIMIT)


def test_a_worker_that_dies_is_told():
    with Crew(hang, [None, None]) as crew:
        pids = crew.gather("ready", LIMIT)
        assert pids == crew.pids
        os.kill(pids[1], 9)
        with pytest.raises(WorkerLost, match=r"worker 1 ended \(by SIGKILL\)"):
            crew.gather("anything", LIMIT)


def test_a_worker_that_was_killed_on_purpose_is_not_missed():
    with Crew(echo, [0, 1]) as crew:
        crew.gather("ready", LIMIT)
        crew.kill(0)
        assert crew.living == [1]
        crew.tell("x")
        assert crew.gather("echo", LIMIT) == ["x"]


def test_silence_is_bounded_and_names_who_is_silent():
    with Crew(hang, [None, None]) as crew:
        crew.gather("ready", LIMIT)
        with pytest.raises(WorkerLost, match=r"worker 0, 1 told no 'answer' within 0\.01 s"):
            crew.gather("answer", 0.01)


def test_no_worker_outlives_the_block():
    with Crew(hang, [None, None]) as crew:
        pids = crew.gather("ready", LIMIT)
    assert all(gone(pid) for pid in pids)


def test_the_end_cancels_the_task_so_that_it_can_clean_up(tmp_path):
    with Crew(end_well, [str(tmp_path / "0")]) as crew:
        crew.gather("ready", LIMIT)
    assert (tmp_path / "0").read_text() == "ended well"


def test_workers_never_see_ctrl_c():
    """SIGINT is blocked in them: only their parent decides."""
    with Crew(echo, [None]) as crew:
        crew.gather("ready", LIMIT)
        os.kill(crew.pids[0], 2)
        crew.tell("still here")
        assert crew.gather("echo", LIMIT) == ["still here"]
