"""Every command on a dead URL, a wrong password, an empty store, a closed pipe, and at Ctrl-C."""

import os
import signal
import socket
from contextlib import closing
from importlib import metadata
from pathlib import Path

import pytest
from cli_forks import Forks
from cli_support import LIMIT, samecall, wait_for

import redis
from samecall.cli import commands
from samecall.testing import StubProvider
from samecall.testing.servers import LocalServer

KEY = "ab" * 32
EXPORTED = str(Path(__file__).with_name("exported.jsonl"))
FLEET = ("--workers", "1", "--calls", "10", "--prompts", "5", "--latency", "0.02")
EACH = {
    # words of the command line: exit code on an empty store, and what it says there
    ("demo", *FLEET): (0, "5 provider calls for 5 distinct prompts"),
    ("bench", *FLEET, "--rounds", "1"): (0, "paid for once each"),
    ("stats",): (1, "no worker has told of anything"),
    ("stats", "--json"): (1, '"workers":[]'),
    ("top",): (0, "no worker has told of anything"),
    ("top", "--json", "--count", "1"): (0, '"workers":[]'),
    ("doctor",): (0, "leases and entries"),
    ("doctor", "--json"): (0, '"check":"leases and entries"'),
    ("ls",): (1, "samecall ls: no entries in namespace 'default'"),
    ("ls", "--json"): (1, "samecall ls: no entries in namespace 'default'"),
    ("show", KEY): (1, "samecall show: no entry abababababababab"),
    ("show", "abab"): (1, "samecall show: no key in 'default' begins with abab"),
    ("forget", KEY): (0, KEY),
    ("forget", "abab"): (1, "samecall forget: no key in 'default' begins with abab"),
    ("forget", "--all", "--yes"): (0, "forgot every entry of 'default'"),
    ("forget", "--tag", "t"): (0, "forgot every entry of 'default' with the tag 't'"),
    ("warm", "calls.jsonl", "--provider", "openai/gpt-4o-mini"): (0, "1 calls: 1 asked"),
    ("export", "entries.jsonl"): (0, "0 entries in entries.jsonl"),
    ("import", EXPORTED): (0, "entries stored"),
}
NAME = lambda words: " ".join(words)[:20]  # noqa: E731
WRITES = [words for words, (code, _) in EACH.items() if code == 0 or words[0] in {"stats", "ls"}]
WRITES.remove(("demo", *FLEET))  # see test_demo.py, for all that a demo does
NO_FLEET = pytest.mark.parametrize(  # see test_demo.py and test_seen.py for what those do
    "words", [words for words in EACH if FLEET[0] not in words], ids=NAME
)
THOSE = pytest.mark.parametrize("words", EACH, ids=NAME)


@pytest.fixture(scope="module")
def server():
    with LocalServer() as running:
        yield running


@pytest.fixture
def empty(server):
    with redis.Redis.from_url(server.url) as raw:
        raw.flushall()
    return server.url


@pytest.fixture(scope="module")
def stub():
    with StubProvider.in_thread() as stub:
        yield stub


