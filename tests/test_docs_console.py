"""The command lines of README and docs are run, page by page and line by line, in a shell.

Against real servers and the stub provider. Exit codes count, and below a line that shows what it
prints, it printed that: the same words in the same places, with figures of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from docs_parts import BLOCKS, ROOT, Command, commands, parts
from samecall.testing import LocalServer, StubProvider
from samecall.testing.servers import free_port, wait_until

LIMIT = 400
NOT_RUN = {
    "pip install": "needs an index of packages; nox installs each of these extras and groups",
    "nox": "runs these tests, among others; its sessions are held against noxfile.py",
    "pytest": "runs these tests",
    "kubectl run": "needs a cluster; `samecall top`, which it runs there, is run of docs/cli.md",
}
if shutil.which("git") is None:
    NOT_RUN["pre-commit install"] = "needs git"
# What would take minutes, or a port that may be taken; what a line says itself comes later.
SMALLER = {
    "samecall demo": "--calls 60 --prompts 6 --workers 2 --latency 0.1",
    "samecall top": "--count 2 --interval 0.5",  # a page shows one with rates: not the first
    "samecall bench": "--rounds 1 --calls 160 --prompts 40",
    "python tests/simulation/scale.py": "--workers 20 --only deploy",
    "uvicorn": "--log-level warning --port {port}",
}
# What goes on until Ctrl-C, and what it answers until then.
ENDLESS = {"uvicorn": "/statistics"}
SERVERS = (
    ("redis://localhost:6379", "redis://old:6379", "redis://my-redis:6379"),
    ("redis://new:6379",),
)
MODELS = "from pydantic import BaseModel\n\n\nclass User(BaseModel):\n    name: str\n    age: int\n"

# Of a service: three workers and two namespaces, of three calls each.
MORNING = """
import asyncio, sys
import instructor
from my_service.models import User
from samecall import Cache
from samecall.instructor import cached

async def work(namespace):
    async with Cache(sys.argv[1], namespace=namespace) as cache:
        client = cached(instructor.from_provider("openai/gpt-4o-mini", async_client=True), cache)
        for age in 36, 37, 38:
            said = [{"role": "user", "content": "Ada " * 999 + f"is {age}"}]
            await client.create(response_model=User, messages=said)

for namespace in "default", "default", "prod":
    asyncio.run(work(namespace))
"""

# Where there is no program of that name: its library, and the one option that docs use.
JQ = """
import sys, jq
option, filtered = sys.argv[1:]
assert option == "-r"
for found in jq.compile(filtered).input_text(sys.stdin.read()):
    print(found)
"""


class Shell:
    """Runs a page's lines one after another; what one exports is there for the next."""

    def __init__(self, cwd: Path, scratch: Path, port: int, env: dict[str, str]) -> None:
        self._cwd, self._state, self._port, self._env = cwd, scratch / "exported", port, env

    def begin(self, line: str) -> subprocess.Popen[str]:
        for program, more in SMALLER.items():
            line = re.sub(rf"(^|\s){program}\b", rf"\g<0> {more}", line)
        script = (
            f"set -o pipefail; if [ -e {self._state} ]; then . {self._state}; fi\n"
            f"{line.format(port=self._port)}\n"
            f"code=$?; export -p >{self._state}; exit $code\n"
        )
        return subprocess.Popen(
            ["bash", "-c", script], cwd=self._cwd, env=self._env, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )  # fmt: skip

    def run(self, command: Command) -> None:
        """Raises AssertionError with what it printed."""
        with self.begin(command.line) as process:
            try:
                for program, path in ENDLESS.items():
                    if re.search(rf"(^|\s){program}\s", command.line):
                        self._meet(process, f"http://127.0.0.1:{self._port}{path}")
                printed, told = process.communicate(timeout=LIMIT)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == 0, f"{command.line}: {process.returncode}\n{printed}\n{told}"
        if command.shown:
            shown = "\n".join(command.shown)
            before = ["..."] if command.line.startswith("samecall top") else []
            assert agrees(printed, before + command.shown), (
                f"{command.line}:\n{printed}\nand not\n{shown}"
            )

    def _meet(self, process: subprocess.Popen[str], url: str) -> None:
        wait_until(lambda: process.poll() is not None or answers(url), url, LIMIT)
        os.killpg(process.pid, signal.SIGINT)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=60):
            return True
    except OSError:
        return False


def agrees(printed: str, shown: list[str]) -> bool:
    """Line by line; `...` stands for any lines."""
    lines = ["(.*\n)*" if each == "..." else re.escape(each) + "\n" for each in shapes(shown)]
    told = "".join(f"{each}\n" for each in shapes(printed.splitlines()))
    return re.fullmatch("".join(lines), told) is not None


