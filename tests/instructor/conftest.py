"""The stub provider of the fidelity table."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from fidelity_stub import Stub, serving


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    async with serving() as stub:
        yield stub
