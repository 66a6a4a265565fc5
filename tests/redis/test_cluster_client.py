"""URLs and ready clients of clusters and Sentinel set-ups."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import SSLConnection
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import ResponseError
from redis_parts import PATIENT, new_data, new_key

from samecall import Cache, Policy
from samecall._errors import ConfigurationError, StoreUnreachable, StoreUnusable
from samecall._ports import Lead
from samecall._redis import RedisStore, open_redis
from samecall._redis.places import lines_of
from samecall.testing import LocalCluster, LocalSentinel, LocalServer


def seeds(url: str) -> Any:
    lines: Any = lines_of(url)(1.0)
    return lines.reads._router.seeds


def sentinel_connection(url: str) -> Any:
    lines: Any = lines_of(url)(1.0)
    return lines.reads._link._make()


@pytest.mark.parametrize(
    ("url", "addresses", "options"),
    [
        ("redis+cluster://a:1,b:2", [("a", 1), ("b", 2)], {}),
        ("valkey+cluster://a,b/0", [("a", 6379), ("b", 6379)], {}),
        ("redis+cluster://u:p%40@a", [("a", 6379)], {"username": "u", "password": "p@"}),
        ("redis+cluster://[::1]:7,[::2]", [("::1", 7), ("::2", 6379)], {}),
        ("REDISS+CLUSTER://a?ssl_cert_reqs=none", [("a", 6379)], {"ssl_cert_reqs": "none"}),
        ("valkeys+cluster://:p@a", [("a", 6379)], {"password": "p"}),
    ],
)
def test_cluster_urls(url: str, addresses: list[object], options: dict[str, Any]) -> None:
    """What a URL says is what every node's connection gets."""
    found = seeds(url)
    assert list(found.addresses) == addresses
    settings = found.at(("node", 9))
    assert {name: settings.options[name] for name in options} == options
    assert (settings.options["host"], settings.options["port"]) == ("node", 9)
    assert issubclass(settings.kind, SSLConnection) is url.lower().startswith(
        ("rediss+", "valkeys+")
    )
    assert "p@" not in repr(found)


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://u:hunter2/ss@host",
        "redis+sentinel://u:hunter2/ss@host/service",
        "redis://u:hunter2/ss@host:1/0",
        "redis+cluster://u@hunter2:hunter2",
    ],
)
def test_a_url_that_is_wrong_shows_no_part_of_itself(url: str) -> None:
    """What stands in the place of a port may be half a password."""
    with pytest.raises(ConfigurationError) as told:
        open_redis(url)
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize("lanes", ["0", "3", "one"])
def test_lanes_that_cannot_be(lanes: str) -> None:
    with pytest.raises(ConfigurationError, match="lanes takes 1 or 2"):
        lines_of(f"redis+cluster://a?lanes={lanes}")


@pytest.mark.parametrize(("query", "connections"), [("", 2), ("?lanes=2", 2), ("?lanes=1", 1)])
async def test_reads_and_writes_may_share_a_connection(
    cluster: LocalCluster, query: str, connections: int
) -> None:
    """One less to every node, for fleets whose servers run out of them."""
    store: Any = open_redis(f"{cluster.url}{query}", op_timeout=PATIENT)()
    keys = [new_key() for _ in range(100)]
    await asyncio.gather(*(store.acquire(key, b"t" * 16, b"", 60.0) for key in keys))
    await asyncio.gather(*(store.release(key, b"t" * 16) for key in keys))
    nodes = store._reads._router.nodes
    assert len(nodes) == 3
    for node in nodes:
        links = {id(lane._link): lane._link for lane in (node.reads, node.writes)}
        assert [link._connection is not None for link in links.values()] == [True] * connections
    await round_trip(store)


async def test_sentinel_urls() -> None:
    """The login is the servers'; the sentinels' own one is in the query."""
    made = sentinel_connection(
        "redis+sentinel://u:p@a:1,b/my%2Fservice/3?sentinel_username=su&sentinel_password=sp"
    )
    watch, data = made._watch, made._settings
    assert watch.service == "my/service"
    hosts = [(each.options["host"], each.options["port"]) for each in watch.sentinels]
    assert hosts == [("a", 1), ("b", 26379)]
    assert {(e.options["username"], e.options["password"]) for e in watch.sentinels} == {
        ("su", "sp")
    }
    assert "db" not in watch.sentinels[0].options
    assert (data.options["username"], data.options["password"], data.db) == ("u", "p", 3)
    assert "sp" not in repr(watch)
    made = sentinel_connection("valkeys+sentinel://:p@a/s")
    assert issubclass(made._settings.kind, SSLConnection)
    assert issubclass(made._watch.sentinels[0].kind, SSLConnection)
    assert not made._watch.sentinels[0].options.get("password")


async def round_trip(store: RedisStore) -> None:
    key = new_key()
    async with store.listen(key) as bell:
        assert await store.acquire(key, b"t" * 16, b"", 60.0) == Lead(b"")
        data = new_data(key)
        assert await store.commit(key, b"t" * 16, b"", data, 60.0) is True
        assert await bell.wait(PATIENT) == data
    await store.ping()
    await store.aclose()


async def test_a_ready_cluster_client(cluster: LocalCluster) -> None:
    """Any node of it is enough, and it stays usable."""
    node = ClusterNode("127.0.0.1", cluster.nodes[1].port)
    client = RedisCluster(startup_nodes=[node], decode_responses=True)
    await round_trip(open_redis(client, op_timeout=PATIENT)())
    assert await client.set("k", "v")
    await round_trip(open_redis(client, op_timeout=PATIENT)())  # now initialised
    await client.aclose()


