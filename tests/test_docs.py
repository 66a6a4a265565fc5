"""Every Python block of README and docs runs, page by page, against a real server and the stub."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import inspect
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pytest_examples import CodeExample, find_examples

from samecall.testing import LocalServer, StubProvider

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): list(examples)
    for path, examples in groupby(
        find_examples(*sorted(ROOT.glob("*.md")), ROOT / "docs"),
        key=lambda example: example.path,
    )
}
REDIS = "redis://localhost:6379/0"


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer() as server:
        yield server


def compiled(example: CodeExample, redis: str) -> Any:
    source = "\n" * example.start_line + example.source.replace(REDIS, redis)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    return compile(source, str(example.path), "exec", flags=flags, dont_inherit=True)


def test_the_first_screen_has_code() -> None:
    assert PAGES["README.md"]
    assert PAGES["docs/quickstart.md"]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_runs(page: str, server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(stub: StubProvider) -> None:
        names: dict[str, Any] = {"__name__": page}
        for example in PAGES[page]:
            code = compiled(example, server.url)
            done = eval(code, names)
            if inspect.isawaitable(done):
                await done
        assert stub.calls or "openai" not in str(PAGES[page])

    with StubProvider.in_thread() as stub:
        monkeypatch.setenv("OPENAI_API_KEY", "no-key")
        monkeypatch.setenv("OPENAI_BASE_URL", stub.openai_url)
        asyncio.run(run(stub))


def test_the_diagrams_are_drawn_from_what_stands_beside_them() -> None:
    """And no page has its reader's browser draw one, with a program from somebody else's server."""
    sources = sorted((ROOT / "docs/diagrams").glob("*.mmd"))
    assert sources
    for source in sources:
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        assert source.with_suffix(".svg").read_text().startswith(f"<!-- {digest} -->"), source
    assert not [page for page in (ROOT / "docs").glob("*.md") if "```mermaid" in page.read_text()]
