"""What of README and docs is not Python: command lines, manifests, rules of a server, queries.

Every block is of a kind that is tried here. Command lines are held against the programs themselves:
their commands, options, extras, sessions and files are there; test_docs_console.py runs them.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import promql_parser
import pytest
import typer.main
import yaml
from prometheus_client import generate_latest
from pytest_examples import find_examples
from redis.asyncio import Redis

from docs_parts import BLOCKS, PAGES, ROOT, Block, commands, parsed, words
from samecall import Cache, Policy
from samecall.cli._app import application
from samecall.prometheus import PrometheusObserver
from samecall.testing import LocalServer

RUN = {
    "console": "test_docs_console.py, but for what it names there",
    "python": "test_docs.py",
    "text": "below: rules of an ACL, under which a cache works",
}
NOT_RUN = {
    "promql": "needs a Prometheus server; parsed below, and the metrics are there",
    "yaml": "needs a cluster; held below against the schemas of its newest version",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = set(PROJECT["project"]["optional-dependencies"])
SESSIONS = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE))


def of(kind: str) -> Any:
    some = [block for block in BLOCKS if block.kind == kind]
    return pytest.mark.parametrize("block", some, ids=[block.at for block in some])


def test_every_block_is_of_a_kind_that_is_tried() -> None:
    assert {block.kind for block in BLOCKS} == {*RUN, *NOT_RUN}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_block_hides_from_that(page: Path) -> None:
    """By an indent alone, by HTML, by tildes, or as Python that its test does not see."""
    tokens = parsed(page)
    assert not [token.map for token in tokens if token.type == "code_block"]
    assert not [token.map for token in tokens if "<pre" in token.content.lower()]
    fences = [token for token in tokens if token.type == "fence"]
    assert {token.markup for token in fences} <= {"```"}
    python = sum(token.info.strip() == "python" for token in fences)
    assert python == len(list(find_examples(page)))


# --- command lines --------------------------------------------------------------------------------


def try_samecall(args: list[str]) -> None:
    group: Any = typer.main.get_command(application())
    context = group.make_context("samecall", [], resilient_parsing=True)
    if args == ["--help"]:
        return
    command = group.get_command(context, args[0])
    assert command is not None, f"samecall has no command {args[0]}"
    inner = command.context_class(command, info_name=args[0], parent=context)
    command.parse_args(inner, args[1:])  # an option that it has not, or one without its value


def try_pip(args: list[str]) -> None:
    assert args[0] == "install"
    for word in args[1:]:
        extras = re.fullmatch(r"(?:samecall|\.)\[(.*)\]", word)
        assert extras is None or set(extras[1].split(",")) <= EXTRAS, word
    if "--group" in args:
        assert args[args.index("--group") + 1] in PROJECT["dependency-groups"]


def try_nox(args: list[str]) -> None:
    if "-s" in args:
        assert args[args.index("-s") + 1].partition("-")[0] in SESSIONS


def try_python(args: list[str]) -> None:
    if args[0] == "-m":
        assert args[1] == "venv"
        return
    script = ROOT / args[0]
    assert script.is_file()
    options = [word for word in args[1:] if word.startswith("--")]
    if options:
        asked = [sys.executable, str(script), "--help"]
        told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        assert all(option in told for option in options)


def try_uvicorn(args: list[str]) -> None:
    module, _, name = args[0].partition(":")
    source = (ROOT / "docs" / "examples" / f"{module}.py").read_text()
    assert re.search(rf"^{name} = ", source, re.MULTILINE)


PROGRAMS: dict[str, Any] = {
    "samecall": try_samecall,
    "pip": try_pip,
    "nox": try_nox,
    "python": try_python,
    "python3": try_python,
    "uvicorn": try_uvicorn,
}
# of a shell, or of others
GIVEN = {".", "cat", "export", "gzip", "jq", "kubectl", "pre-commit", "pytest"}


@pytest.fixture(autouse=True)
def store_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/cli.md has it exported."""
    monkeypatch.setenv("SAMECALL_URL", "redis://localhost:6379/0")


