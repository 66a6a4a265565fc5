"""Tenants on one server that cannot read each other: namespaces, secrets, seals and an ACL."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from samecall import Cache, Policy, Seal, StoreError
from samecall._embedded import EmbeddedServer
from samecall.testing import LocalCluster

RULES = (
    "~{0}:*", "~samecall:ping", "&*:{0}:n:*", "&*:{0}:r:*", "&__redis__:invalidate",
    "+@all", "-@dangerous", "-@admin",
)  # fmt: skip


def patient(url: str, tenant: str, user: str, **more: Any) -> Cache:
    return Cache(
        with_login(url, user),
        namespace=tenant,
        policy=Policy(op_timeout=20.0),
        report=False,
        **more,
    )


def with_login(url: str, user: str) -> str:
    return url.replace("://", f"://{user}:{user}-password@", 1)


@pytest.fixture
async def root(own_server: EmbeddedServer) -> Any:
    client = Redis.from_url(own_server.url.replace("redis+unix", "unix"))
    await grant(client)
    yield client
    await client.aclose()


async def grant(client: Redis) -> None:
    """Each tenant its login and its rules."""
    for tenant in ("a", "b"):
        rules = [rule.format(tenant) for rule in RULES]
        await client.execute_command("ACL", "SETUSER", tenant, "on", f">{tenant}-password", *rules)


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


async def test_on_a_cluster_too(cluster: LocalCluster) -> None:
    """With the same rules on each of its nodes."""
    nodes = [Redis(host="127.0.0.1", port=node.port, protocol=2) for node in cluster.nodes]
    for node in nodes:
        await grant(node)
    for tenant in ("a", "b"):
        async with patient(cluster.url, tenant, tenant) as cache:
            for number in range(20):  # in the slots of all nodes
                call = says(f"of {tenant}")
                assert await cache.get_or_call(f"q{number}", call, tags=("t",)) == f"of {tenant}"
            await cache.forget_tag("t")
            assert await cache.peek("q1") is None
            assert cache.statistics().store_faults == 0
    async with patient(cluster.url, "a", "b") as trespasser:
        for number in range(20):
            with pytest.raises(StoreError):
                await trespasser.peek(f"q{number}")
    for node in nodes:
        await node.execute_command("ACL", "DELUSER", "a", "b")
        await node.aclose()
