"""A stub provider per test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from samecall.testing import StubProvider


@pytest.fixture
async def stub() -> AsyncIterator[StubProvider]:
    async with StubProvider() as provider:
        yield provider
