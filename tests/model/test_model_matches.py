"""The model says what the scripts do: whoever changes a script looks at the model again."""

import hashlib
import json
import re
from pathlib import Path

import pytest

import samecall

HERE = Path(__file__).parent
SCRIPTS = Path(samecall.__path__[0], "_redis", "lua")
RECORD = HERE / "scripts.json"
MODEL = (HERE / "lease.pml").read_text(encoding="utf-8")
# These are no part of the protocol by which one leads, or change nothing that another could see.
UNMODELLED = {"generations", "look", "ping", "post", "posted", "put", "record", "renew"}
MODELLED = sorted(path for path in SCRIPTS.glob("*.lua") if path.stem not in UNMODELLED)


def digest(script: Path) -> str:
    """Of what runs: comments and blank lines may change."""
    lines = (line.strip() for line in script.read_text(encoding="utf-8").splitlines())
    code = "\n".join(line for line in lines if line and not line.startswith("--"))
    return hashlib.sha256(code.encode()).hexdigest()


def test_each_modelled_script_is_recorded():
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    assert sorted(recorded) == [path.name for path in MODELLED]


@pytest.mark.parametrize("script", MODELLED, ids=lambda path: path.name)
def test_script_is_the_one_that_was_modelled(script):
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    assert digest(script) == recorded[script.name], (
        f"{script.name} has changed: look at the model again (tests/model/lease.pml), run "
        f"`nox -s model`, then record the new hash in {RECORD.name}: {digest(script)}"
    )


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.lua")), ids=lambda path: path.name)
def test_model_names_each_script(script):
    named = re.search(rf"/\* [^*]*\b{script.stem}\.lua\b", MODEL) is not None
    assert named is (script.stem not in UNMODELLED)


def test_comments_do_not_count(tmp_path):
    script = tmp_path / "some.lua"
    script.write_text("-- one\nreturn 1\n")
    before = digest(script)
    script.write_text("-- other\n\nreturn 1\n")
    assert digest(script) == before
    script.write_text("return 2\n")
    assert digest(script) != before
