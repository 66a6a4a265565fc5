"""The examples of docs/examples run as their users run them: as processes of their own."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from samecall.testing import LocalServer, StubProvider
from samecall.testing.provider import RemoteStub


@pytest.fixture(scope="session")
def server() -> Iterator[LocalServer]:
    with LocalServer() as server:
        yield server


@pytest.fixture
def stub() -> Iterator[RemoteStub]:
    with StubProvider.in_process() as stub:
        yield stub


@pytest.fixture
def environment(server: LocalServer, stub: RemoteStub) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "SAMECALL_URL": server.url,
        "BROKER": server.url.removesuffix("/0") + "/1",
        "OPENAI_API_KEY": "no-key",
        "OPENAI_BASE_URL": stub.openai_url,
    }
