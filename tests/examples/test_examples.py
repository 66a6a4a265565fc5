"""Each example of docs/examples does what its first lines say."""

import ast
import asyncio
import inspect
import json
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from example_parts import EXAMPLES

from samecall.testing.servers import free_port, wait_until

WORKERS = 2


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    with subprocess.Popen(command, cwd=EXAMPLES, env=environment) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as reply:
        return reply.read()


def answers(url: str) -> bool:
    try:
        fetch(url)
    except OSError:
        return False
    return True


@pytest.fixture
def service(environment: dict[str, str]) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "service:app", "--port", str(port)]
    with running([*command, "--workers", str(WORKERS), "--log-level", "warning"], environment):
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(f"{url}/statistics"), "the service did not answer", 150)
        yield url


def test_a_service_on_two_workers_asks_once(service: str, stub) -> None:
    stub.hold()
    asked = f"{service}/person?about=Ada"
    with ThreadPoolExecutor(40) as pool:
        replies = [pool.submit(fetch, asked) for _ in range(40)]
        wait_until(lambda: stub.counts().waiting == 1, "nobody called the provider", 60)
        stub.release()
        people = {reply.result() for reply in replies}
    assert len(people) == 1
    assert json.loads(people.pop()).keys() == {"name", "profession"}
    assert stub.calls == 1


def events(raw: bytes) -> list[object]:
    return [json.loads(line[5:]) for line in raw.decode().splitlines() if line[:5] == "data:"]


def test_a_story_is_streamed_to_many_and_told_once(service: str, stub) -> None:
    asked = f"{service}/story?about={quote('a lighthouse')}"
    stub.hold()
    with ThreadPoolExecutor(10) as pool:
        replies = [pool.submit(fetch, asked) for _ in range(10)]
        wait_until(lambda: stub.counts().waiting == 1, "nobody called the provider", 60)
        stub.release()
        told = [events(reply.result()) for reply in replies]
    assert len(told[0]) > 2
    assert told[0][-2].keys() == {"title", "text"}
    assert told[0][-2]["text"]
    assert all(each == told[0] for each in told)
    assert stub.calls == 1


def test_a_batch_pays_for_no_document_twice(environment: dict[str, str], stub) -> None:
    done = subprocess.run(
        [sys.executable, "batch.py", "1000"],
        cwd=EXAMPLES, env=environment, check=True, timeout=120, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "1000 documents, 900 provider calls\n"
    assert stub.calls == 900
    again = subprocess.run(
        [sys.executable, "batch.py", "1000"],
        cwd=EXAMPLES, env=environment, check=True, timeout=120, capture_output=True, text=True,
    )  # fmt: skip
    assert again.stdout == "1000 documents, 0 provider calls\n"


def test_celery_workers_pay_for_a_task_once(environment: dict[str, str], stub) -> None:
    worker = [sys.executable, "-m", "celery", "-A", "tasks", "worker"]
    ask = "import tasks; print([tasks.summarise.delay('Moby Dick') for _ in range(6)][0].id)"
    collect = (
        "import tasks; again = [tasks.summarise.delay('Moby Dick') for _ in range(6)]; "
        "print([one.get(timeout=60) for one in again].count(again[0].get()))"
    )
    with running([*worker, "--concurrency", "3", "--loglevel", "ERROR"], environment):
        for code in (ask, collect):
            done = subprocess.run(
                [sys.executable, "-c", code],
                cwd=EXAMPLES, env=environment, check=True, timeout=120, capture_output=True,
            )  # fmt: skip
    assert done.stdout == b"6\n"
    assert stub.calls == 1


def test_a_notebook_run_again_pays_for_nothing(
    environment: dict[str, str], stub, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SAMECALL_URL", f"disk://{tmp_path}/notebook.db")
    cells = re.split(r"(?m)^# %%$", (EXAMPLES / "notebook.py").read_text())

    async def run() -> None:  # as Jupyter does: one namespace, `await` at the top of a cell
        names: dict[str, object] = {}
        for cell in cells:
            code = compile(cell, "notebook", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            waiting = eval(code, names)
            if inspect.isawaitable(waiting):
                await waiting
        await names["cache"].aclose()

    asyncio.run(run())
    assert stub.calls == 2
    asyncio.run(run())
    assert stub.calls == 2


def test_tenants_share_a_server_and_nothing_else(environment: dict[str, str], stub, server) -> None:
    november, december = "2026-11=" + "0b" * 32, "2026-12=" + "0c" * 32
    lines = []
    for masters in (november, november, f"{november} {december}"):
        done = subprocess.run(
            [sys.executable, "tenants.py", "acme", "globex"],
            cwd=EXAMPLES, env={**environment, "MASTER_KEYS": masters}, check=True, timeout=120,
            capture_output=True, text=True,
        )  # fmt: skip
        lines.append(done.stdout.splitlines())
    for number, told in enumerate(lines):
        assert [line.partition(", key ")[0] for line in told] == [
            f"{tenant}: 3 answers, {int(number == 0)} provider calls"
            for tenant in ("acme", "globex")
        ]
    assert stub.calls == 2
    assert len({line.rpartition(" ")[2] for told in lines for line in told}) == 2


def test_the_tests_of_an_application_run_offline(tmp_path: Path, environment, stub) -> None:
    """As they are committed; and what is not recorded is told, then recorded."""
    there = shutil.copytree(EXAMPLES / "offline", tmp_path / "offline")
    offline = {**environment, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "OPENAI_API_KEY": "none"}

    def pytest_says(*more: str, env: dict[str, str]) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null",
             "--rootdir", there, *more],
            check=False, cwd=there, env=env, timeout=170, capture_output=True, text=True,
        )  # fmt: skip
        return done.returncode, done.stdout

    code, said = pytest_says(env=offline)
    assert code == 0, said
    test = there / "test_library.py"
    test.write_text(test.read_text().replace('"Ulysses"', '"Dubliners"'))
    moved = there / "cassettes" / "test_library"
    (moved / "test_authors[Ulysses].jsonl").rename(moved / "test_authors[Dubliners].jsonl")
    code, said = pytest_says(env=offline)
    assert code == 1
    assert "differs in messages[0].content" in said
    code, said = pytest_says("--samecall-record", env=environment)
    assert (code, stub.calls) == (0, 1), said
    code, said = pytest_says(env=offline)
    assert code == 0, said
