"""Cassettes for tests: the fixture `samecall_cassette`, a marker, `--samecall-record`.

Loaded by pytest wherever samecall is installed, so nothing heavy is imported before it is used.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from samecall._cassette import Cassette

__all__ = [
    "pytest_addoption",
    "pytest_configure",
    "pytest_configure_node",
    "pytest_report_header",
    "samecall_cassette",
]

_MARKER = "samecall"
_TAKES = (
    "samecall(path=None, **settings): the cassette of this test; `path` counts from the directory "
    "of the test's file, `settings` go to `samecall.Cassette`"
)


_BEGAN = pytest.StashKey[float]()
_REWRITTEN = pytest.StashKey[set[Path]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options that let providers be called."""
    group = parser.getgroup("samecall")
    group.addoption(
        "--samecall-record",
        dest="samecall_mode",
        action="store_const",
        const="record",
        default="replay",
        help="call providers for what cassettes do not hold, and add it to them",
    )
    group.addoption(
        "--samecall-rewrite",
        dest="samecall_mode",
        action="store_const",
        const="rewrite",
        help="call providers for everything, and replace the cassettes of the tests that run",
    )


def pytest_configure(config: pytest.Config) -> None:
    """The marker is known, also with `--strict-markers`."""
    config.addinivalue_line("markers", _TAKES)
    config.stash[_REWRITTEN] = set()
    run: dict[str, Any] = getattr(config, "workerinput", {})
    config.stash[_BEGAN] = run.get("samecall_began", time.time())


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """The workers of pytest-xdist are one run."""
    node.workerinput["samecall_began"] = node.config.stash[_BEGAN]


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say so where a run may cost money."""
    mode = config.getoption("samecall_mode")
    return None if mode == "replay" else f"samecall: cassettes in mode {mode!r}, providers are paid"


@pytest.fixture
def samecall_cassette(request: pytest.FixtureRequest) -> Iterator[Cassette]:
    """A `Cassette` of this test: `cassettes/<module>/<test>.jsonl` beside it, or as marked.

    Replays, unless pytest runs with `--samecall-record` or `--samecall-rewrite`.
    """
    from samecall._cassette import Cassette
    from samecall._cassette.tape import state_of

    path, settings = _settings(request)
    settings.setdefault("mode", request.config.getoption("samecall_mode"))
    rewritten, rewrites = request.config.stash[_REWRITTEN], settings["mode"] == "rewrite"
    if rewrites and (path in rewritten or _is_of_this_run(path, request.config)):
        settings["mode"] = "record"  # another test of this run shares the file
    before = state_of(path)
    cassette = Cassette(path, **settings)
    yield cassette
    cassette.save()
    if rewrites and state_of(path) != before:
        rewritten.add(path)


def _is_of_this_run(path: Path, config: pytest.Config) -> bool:
    """Whether a file was written since the run began, by a worker of it."""
    return path.exists() and path.stat().st_mtime >= config.stash[_BEGAN]


def _settings(request: pytest.FixtureRequest) -> tuple[Path, dict[str, Any]]:
    test, marker = request.node, request.node.get_closest_marker(_MARKER)
    names, settings = (marker.args, dict(marker.kwargs)) if marker is not None else ((), {})
    given = settings.pop("path", names[0] if names else None)
    beside = Path(test.path).parent
    if len(names) > 1 or not (given is None or (isinstance(given, (str, PathLike)) and given)):
        raise pytest.UsageError(
            "pytest.mark.samecall takes the path of a file, and settings of samecall.Cassette by "
            f"name; got {names or given!r:.100}"
        )
    if given is not None:
        return beside / given, settings
    # what a parameter is called may be no name of a file
    name = re.sub(r"[^\w.\[\]-]+", "_", test.name)[:120]
    return beside / "cassettes" / Path(test.path).stem / f"{name}.jsonl", settings
