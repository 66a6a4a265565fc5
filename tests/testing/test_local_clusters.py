"""The local cluster and Sentinel set-ups do what they say."""

import os
import socket

import pytest

from samecall._errors import StoreError
from samecall.testing import LocalCluster, LocalSentinel
from samecall.testing._resp import ask


@pytest.fixture
def cluster():
    with LocalCluster() as cluster:
        yield cluster


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_node_whose_port_was_taken_gets_another():
    cluster = LocalCluster()
    taken = cluster.nodes[2].port
    with socket.socket() as other:
        other.bind(("127.0.0.1", taken))
        other.listen()
        with cluster:
            assert cluster.nodes[2].port != taken
            assert cluster.sound()


def test_a_cluster_comes_together_moves_and_leaves_nothing_behind(cluster):
    assert cluster.url.count(",") == 5
    assert cluster.sound()
    owners = [cluster.owner(slot) for slot in (0, 8000, 16383)]
    assert owners == cluster.nodes[:3]
    assert [cluster.replica_of(node) for node in owners] == cluster.nodes[3:]
    with pytest.raises(StoreError, match="MOVED"):
        cluster.say(owners[0], "GET", "k" if cluster.owner(7629) is not owners[0] else "a")

    keys = [f"{{tag}}{i}" for i in range(250)]
    slot = cluster.say(owners[0], "CLUSTER", "KEYSLOT", "{tag}")
    home, away = cluster.owner(slot), cluster.nodes[0]
    if away is home:
        away = cluster.nodes[1]
    for key in keys:
        cluster.say(home, "SET", key, "x")
    seen = []

    def halfway():
        seen.append(cluster.say(home, "CLUSTER", "COUNTKEYSINSLOT", slot))
        seen.append(cluster.say(away, "CLUSTER", "COUNTKEYSINSLOT", slot))

    cluster.move_slot(slot, away, halfway)
    assert seen == [125, 125]
    assert cluster.owner(slot) is away
    assert cluster.say(away, "GET", keys[-1]) == b"x"

    assert cluster.failover(cluster.nodes[2]) is cluster.nodes[5]
    cluster.nodes[1].kill()
    assert cluster.failover(cluster.nodes[1]) is cluster.nodes[4]
    assert cluster.owner(8000) is cluster.nodes[4]
    cluster.flush()
    pids = [node.pid for node in cluster.nodes if node is not cluster.nodes[1]]
    cluster.close()
    assert not any(map(alive, pids))


def test_sentinels_name_the_primary_and_replace_it():
    with LocalSentinel() as sentinel:
        assert sentinel.url.endswith("/samecall")
        old = sentinel.primary()
        assert old is sentinel.servers[0]
        old.kill()
        new = sentinel.failover()
        assert new is not old
        assert sentinel.primary() is new
        assert ask(new.port, "SET", "k", "v") == b"OK"
        pids = [each.pid for each in (*sentinel.sentinels, new)]
    assert not any(map(alive, pids))


def test_a_server_that_hangs_up_is_an_error(cluster):
    with pytest.raises(StoreError, match="hung up"):
        ask(cluster.nodes[0].port, "SHUTDOWN", "NOSAVE")
