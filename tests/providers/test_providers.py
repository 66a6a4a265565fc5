"""Which providers of `from_provider` reach the stub: the table in docs/providers.md.

`SAMECALL_WRITE_PROVIDERS=1` writes the table; otherwise the runs are checked against it.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from samecall.testing import StubProvider

from ._clients import PROVIDERS, client_for

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"
HEAD = """# Providers

Made by the tests: for each provider of `instructor.from_provider`, one async `create` with a
Pydantic model through the provider's own SDK, against the stub provider over loopback HTTP.

| provider | outcome |
|---|---|
"""


class User(BaseModel):
    name: str
    age: int


async def outcome(provider: str) -> str:
    """`works`, or the error of the failing run in one line."""
    # In a thread: some "async" clients block their event loop (Bedrock).
    with StubProvider.in_thread() as stub:
        try:
            client = client_for(provider, stub)
            asked = [{"role": "user", "content": "Who?"}]
            user = await asyncio.wait_for(
                client.create(response_model=User, messages=asked, max_retries=0), 6
            )
        except Exception as error:  # noqa: BLE001 - whatever an SDK says goes into the table
            text = " ".join(f"{type(error).__name__}: {error}".split())
            text = re.sub(r"<[^>]*>|'date': '[^']*', |0x[0-9a-f]+|127\.0\.0\.1:\d+", "", text)
            return f"`{text[:160].strip().replace('|', '/').replace('`', chr(39))}`"
        return "works" if isinstance(user, User) and stub.calls == 1 else "answered elsewhere"


def table() -> dict[str, str]:
    """The rows of the page."""
    rows = re.findall(r"^\| (\S+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    return {name: said for name, said in rows if name != "provider"}


async def _write() -> None:
    rows = [f"| {name} | {await outcome(name)} |\n" for name in PROVIDERS]
    PAGE.write_text(HEAD + "".join(rows))


if os.environ.get("SAMECALL_WRITE_PROVIDERS"):
    asyncio.run(_write())


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_table_tells_the_truth(provider: str) -> None:
    """What the page says of a provider is what its run gives."""
    assert await outcome(provider) == table()[provider]
