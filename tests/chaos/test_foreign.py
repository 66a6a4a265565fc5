"""Bytes at our keys that are none of ours: a miss and a counter, and ours are there again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from foreign import DAMAGES, KINDS, foreign, reported, streamed
from samecall.testing import LocalCluster, LocalServer


@pytest.fixture(scope="module")
def nodes() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture(params=["server", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """Either place; only the one that is asked for is started."""
    if request.param == "server":
        server: LocalServer = request.getfixturevalue("shared_server")
        return server.url
    cluster: LocalCluster = request.getfixturevalue("nodes")
    return cluster.url


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
async def test_foreign_bytes_are_a_miss_and_a_counter(url: str, kind: str, damage: str) -> None:
    """One call for two questions, and what it has made is there for the second."""
    found = await foreign(url, kind, damage)
    assert (found.answers, found.calls) == (["after"] * 2, 1)
    assert found.counted > 0
    assert found.mended


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_recording_costs_a_follower_time_alone(url: str, damage: str) -> None:
    """It has all items of the one call, from the value if not from the recording."""
    found = await streamed(url, damage)
    assert (found.answers, found.calls) == ([["first", "second"]] * 2, 1)
    assert found.counted > 0


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_report_is_left_out(url: str, damage: str) -> None:
    """Nobody's reading of the others fails, and the worker's next word is read again."""
    found = await reported(url, damage)
    assert found.answers[0] in {0, 1}  # cut short it may be a shorter one
    assert found.mended
