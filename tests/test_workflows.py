"""The workflow files of public CI ask for nothing that is not there."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SESSIONS = set(
    re.findall(r"^def (\w+)\(session: nox", (ROOT / "noxfile.py").read_text(), re.MULTILINE)
)


def asked_for(text: str) -> set[str]:
    """The sessions that a workflow runs, by name or from its matrix."""
    named = re.findall(r"nox -s ([a-z][a-z ]*)", text)
    matrix = re.findall(r"session: \[([^\]]+)\]", text)
    return {name for line in named for name in line.split()} | {
        name.strip() for line in matrix for name in line.split(",")
    }


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_session_asked_for_is_there(workflow: Path) -> None:
    asked = asked_for(workflow.read_text())
    assert asked
    assert asked <= SESSIONS


def test_the_interpreters_tried_are_those_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = set(re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"])))
    ci = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    (tried,) = re.findall(r"python: \[([^\]]+)\]", ci)
    assert set(re.findall(r"3\.\d+", tried)) == declared


def test_every_page_of_the_docs_has_its_place_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().partition("nav:")[2]
    placed = set(re.findall(r"([\w/-]+\.md)", navigation))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages == placed


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_hash(workflow: Path) -> None:
    """A tag may be moved to other code; beside the hash stands its version, for people."""
    used = re.findall(r"uses: (.*)", workflow.read_text())
    assert used
    for each in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each), each
