"""Commands on what cannot work: a plain message, the right exit code, no traceback.

What each and every command must bear is in test_every_command.py.
"""

import json
import os
import pty
import select
import signal
import termios
import time
from pathlib import Path

import pytest
from cli_support import LIMIT, fill, process, samecall, wait_for

import redis
from samecall.testing.servers import LocalServer

KEY = "ab" * 32
COMMANDS = [
    ("stats",),
    ("top", "--count", "1"),
    ("doctor",),
    ("ls",),
    ("show", KEY),
    ("forget", KEY),
    ("forget", "--all", "--yes"),
    ("forget", "--tag", "t"),
    ("export", "/tmp/samecall-never-made.jsonl"),
    ("import", str(Path(__file__).with_name("exported.jsonl"))),
]
IDS = [" ".join(command)[:14] for command in COMMANDS]


@pytest.fixture(scope="module")
def server():
    with LocalServer() as running:
        yield running


@pytest.fixture
def empty(server):
    with redis.Redis.from_url(server.url) as raw:
        raw.flushall()
    return server.url


@pytest.mark.parametrize("command", COMMANDS, ids=IDS)
@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memory://", "--url takes a store that other processes use"),
        ("http://localhost", "--url takes a URL of"),
        ("localhost:6379", "--url takes a URL of"),
        ("redis://localhost:port", "--url"),
        ("", "--url takes a URL of"),
    ],
)
def test_a_url_that_cannot_be_used(command, url, says):
    done = samecall(*command, "--url", url)
    assert (done.code, done.stdout) == (2, "")
    assert says in " ".join(done.stderr.split())


@pytest.mark.parametrize("command", COMMANDS, ids=IDS)
def test_no_url_and_no_namespace(command, monkeypatch):
    monkeypatch.delenv("SAMECALL_URL", raising=False)
    done = samecall(*command)
    assert done.code == 2
    assert "--url" in done.stderr
    done = samecall(*command, "--url", "redis://127.0.0.1:1", "--namespace", "n" * 201)
    assert done.code == 2
    assert "--namespace takes a string of 1 to 200" in done.stderr


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("show", "xyz1"), "KEY takes 4 to 64 hexadecimal digits"),
        (("show", "abc"), "KEY takes 4 to 64 hexadecimal digits"),
        (("forget", "a" * 65), "KEY takes 4 to 64 hexadecimal digits"),
        (("forget",), "give KEYs or --all or --tag"),
        (("forget", KEY, "--all"), "give KEYs or --all or --tag"),
        (("top", "--interval", "0"), "--interval"),
        (("ls", "--limit", "0"), "--limit"),
        (("bench", "--workers", "9", "--calls", "8"), "--workers takes at most as many as --calls"),
        (("bench", "--zipf", "-1"), "--zipf"),
    ],
)
def test_an_argument_that_cannot_be_used(command, says, empty):
    done = samecall(*command, "--url", empty)
    assert (done.code, done.stdout) == (2, "")
    assert says in " ".join(done.stderr.split())


def test_forget_all_asks_first(empty):
    fill(empty, entries=1)
    done = samecall("forget", "--all", "--url", empty, given="n\n")
    assert done.code == 1
    assert "nothing was forgotten" in done.stderr
    assert samecall("ls", "--url", empty).code == 0


# --- as processes ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(server):
    """Enough entries that a pipe does not hold their lines."""
    with redis.Redis.from_url(server.url) as raw:
        raw.flushall()
        pipe = raw.pipeline(transaction=False)
        for number in range(20_000):
            pipe.set(f"default:v:{{{number:064x}}}", b"not an entry", ex=3600)
        pipe.execute()
    return server.url


def test_many_keys_are_listed_as_they_come_and_in_bounded_memory(many):
    listing = process("ls", "--url", many, "--json")
    first = json.loads(listing.stdout.readline())
    assert first["unreadable"] == "no entry of this version"
    rest = listing.stdout.read().splitlines()
    assert listing.wait(LIMIT) == 0
    assert len({json.loads(line)["key"] for line in rest} | {first["key"]}) == 20_000
    listing.stderr.close()


@pytest.mark.parametrize("command", [("ls",), ("ls", "--json"), ("ls", "--keys")])
def test_a_pipe_that_closes(command, many):
    listing = process(*command, "--url", many)
    listing.stdout.readline()
    listing.stdout.close()
    assert (listing.wait(LIMIT), listing.stderr.read()) == (141, "")
    listing.stderr.close()


def test_ctrl_c_while_watching_without_a_terminal(empty):
    watching = process("top", "--url", empty, "--interval", "0.1", "--json")
    watching.stdout.readline()
    os.killpg(watching.pid, signal.SIGINT)
    watching.stdout.read()
    assert (watching.wait(LIMIT), watching.stderr.read()) == (130, "samecall top: interrupted\n")


def test_ctrl_c_gives_the_terminal_back(empty):
    """The other screen is left, the cursor is shown, the terminal's settings are as they were."""
    fill(empty)
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    watching = process(
        "top", "--url", empty, "--interval", "0.2", stdin=slave, stdout=slave, stderr=slave
    )
    shown = b""
    end = time.monotonic() + LIMIT
    while b"provider calls" not in shown:
        assert time.monotonic() < end, shown
        if select.select([master], [], [], 0.1)[0]:
            shown += os.read(master, 65_536)
    os.killpg(watching.pid, signal.SIGINT)
    assert watching.wait(LIMIT) == 130
    while select.select([master], [], [], 0.1)[0]:
        shown += os.read(master, 65_536)
    assert shown.count(b"\x1b[?1049h") == shown.count(b"\x1b[?1049l") == 1
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")
    assert shown.endswith(b"samecall top: interrupted\r\n")
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_top_goes_on_when_the_store_comes_back():
    with LocalServer() as server:
        watching = process("top", "--url", server.url, "--interval", "0.1", "--json")
        assert json.loads(watching.stdout.readline())["workers"] == []
        server.kill()
        server.start()
        fill(server.url)
        wait_for(lambda: json.loads(watching.stdout.readline())["workers"] != [])
        os.killpg(watching.pid, signal.SIGINT)
        watching.stdout.read()
        assert watching.wait(LIMIT) == 130
        watching.stderr.close()
