"""Tenants on one server that cannot read each other: namespaces, secrets, seals and an ACL."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from samecall import Cache, Policy, Seal, StoreError
from samecall._embedded import EmbeddedServer

RULES = (
    "~{0}:*", "~samecall:ping", "&*:{0}:n:*", "&*:{0}:r:*", "&__redis__:invalidate",
    "+@all", "-@dangerous", "-@admin",
)  # fmt: skip


def patient(url: str, tenant: str, user: str, **more: Any) -> Cache:
    login = url.replace("://", f"://{user}:{user}-password@", 1)
    return Cache(login, namespace=tenant, policy=Policy(op_timeout=20.0), report=False, **more)


@pytest.fixture
async def root(own_server: EmbeddedServer) -> Any:
    client = Redis.from_url(own_server.url.replace("redis+unix", "unix"))
    for tenant in ("a", "b"):
        rules = [rule.format(tenant) for rule in RULES]
        await client.execute_command("ACL", "SETUSER", tenant, "on", f">{tenant}-password", *rules)
    yield client
    await client.aclose()


def says(answer: str) -> Any:
    async def call() -> str:
        return answer

    return call


async def test_each_tenant_has_its_own_and_nothing_else(own_server: Any, root: Redis) -> None:
    url = own_server.url
    for tenant in ("a", "b"):
        seal = Seal({"k": tenant.encode() * 32}, "k")
        secret = tenant.encode() * 16
        async with patient(url, tenant, tenant, seal=seal, secret=secret) as cache:
            for _ in range(2):
                assert await cache.get_or_call("q", says(f"of {tenant}")) == f"of {tenant}"
            assert cache.statistics().store_faults == 0
    names = {name.decode() async for name in root.scan_iter() if b":v:" in name}
    assert len(names) == 2
    assert (
        len({name.partition(":v:")[2] for name in names}) == 2
    )  # digests that compare with nothing
    (of_a,) = (name for name in names if name.startswith("a:"))
    stored = await root.get(of_a)
    assert b"of a" not in stored
    login = url.replace("redis+unix", "unix").replace("://", "://b:b-password@", 1)
    b = Redis.from_url(login)
    for forbidden in (b.get(of_a), b.set(of_a, b"x"), b.delete(of_a), b.flushdb(), b.config_get()):
        with pytest.raises(NoPermissionError):
            await forbidden
    await b.aclose()
    async with patient(url, "a", "b") as trespasser:
        with pytest.raises(StoreError):
            await trespasser.peek("q")
