"""`samecall warm`: calls asked ahead of time."""

import asyncio
import base64
import json

import pytest
from cli_support import LIMIT, process, samecall
from pydantic import BaseModel

import instructor
from samecall import Cache, Seal
from samecall.instructor import cached
from samecall.testing import LocalServer, StubProvider

SECRET, KEY = b"a secret of the whole fleet", b"k" * 32


class City(BaseModel):
    name: str


@pytest.fixture(scope="module")
def server():
    with LocalServer() as running:
        yield running


@pytest.fixture
def stub(monkeypatch):
    with StubProvider.in_thread() as stub:
        monkeypatch.setenv("OPENAI_API_KEY", "no-key")
        monkeypatch.setenv("OPENAI_BASE_URL", stub.openai_url)
        yield stub


def lines(tmp_path, *calls):
    path = tmp_path / "calls.jsonl"
    path.write_text(
        "\n".join(call if isinstance(call, str) else json.dumps(call) for call in calls)
    )
    return str(path)


def ask(text):
    return {"messages": [{"role": "user", "content": text}]}


def warm(server, path, *more, given=None):
    return samecall(
        "warm", path, "--url", server.url, "--provider", "openai/gpt-4o-mini",
        "--response-model", "test_warm:City", "--json", *more, given=given,
    )  # fmt: skip


def test_calls_are_asked_once_and_are_there_then(server, stub, tmp_path):
    path = lines(tmp_path, *(ask(f"city {number % 5}") for number in range(20)), "")
    done = warm(server, path, "--namespace", "first")
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout) == {"lines": 20, "called": 5, "there": 15, "failed": 0}
    again = warm(server, path, "--namespace", "first")
    assert json.loads(again.stdout) == {"lines": 20, "called": 0, "there": 20, "failed": 0}
    assert stub.calls == 5


def test_a_bad_line_is_told_and_the_rest_goes_on(server, stub, tmp_path):
    path = lines(
        tmp_path, ask("one"), "{no json", "[]", {"temperature": 1}, {**ask("x"), "hooks": 1},
        {**ask("x"), "cache_mode": "bypass"}, ask("two"),
    )  # fmt: skip
    done = warm(server, path, "--namespace", "second")
    assert done.code == 1
    assert json.loads(done.stdout) == {"lines": 7, "called": 2, "there": 0, "failed": 5}
    for number, says in ((2, "no JSON"), (3, "a JSON object"), (4, "messages"), (5, "hooks"),
                         (6, "cache_mode")):  # fmt: skip
        assert any(f"line {number}:" in line and says in line for line in done.stderr.splitlines())


def test_a_service_with_a_secret_and_a_seal_finds_what_was_warmed(
    server, stub, tmp_path, monkeypatch
):
    """Its keys are keyed and its entries sealed; `ls` reads them with the seal's key only."""
    monkeypatch.setenv("SAMECALL_SECRET", SECRET.decode())
    monkeypatch.setenv("SAMECALL_SEAL", f"k={base64.b64encode(KEY).decode()}")
    done = warm(server, lines(tmp_path, ask("sealed")), "--namespace", "sealed")
    assert (done.code, json.loads(done.stdout)["called"]) == (0, 1)
    shown = json.loads(samecall("ls", "-u", server.url, "-n", "sealed", "--json").stdout)
    assert shown["model"].startswith("gpt-4o-mini")
    monkeypatch.delenv("SAMECALL_SEAL")
    shown = json.loads(samecall("ls", "-u", server.url, "-n", "sealed", "--json").stdout)
    assert shown["unreadable"] == "it is sealed, and there is no key here"

    async def service():
        seal = Seal({"k": KEY}, "k")
        async with Cache(server.url, namespace="sealed", secret=SECRET, seal=seal) as cache:
            client = cached(
                instructor.from_provider("openai/gpt-4o-mini", async_client=True), cache
            )
            return await client.create(response_model=City, **ask("sealed"))

    assert isinstance(asyncio.run(service()), City)
    assert stub.calls == 1


@pytest.mark.parametrize("secret", ["short", "base64:AAAA", "base64:ü"])
def test_a_secret_that_cannot_be_used(server, stub, tmp_path, secret):
    """It is told without being shown."""
    done = warm(server, lines(tmp_path, ask("one")), "--secret", secret)
    assert (done.code, done.stdout) == (2, "")
    assert "--secret" in done.stderr
    assert secret not in done.stderr


def test_standard_input(server, stub):
    done = warm(server, "-", "--namespace", "third", given=json.dumps(ask("one")))
    assert json.loads(done.stdout)["called"] == 1


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--provider", "nobody"), "--provider nobody"),
        (("--response-model", "City"), "--response-model takes module:Class"),
        (("--response-model", "test_warm:Town"), "--response-model test_warm:Town"),
        (("--concurrency", "0"), "--concurrency"),
    ],
)
def test_an_argument_that_cannot_be_used(server, stub, tmp_path, more, says):
    done = warm(server, lines(tmp_path, ask("one")), *more)
    assert (done.code, done.stdout) == (2, "")
    assert says in " ".join(done.stderr.split())


def test_a_provider_without_a_login_is_told_in_one_line(server, tmp_path, monkeypatch):
    """Instructor logs the traceback of what it raises: that is not for who typed the line."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    path, url = lines(tmp_path, ask("one")), server.url
    with process("warm", path, "--url", url, "--provider", "openai/gpt-4o-mini") as warming:
        said, told = warming.communicate(timeout=LIMIT)
    assert (warming.returncode, said) == (2, "")
    assert told.startswith("samecall warm: --provider openai/gpt-4o-mini: ")
    assert "OPENAI_API_KEY" in told
    assert told.count("\n") == 1


def test_a_file_that_is_not_there(server, stub):
    done = warm(server, "/nowhere/calls.jsonl")
    assert done.code == 2
    assert "FILE takes a file of JSON Lines" in done.stderr
