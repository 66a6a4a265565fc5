"""Every place where answers are shared: memory, a file, Redis, a cluster, a file before Redis."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from place_support import PATIENT, PLACES, Place, Wall

from samecall._embedded import EmbeddedServer
from samecall._memory import MemoryStore
from samecall.testing import LocalCluster


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samecall._tiers._PATIENCE", PATIENT)  # on any machine


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """One server for all tests."""
    server = EmbeddedServer().start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    """One cluster for all tests."""
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture(params=PLACES)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    """What `Cache` takes to get there."""
    disk = f"disk://{tmp_path / 'cache.db'}"
    match request.param:
        case "memory":
            return MemoryStore()
        case "disk":
            return disk
        case "cluster":
            return request.getfixturevalue("cluster").url
        case "tiers":
            return [disk, request.getfixturevalue("server").url]
        case _:
            return request.getfixturevalue("server").url


@pytest.fixture
async def place(where: object) -> AsyncIterator[Place]:
    """A place with a namespace that no other test uses."""
    place = Place(where)
    yield place
    await place.close()


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    """The clock on the wall of all processes of the test."""
    wall = Wall()
    monkeypatch.setattr(time, "time", wall.time)
    monkeypatch.setattr(time, "time_ns", wall.time_ns)
    return wall
