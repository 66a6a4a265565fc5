"""Every row of guards.toml still applies: `nox -s mutants` takes an hour, and this a moment."""

import pytest
from mutants import ROOT, Guard, read

ROWS = read([])


@pytest.mark.parametrize("guard", ROWS, ids=lambda guard: guard.name)
def test_its_line_stands_once_in_its_file(guard: Guard) -> None:
    whole = (ROOT / guard.file).read_text()
    assert guard.broken(whole) != whole


def test_every_named_test_is_there(request: pytest.FixtureRequest) -> None:
    """As far as this run has collected their files, and whole."""
    config = request.config
    if config.option.keyword or config.option.markexpr or any("::" in one for one in config.args):
        pytest.skip("a part of the tests was asked for")
    collected = {item.nodeid for item in request.session.items}
    files = {one.partition("::")[0] for one in collected}
    named = {guard.test for guard in ROWS if guard.test.partition("::")[0] in files}
    there = collected | {one.partition("[")[0] for one in collected}
    assert named <= there, named - there