async def test_a_cluster_client_that_maps_addresses(cluster: LocalCluster) -> None:
    """A client for a cluster behind other addresses hands its map on."""
    ports = {node.port for node in cluster.nodes}
    client = RedisCluster(
        host="127.0.0.1",
        port=cluster.nodes[0].port,
        address_remap=lambda place: ("localhost", place[1]),
    )
    store: Any = open_redis(client, op_timeout=PATIENT)()
    await store.ping()
    hosts = set(store._reads._router.slots.nodes)
    assert {host for host, _ in hosts} == {"localhost"}
    assert {port for _, port in hosts} <= ports
    await round_trip(store)
    await client.aclose()


async def test_ready_sentinel_clients(sentinel: LocalSentinel) -> None:
    """A `Sentinel` that watches one service, and what its `master_for` makes."""
    places = [("127.0.0.1", each.port) for each in sentinel.sentinels]
    manager = Sentinel(places, socket_timeout=5)
    await round_trip(open_redis(manager, op_timeout=PATIENT)())
    primary = manager.master_for(sentinel.service)
    await round_trip(open_redis(primary, op_timeout=PATIENT)())
    assert await primary.ping()
    with pytest.raises(ConfigurationError, match="replica"):
        open_redis(manager.slave_for(sentinel.service))
    await primary.aclose()
    for each in manager.sentinels:
        await each.aclose()


async def test_a_service_that_nobody_watches(sentinel: LocalSentinel) -> None:
    """A wrong name is refused, in words that name it."""
    url = sentinel.url.replace(sentinel.service, "nonsense")
    store = open_redis(url, op_timeout=PATIENT)()
    with pytest.raises(StoreUnusable, match="nonsense"):
        await store.ping()
    await store.aclose()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis+cluster://127.0.0.1:{}", "127.0.0.1 is no cluster .*cluster support disabled"),
        ("redis+sentinel://127.0.0.1:{}/s", "no sentinel is there .*unknown command"),
        ("redis://127.0.0.1:{}/99", "no such database .*index is out of range"),
    ],
)
async def test_a_server_of_another_kind(url: str, told: str) -> None:
    """It says so at the first call, and that is no outage: nothing is paid for."""
    with LocalServer() as server:
        cache = Cache(url.format(server.port), policy=Policy(op_timeout=PATIENT))
        with pytest.raises(ConfigurationError, match=f"url_or_store: .*{told}") as refused:
            await cache.get_or_call("k", unpaid)
        assert "login" not in str(refused.value)
        await cache.aclose()


async def test_a_node_that_is_busy_as_a_process_begins() -> None:
    """Is in trouble, and no mistake in the configuration: its first call is answered."""
    with LocalServer(arguments=["--busy-reply-threshold", "1"]) as server:
        raw = Redis(host="127.0.0.1", port=server.port)
        endless = asyncio.create_task(raw.eval("while true do end", 0))
        while await outcome(raw.ping()) is True:
            pass
        cache = Cache(f"redis+cluster://127.0.0.1:{server.port}")
        assert await cache.get_or_call("k", answered) == "yes"
        assert cache.statistics().store_faults > 0
        await cache.aclose()
        await raw.script_kill()
        assert isinstance(await outcome(endless), ResponseError)
        await raw.aclose()


async def outcome(work: Any) -> object:
    try:
        return await work
    except ResponseError as error:
        return error


@pytest.mark.parametrize("login", ["", "?sentinel_password=wrong"])
async def test_sentinels_that_refuse_the_login(login: str) -> None:
    """It says whose login is missing, and where it belongs."""
    with LocalServer(arguments=["--requirepass", "right"]) as server:
        url = f"redis+sentinel://user:password@127.0.0.1:{server.port}/s{login}"
        cache = Cache(url, policy=Policy(op_timeout=PATIENT))
        with pytest.raises(ConfigurationError, match=r"sentinel refuses.*sentinel_password="):
            await cache.get_or_call("k", unpaid)
        await cache.aclose()


async def test_a_node_as_if_it_were_a_server_by_itself(cluster: LocalCluster) -> None:
    """Told by the first call whose slot is elsewhere; the others are answered."""
    node = cluster.url.partition(",")[0].replace("+cluster", "")
    outcomes = set[str]()
    for number in range(12):
        cache = Cache(node, policy=Policy(op_timeout=PATIENT))
        try:
            outcomes.add(await cache.get_or_call(f"k{number}", answered))
        except ConfigurationError as error:
            outcomes.add(str(error))
        await cache.aclose()
    told = "url_or_store: Redis is a node of a cluster, which is redis+cluster://host:port"
    assert outcomes == {"yes", told}


async def answered() -> str:
    return "yes"


async def unpaid() -> None:
    raise AssertionError("the call was made")


@pytest.mark.parametrize("url", ["redis+cluster://127.0.0.1:1", "redis+sentinel://127.0.0.1:1/s"])
async def test_nobody_there(url: str) -> None:
    """`StoreUnreachable`, for every way in."""
    store = open_redis(url, op_timeout=PATIENT)()
    for work in (store.ping(), store.get(new_key()), store.release(new_key(), b"t")):
        with pytest.raises(StoreUnreachable):
            await work
    with pytest.raises(StoreUnreachable):
        async with store.listen(new_key()):
            pass
    await store.aclose()