@of("console")
def test_command_lines_call_what_is_there(block: Block) -> None:
    called = [program for command in commands(block.text) for program in words(command.line)]
    assert called
    for program, *args in called:
        if program not in GIVEN:
            PROGRAMS[program](args)


INLINE = {
    f"{page.name}: {found}"
    for page in PAGES
    for found in re.findall(r"`(samecall [a-z]+ -[^`]*)`", page.read_text())
}


@pytest.mark.parametrize("line", sorted(INLINE))
def test_options_named_in_a_sentence_are_there(line: str) -> None:
    _, name, *options = line.partition(": ")[2].split()
    group: Any = typer.main.get_command(application())
    takes = {option for param in group.commands[name].params for option in param.opts}
    assert {option for option in options if option.startswith("-")} <= takes


@pytest.mark.parametrize(
    "line",
    ["samecall lss", "samecall ls --jsn", "pip install 'samecall[cly]'", "nox -s fuz", "toxic"],
)
def test_a_command_line_with_a_slip_is_found(line: str) -> None:
    with pytest.raises(Exception):  # noqa: B017 - click's, a KeyError, an assertion
        test_command_lines_call_what_is_there(Block("", "console", line))


def test_calls_that_docs_warm_with_can_be_read() -> None:
    """And exported entries: lines of JSON in a block are what its command takes."""
    (block,) = [block for block in BLOCKS if "cat calls.jsonl" in block.text]
    lines = [line for line in block.text.splitlines() if line.startswith("{")]
    assert lines
    assert all("messages" in yaml.safe_load(line) for line in lines)  # JSON is YAML


# --- manifests, rules, queries --------------------------------------------------------------------


@of("yaml")
def test_manifests_are_what_kubernetes_takes(block: Block) -> None:
    documents = list(yaml.safe_load_all(block.text))
    assert documents
    for document in documents:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_a_manifest_with_a_slip_is_found() -> None:
    (block, *_) = [block for block in BLOCKS if block.kind == "yaml"]
    document = next(yaml.safe_load_all(block.text.replace("replicas", "replica")))
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


@of("text")
def test_rules_of_a_server_let_samecall_work(block: Block) -> None:
    """Each is a user of an ACL: a call under its login is led, stored, and a hit for the next."""
    (line,) = block.text.splitlines()
    words = shlex.split(line)
    words = words[words.index("SETUSER") + 1 :] if "SETUSER" in words else words[1:]
    user, *rules = words
    (password,) = [rule[1:] for rule in rules if rule.startswith(">")]
    report = "~*" in rules  # else a tenant's, who writes nothing outside of its namespace

    async def call() -> int:
        return 7

    async def run(server: LocalServer) -> None:
        redis: Any = Redis.from_url(server.url)  # pyright: ignore[reportUnknownMemberType]
        async with redis:
            await redis.execute_command("ACL", "SETUSER", user, *rules)
        url = server.url.replace("://", f"://{user}:{password}@", 1)
        for hits in (0, 1):
            policy = Policy(op_timeout=20)
            cache = Cache(url, namespace=user, l1=None, policy=policy, report=report)
            async with cache:
                assert await cache.get_or_call("k", call) == 7
            statistics = cache.statistics()
            assert (statistics.l2_hits, statistics.store_faults) == (hits, 0)

    with LocalServer() as server:
        asyncio.run(run(server))


@of("promql")
def test_queries_ask_for_metrics_that_there_are(block: Block) -> None:
    promql_parser.parse(block.text)
    PrometheusObserver()
    told = generate_latest().decode()
    names = set(re.findall(r"\bsamecall_\w+", block.text))
    assert names
    for name in names:
        assert f"# TYPE {name.removesuffix('_total')} " in told or f"# TYPE {name} " in told, name