@pytest.fixture(scope="module")
def there(tmp_path_factory, stub):
    """The directory in which all commands run, and their environment."""
    there = tmp_path_factory.mktemp("there")
    (there / "calls.jsonl").write_text('{"messages": [{"role": "user", "content": "Ada"}]}\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(there)
        patch.setenv("OPENAI_API_KEY", "no-key")
        patch.setenv("OPENAI_BASE_URL", stub.openai_url)
        patch.delenv("SAMECALL_URL", raising=False)
        yield there


@pytest.fixture(scope="module")
def forks(there):
    with Forks(there) as forks:
        yield forks


def test_no_command_is_left_out():
    named = {
        path.stem.rstrip("_")
        for place in commands.__path__
        for path in Path(place).glob("[!_]*.py")
    }
    assert {words[0] for words in EACH} == named


def test_the_version():
    done = samecall("--version")
    assert (done.code, done.stdout) == (0, f"samecall {metadata.version('samecall')}\n")


@THOSE
def test_a_dead_url(words, there):
    done = samecall(*words, "--url", "redis://me:secret@127.0.0.1:1/0")
    assert (done.code, done.stdout) == (3, "")
    assert done.stderr.startswith(f"samecall {words[0]}: no answer from redis://127.0.0.1:")
    assert "secret" not in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def locked():
    with LocalServer(arguments=["--requirepass", "right"]) as locked:
        yield locked.url


@THOSE
def test_a_wrong_password(words, there, locked):
    done = samecall(*words, "--url", locked.replace("//", "//:wrong@"))
    assert (done.code, done.stdout) == (3, "")
    assert done.stderr.startswith(f"samecall {words[0]}: {locked} refuses the login")
    assert "wrong@" not in done.stderr
    assert done.stderr.count("\n") == 1


@NO_FLEET
def test_an_empty_store(words, forks, empty):
    done = forks.run(*words, "--url", empty)
    code, says = EACH[words]
    assert done.code == code
    assert says in " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in done.stderr
    assert not done.stdout or not done.stderr


@pytest.mark.parametrize("words", WRITES, ids=NAME)
def test_a_pipe_that_closes(words, forks, empty, stub):
    if words[0] == "ls":
        with redis.Redis.from_url(empty) as raw:
            raw.set(f"default:v:{{{KEY}}}", b"not an entry", ex=3600)
    done = forks.run(*words, "--url", empty, closed=True)
    assert (done.code, done.stderr) == (141, "")


@THOSE
def test_ctrl_c_while_the_store_says_nothing(words, forks):
    """It listens, and never replies: the command waits, and ends when it is told to."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        silent.settimeout(LIMIT)
        pid = forks.start(*words, "--url", f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        connection, _ = silent.accept()
        os.kill(pid, signal.SIGINT)
        done = forks.wait()
        connection.close()
    assert (done.code, done.stdout) == (130, "")
    assert done.stderr == f"samecall {words[0]}: interrupted\n"


# --- an input in which nothing comes --------------------------------------------------------------


@pytest.fixture
def quiet(tmp_path):
    """The path of a pipe that somebody holds open and writes nothing to."""
    path = tmp_path / "quiet"
    os.mkfifo(path)
    held = os.open(path, os.O_RDWR)
    yield str(path)
    os.close(held)


def test_ctrl_c_where_nobody_answers_a_question(forks, empty, quiet):
    pid = forks.start("forget", "--all", "--url", empty, stdin=quiet)
    wait_for(lambda: forks.says("[y/N]"))
    os.kill(pid, signal.SIGINT)
    done = forks.wait()
    assert done.code == 130
    assert done.stderr.endswith("[y/N]: samecall forget: interrupted\n")


def test_a_question_that_nobody_can_answer(forks, empty):
    done = forks.run("forget", "--all", "--url", empty)
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.endswith(
        "samecall forget: nothing was forgotten: nobody answers here, give --yes\n"
    )


@pytest.fixture
def reading(forks, empty, stub, tmp_path):
    """Begins `warm -`, and gives its process id once it has asked the first line's call and reads
    on: a thread of it waits for a second line, which nothing can interrupt.
    """
    path = tmp_path / "calls"
    os.mkfifo(path)
    held = os.open(path, os.O_RDWR)

    def begin(**more):
        os.write(held, b'{"messages": [{"role": "user", "content": "the only line"}]}\n')
        words = ("warm", "-", "-p", "openai/gpt-4o-mini", "--url", empty)
        before = stub.calls
        pid = forks.start(*words, stdin=str(path), **more)
        wait_for(lambda: stub.calls == before + 1)
        return pid

    yield begin
    os.close(held)


def test_ctrl_c_while_a_pipe_is_read(reading, forks):
    os.kill(reading(), signal.SIGINT)
    done = forks.wait()
    assert (done.code, done.stdout, done.stderr) == (130, "", "samecall warm: interrupted\n")


def test_a_second_ctrl_c_ends_what_takes_its_time_to_end(reading, forks):
    pid = reading(grace=LIMIT)
    os.kill(pid, signal.SIGINT)
    wait_for(lambda: forks.says("interrupted"))
    os.kill(pid, signal.SIGINT)
    done = forks.wait()
    assert (done.code, done.stderr) == (-signal.SIGINT, "samecall warm: interrupted\n")
