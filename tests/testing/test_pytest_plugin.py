"""The pytest plugin, in test runs of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ("pytester",)

TESTS = """
import asyncio
import os

import pytest


async def pay():
    assert os.environ["MAY_PAY"] == "yes", "the provider was called"
    return "paid"


def ask(cassette, key="k"):
    async def main():
        async with cassette as cache:
            return await cache.get_or_call(key, pay)

    return asyncio.run(main())


def test_plain(samecall_cassette):
    assert ask(samecall_cassette) == "paid"


@pytest.mark.parametrize("key", ["a", "b/c"])
def test_many(samecall_cassette, key):
    assert ask(samecall_cassette, key) == "paid"


@pytest.mark.samecall("shared.jsonl", namespace="tests")
def test_marked(samecall_cassette):
    assert samecall_cassette.namespace == "tests"
    assert ask(samecall_cassette) == "paid"


@pytest.mark.samecall(path="shared.jsonl", namespace="tests")
class TestClass:
    def test_marked_too(self, samecall_cassette):
        assert ask(samecall_cassette, "other") == "paid"
"""

WORKER = """
from types import SimpleNamespace

import pytest

from samecall.testing import pytest_plugin


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    # as pytest-xdist does it: the controller's run began long ago
    config.workerinput = {}
    controller = SimpleNamespace(stash={pytest_plugin._BEGAN: 1.0})
    pytest_plugin.pytest_configure_node(
        SimpleNamespace(config=controller, workerinput=config.workerinput)
    )
"""


def run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, *arguments: str, pays: bool
) -> pytest.RunResult:
    monkeypatch.setenv("MAY_PAY", "yes" if pays else "no")
    plugins = ("-p", "samecall.testing.pytest_plugin", "-p", "no:cacheprovider")
    return pytester.runpytest_inprocess("--strict-markers", *plugins, *arguments)


@pytest.fixture
def files(pytester: pytest.Pytester) -> Path:
    pytester.makepyfile(test_it=TESTS)
    return pytester.path


def test_record_once_then_replay(
    pytester: pytest.Pytester, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run pays and says so; the others call nobody and change nothing."""
    first = run(pytester, monkeypatch, "--samecall-record", pays=True)
    first.assert_outcomes(passed=5)
    first.stdout.fnmatch_lines(["samecall: cassettes in mode 'record', providers are paid"])
    made = {path.relative_to(files).as_posix() for path in files.rglob("*.jsonl")}
    assert made == {
        "shared.jsonl",
        "cassettes/test_it/test_plain.jsonl",
        "cassettes/test_it/test_many[a].jsonl",
        "cassettes/test_it/test_many[b_c].jsonl",
    }
    assert len((files / "shared.jsonl").read_text().splitlines()) == 3
    before = {path: path.read_bytes() for path in files.rglob("*.jsonl")}
    again = run(pytester, monkeypatch, pays=False)
    again.assert_outcomes(passed=5)
    again.stdout.no_fnmatch_line("*providers are paid*")
    assert {path: path.read_bytes() for path in files.rglob("*.jsonl")} == before


def test_without_a_cassette(
    pytester: pytest.Pytester, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test ends in an error that names the option; no provider is called."""
    result = run(pytester, monkeypatch, "-k", "plain", pays=False)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*there is no cassette*test_plain.jsonl*--samecall-record*"])


@pytest.mark.parametrize("wrong", ["'a', 'b'", "''", "path=5"])
def test_a_marker_that_cannot_be_used(
    pytester: pytest.Pytester, files: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """Nothing of it is passed over in silence."""
    test = files / "test_it.py"
    test.write_text(
        f"import pytest\n\n@pytest.mark.samecall({wrong})\n"
        "def test_it(samecall_cassette):\n    pass\n"
    )
    result = run(pytester, monkeypatch, "--samecall-record", pays=True)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*pytest.mark.samecall takes the path of a file*"])


def test_a_call_that_is_not_recorded(
    pytester: pytest.Pytester, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails with what differs; with --samecall-record it is added."""
    run(pytester, monkeypatch, "-k", "plain", "--samecall-record", pays=True)
    test = files / "test_it.py"
    test.write_text(test.read_text().replace('key="k"', 'key="new"'))
    result = run(pytester, monkeypatch, "-k", "plain", pays=False)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*CacheMiss: cassette *test_plain.jsonl*differs in key"])
    run(pytester, monkeypatch, "-k", "plain", "--samecall-record", pays=True)
    run(pytester, monkeypatch, "-k", "plain", pays=False).assert_outcomes(passed=1)


def test_rewrite_takes_out_what_is_asked_no_more(
    pytester: pytest.Pytester, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(pytester, monkeypatch, "-k", "plain", "--samecall-record", pays=True)
    test = files / "test_it.py"
    test.write_text(test.read_text().replace('key="k"', 'key="new"'))
    run(pytester, monkeypatch, "-k", "plain", "--samecall-rewrite", pays=True)
    cassette = files / "cassettes" / "test_it" / "test_plain.jsonl"
    assert len(cassette.read_text().splitlines()) == 2
    run(pytester, monkeypatch, "-k", "plain", pays=False).assert_outcomes(passed=1)


def test_rewrite_keeps_what_other_tests_of_the_run_have_paid_for(
    pytester: pytest.Pytester, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tests share a cassette: what neither asks for is gone, what both did is there."""
    run(pytester, monkeypatch, "-k", "marked", "--samecall-record", pays=True)
    test = files / "test_it.py"
    test.write_text(test.read_text().replace('"other"', '"another"'))
    run(pytester, monkeypatch, "-k", "marked", "--samecall-rewrite", pays=True)
    assert len((files / "shared.jsonl").read_text().splitlines()) == 3
    run(pytester, monkeypatch, "-k", "marked", pays=False).assert_outcomes(passed=2)


def test_rewrite_by_several_workers_is_one_run(
    pytester: pytest.Pytester, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that comes to a shared cassette after another one has rewritten it adds to it."""
    run(pytester, monkeypatch, "-k", "marked", "--samecall-record", pays=True)
    (files / "conftest.py").write_text(WORKER)
    rewritten = run(pytester, monkeypatch, "-k", "marked_too", "--samecall-rewrite", pays=True)
    rewritten.assert_outcomes(passed=1)
    assert len((files / "shared.jsonl").read_text().splitlines()) == 3
