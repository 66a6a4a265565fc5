"""`samecall export`, `import`, `forget --tag`, and sealed entries in `show`."""

import asyncio
import base64
import json

import pytest
from cli_support import LIMIT, Priced, fill, process, samecall

from samecall import Cache
from samecall._seal import Seal
from samecall.testing import LocalServer

KEY = Seal.new_key()
SEAL = "one=" + base64.b64encode(KEY).decode()


@pytest.fixture(scope="module")
def server():
    with LocalServer() as running:
        yield running


def ask(url, namespace, **more):
    async def call():
        return "the answer"

    async def work():
        async with Cache(url, namespace=namespace, seal=more.pop("seal", None)) as cache:
            await cache.get_or_call("k", call, codec=Priced(), **more)

    asyncio.run(work())


def test_entries_go_to_a_file_and_come_back(server, tmp_path):
    fill(server.url, "here")
    path = str(tmp_path / "entries.jsonl")
    done = samecall("export", path, "--url", server.url, "-n", "here", "--json")
    assert (done.code, json.loads(done.stdout)["entries"]) == (0, 3)
    done = samecall("import", path, "--url", server.url, "-n", "there", "--json")
    assert (done.code, json.loads(done.stdout)) == (0, {"stored": 3, "expired": 0})
    entries = samecall("ls", "--url", server.url, "-n", "there", "--json").stdout.splitlines()
    assert {json.loads(entry)["model"] for entry in entries} == {"gpt-4o-mini"}


def test_entries_go_through_a_pipe(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(server.url, "from here")
    with (
        process("export", "-", "-u", server.url, "-n", "from here", "--json") as one,
        process("import", "-", "-u", server.url, "-n", "to there", stdin=one.stdout) as other,
    ):
        assert one.stdout is not None
        one.stdout.close()
        said, told = other.communicate(timeout=LIMIT)
        assert one.stderr is not None
        assert json.loads(one.stderr.read()) == {"entries": 3, "file": "-"}
    assert (one.returncode, other.returncode, told) == (0, 0, "")
    assert said == "3 entries stored, 0 had expired\n"
    done = samecall("import", "-", "--url", server.url, given='{"format":"no"}\n')
    assert (done.code, done.stdout) == (1, "")
    assert "-: " in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_used(server, tmp_path):
    done = samecall("export", "/nowhere/entries.jsonl", "--url", server.url)
    assert (done.code, done.stdout) == (2, "")
    assert "FILE /nowhere/entries.jsonl" in done.stderr
    done = samecall("import", "/nowhere/entries.jsonl", "--url", server.url)
    assert (done.code, done.stdout) == (2, "")
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_text('{"format":"samecall/1","namespace":"x","made":1.0}\n{"key":"no"}\n')
    done = samecall("import", str(damaged), "--url", server.url)
    assert (done.code, done.stdout) == (1, "")
    assert "line 2:" in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_has_a_tag_is_forgotten(server):
    async def call():
        return "yes"

    async def asked(**more):
        async with Cache(server.url, namespace="tagged") as cache:
            await cache.get_or_call("k", call, tags=("invoice",))
            return cache.statistics().provider_calls

    assert asyncio.run(asked()) == 1
    assert asyncio.run(asked()) == 0
    at = ("--url", server.url, "-n", "tagged")
    assert "forgotten" not in samecall("ls", *at).stdout
    assert samecall("forget", "--tag", "invoice", *at).code == 0
    assert "(forgotten)" in samecall("ls", *at).stdout
    assert json.loads(samecall("ls", "--json", *at).stdout)["forgotten"] is True
    assert asyncio.run(asked()) == 1
    assert "forgotten" not in samecall("ls", *at).stdout


def test_a_sealed_entry_is_shown_with_its_key_only(server):
    ask(server.url, "sealed", seal=Seal({"one": KEY}, "one"))
    key = samecall("ls", "--url", server.url, "-n", "sealed", "--keys").stdout.strip()
    shown = samecall("show", key, "--url", server.url, "-n", "sealed")
    assert "the answer" not in shown.stdout
    assert "sealed" in shown.stdout
    shown = samecall("show", key, "--url", server.url, "-n", "sealed", "--seal", SEAL, "--json")
    assert json.loads(shown.stdout)["answer"] == "the answer"
    other = "one=" + base64.b64encode(Seal.new_key()).decode()
    assert (
        "the answer"
        not in samecall("show", key, "--url", server.url, "-n", "sealed", "--seal", other).stdout
    )


def test_what_is_sealed_and_has_a_tag_is_forgotten(server):
    """Whoever forgets it needs no key; who has it is told the truth about what is sealed."""
    seal, at = Seal({"one": KEY}, "one"), ("--url", server.url, "-n", "sealed-tags")
    ask(server.url, "sealed-tags", seal=seal, tags=("invoice",))
    assert "forgotten" not in samecall("ls", *at, "--seal", SEAL).stdout
    assert samecall("forget", "--tag", "invoice", *at).code == 0
    assert "(forgotten)" in samecall("ls", *at, "--seal", SEAL).stdout
    ask(server.url, "sealed-tags", seal=seal, tags=("invoice",))
    assert "forgotten" not in samecall("ls", *at, "--seal", SEAL).stdout


@pytest.mark.parametrize("seal", ["", "one", "one=short", "one=" + "A" * 20, "=" + "A" * 44])
def test_a_seal_that_is_none(server, seal):
    done = samecall("show", "ab" * 32, "--url", server.url, "--seal", seal)
    assert (done.code, done.stdout) == (2, "")
    assert "--seal" in done.stderr
