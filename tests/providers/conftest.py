"""One stub provider for all clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from samecall.testing import StubProvider


@pytest.fixture(scope="module")
def server() -> Iterator[StubProvider]:
    # in a thread: some "async" clients block their event loop (Bedrock's)
    with StubProvider.in_thread() as stub:
        yield stub


@pytest.fixture
def stub(server: StubProvider) -> StubProvider:
    server.reset()
    return server
