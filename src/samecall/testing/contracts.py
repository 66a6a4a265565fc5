"""The suites that every store must pass: subclass one, give it a `store`, run pytest.

    class TestMyStore(LeaseStoreContract):
        @pytest.fixture
        async def store(self):
            store = MyStore(...)
            yield store
            await store.aclose()

Needs pytest and pytest-asyncio (`asyncio_mode = "auto"`, or mark the fixture yourself).
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    *(
        f"samecall.testing._{part}_contract"
        for part in ("acquire", "bell", "commit", "fail", "generation", "recording", "store")
    )
)

from samecall.testing._acquire_contract import AcquireContract
from samecall.testing._bell_contract import BellContract
from samecall.testing._commit_contract import CommitContract
from samecall.testing._fail_contract import FailContract
from samecall.testing._recording_contract import RecordingContract
from samecall.testing._store_contract import StoreContract

__all__ = ["LeaseStoreContract", "RecordingContract", "StoreContract"]


class LeaseStoreContract(AcquireContract, CommitContract, FailContract, BellContract):
    """What a `LeaseStore` promises: a `Store`, one leader per key, bells."""
