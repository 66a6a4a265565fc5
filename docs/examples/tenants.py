"""Tenants on one server who cannot read each other: a namespace, a secret and a seal for each.

pip install "samecall[seal]" openai
export MASTER_KEYS="2026-11=$(python -c 'import secrets; print(secrets.token_hex(32))')"
SAMECALL_URL=redis://localhost:6379/0 python tenants.py acme globex

What a tenant has is derived from one master key, which lies in your secret store. To rotate, add a
second one (`MASTER_KEYS="2026-11=... 2026-12=..."`): all of them read, the last one writes.
"""

import asyncio
import os
import sys
from functools import cache as remembered

import instructor
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import BaseModel
from samecall import Cache, Policy, Seal
from samecall.instructor import cached, key_of

MODEL = os.environ.get("MODEL", "openai/gpt-4o-mini")
URL = os.environ.get("SAMECALL_URL", "redis://localhost:6379/0")
MASTERS = {
    name: bytes.fromhex(key)
    for name, _, key in (pair.partition("=") for pair in os.environ["MASTER_KEYS"].split())
}


def derived(master: bytes, purpose: str, tenant: str) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=f"samecall {purpose} {tenant}".encode()).derive(
        master
    )


@remembered
def cache_of(tenant: str) -> Cache:
    oldest = next(iter(MASTERS.values()))  # another secret is another key for every call
    keys = {name: derived(master, "seal", tenant) for name, master in MASTERS.items()}
    return Cache(
        URL,
        namespace=f"tenant-{tenant}",
        secret=derived(oldest, "secret", tenant),
        seal=Seal(keys, current=list(keys)[-1]),
        policy=Policy(ttl=86_400),
    )


@remembered
def client_of(tenant: str) -> instructor.AsyncInstructor:
    return cached(instructor.from_provider(MODEL, async_client=True), cache_of(tenant))


class Answer(BaseModel):
    text: str


async def main(tenants: list[str]) -> None:
    asked = {
        "response_model": Answer,
        "messages": [{"role": "user", "content": "What are our terms of payment?"}],
    }
    for tenant in tenants:
        client = client_of(tenant)
        answers = await asyncio.gather(*(client.create(**asked) for _ in range(3)))
        assert answers[0] == answers[1] == answers[2]
        calls = cache_of(tenant).statistics().provider_calls
        print(f"{tenant}: 3 answers, {calls} provider calls, key {key_of(client, **asked).hex[:8]}")
    for tenant in tenants:
        await cache_of(tenant).aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or ["acme", "globex"]))