def shapes(lines: list[str]) -> list[str]:
    """Lines without their figures and their alignment."""
    found = [" ".join(re.sub(r"\d[\d,.]*", "#", line).split()) for line in lines]
    return [line for line in found if line]


def console_of(text: str) -> list[Command]:
    """What of a console can run here."""
    found: list[Command] = []
    for command in commands(text):
        runs = [part for part in parts(command.line) if not reason(part)]
        if runs:
            found.append(Command(" && ".join(runs), command.shown))
    return found


def reason(part: str) -> str | None:
    return next((why for each, why in NOT_RUN.items() if re.match(rf"{each}\b", part)), None)


CONSOLES = [block for block in BLOCKS if block.kind == "console"]
RUN = sorted({block.at.partition(":")[0] for block in CONSOLES if console_of(block.text)})


# --- what a page's reader has when it begins ------------------------------------------------------


def place(page: str, cwd: Path) -> Path:
    """Where the reader is."""
    if page == "docs/scale.md":
        return ROOT
    if page == "docs/examples.md":
        return ROOT / "docs" / "examples"
    if page == "CONTRIBUTING.md" and shutil.which("git"):  # in a clone
        subprocess.run(["git", "init", "-q", cwd], check=True)
        shutil.copy(ROOT / ".pre-commit-config.yaml", cwd)
    (cwd / "my_service").mkdir()
    (cwd / "my_service" / "models.py").write_text(MODELS)
    return cwd


@contextmanager
def servers(texts: list[str]) -> Generator[tuple[list[str], list[str]]]:
    """The texts with the URLs of servers that are there, and those."""
    with LocalServer() as one, LocalServer() as other:
        for server, names in zip((one, other), SERVERS, strict=True):
            for name in names:
                texts = [text.replace(name, server.url.removesuffix("/0")) for text in texts]
        yield texts, [one.url, other.url]


def program(at: Path, source: str) -> None:
    at.parent.mkdir()
    at.write_text(f"#!{sys.executable}\n{source}")
    at.chmod(0o755)


@pytest.mark.timeout(1_200)  # fleets of eight processes, one after another, on a busy machine
@pytest.mark.parametrize("page", RUN)
def test_command_lines_run(page: str, tmp_path: Path) -> None:
    texts = [block.text for block in CONSOLES if block.at.startswith(f"{page}:")]
    cwd = place(page, tmp_path)
    with servers(texts) as (texts, urls), StubProvider.in_thread() as stub:
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "120",
            "OPENAI_API_KEY": "no-key",
            "OPENAI_BASE_URL": stub.openai_url,
        }
        if shutil.which("jq") is None:
            program(tmp_path / "bin" / "jq", JQ)
            environment["PATH"] += f"{os.pathsep}{tmp_path / 'bin'}"
        shell = Shell(cwd, tmp_path, free_port(), environment)
        if page == "docs/cli.md":
            (cwd / "morning.py").write_text(MORNING)
            shell.run(Command(f"python morning.py {urls[0]}", []))
        for command in [command for text in texts for command in console_of(text)]:
            if command.line.startswith("cat "):
                (cwd / command.line.split()[1]).write_text("\n".join([*command.shown, ""]))
            shell.run(command)
        if page == "docs/cli.md":  # forgotten, warmed; exported, imported
            for namespace, entries in (("default", 2), ("prod", 3)):
                shell.run(
                    Command(f"samecall ls --keys -n {namespace} | wc -l | grep -x {entries}", [])
                )


# --- that it would be seen ------------------------------------------------------------------------


def test_what_does_not_run_is_named_and_no_more() -> None:
    lines = [
        part for block in CONSOLES for each in commands(block.text) for part in parts(each.line)
    ]
    assert {why for line in lines if (why := reason(line))} == set(NOT_RUN.values())


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("false", []),
        ("false | cat", []),
        ("samecall no-such-command", []),
        ("echo 'ok  version  9.1'", ["warning version 9.1"]),
        ("echo 'ok  version  9.1'", ["ok version"]),
        ("echo 'ok  version  9.1'", ["ok version 9.1", "more"]),
        ("echo 'ok  version  9.1'; echo more", ["ok version 9.1"]),
    ],
)
def test_a_line_that_does_otherwise_is_found(line: str, shown: list[str], tmp_path: Path) -> None:
    shell = Shell(tmp_path, tmp_path, 0, dict(os.environ))
    shell.run(Command("echo 'ok  version 9.1'; echo more", ["ok version 8.2.1", "..."]))
    with pytest.raises(AssertionError):
        shell.run(Command(line, shown))
