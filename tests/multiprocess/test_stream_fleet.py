"""Streams of several processes on a real server."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from samecall.testing.servers import LocalServer
from stream_deaths import death
from streaming import Setup
from streams import follow


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer() as server:
        yield server


def test_followers_in_other_processes_get_the_leaders_items(server: LocalServer) -> None:
    """Every item, of one call, over at most three connections each."""
    got = follow(Setup(server.url, items=60), followers=40, processes=2, key="same")
    assert got.identical
    assert len(got.results) == 41
    assert got.results[0]["count"] == 60
    assert got.provider_calls == 1
    assert got.connections <= 3


@pytest.mark.parametrize("seed", [3, 4])
def test_a_leader_ended_in_mid_stream(server: LocalServer, seed: int) -> None:
    """Each follower has one generation: all of it, or an exception that says what is missing."""
    assert death(server.url, f"death{seed}", random.Random(seed)).faults == []
