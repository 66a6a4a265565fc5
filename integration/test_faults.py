"""Faults on every server: trouble in Redis, callers that are cancelled, leaders that die.

The scripts are those of `bench/`, in short; `tests/chaos` runs them on the server of the wheel.
"""

import pytest

from cancels import LOOPS, run, storm
from deaths import WANTED, kill, zombies
from foreign import DAMAGES, KINDS, foreign, reported, streamed
from samecall.testing import FaultProxy
from trouble import CLUSTER_FAULTS, FAULTS, trouble, trouble_on_a_cluster

PATIENT = 30.0
HURRIED = 0.4  # less than the half second after which a connection is given up


@pytest.mark.parametrize("name", FAULTS)
async def test_every_call_is_answered(server, name):
    """Before, during and after each trouble; once where that is possible."""
    fault = FAULTS[name]
    op_timeout = 0.2 if fault.breaks else PATIENT
    found = await trouble(name, server, waves=1, keys=8, op_timeout=op_timeout)
    assert found.wrong == []
    assert found.keys == 16
    assert found.most_per_key <= (1 if fault.once else 2)  # at most one of each process
    if fault.told is not None:
        assert bool(found.faults) is fault.told


@pytest.mark.parametrize("name", CLUSTER_FAULTS)
async def test_a_node_in_trouble(cluster, name):
    """The same on one node of a cluster, while calls on the other nodes notice nothing."""
    fault = CLUSTER_FAULTS[name]
    op_timeout = HURRIED if fault.breaks else PATIENT
    found = await trouble_on_a_cluster(name, cluster, waves=1, keys=8, op_timeout=op_timeout)
    assert found.wrong == []
    assert found.keys == 16
    assert found.most_per_key <= (1 if fault.once else 2)
    assert found.most_elsewhere == 1
    assert not found.opened
    if fault.told is not None:
        assert bool(found.faults) is fault.told


@pytest.mark.parametrize("damage", DAMAGES)
async def test_foreign_bytes(server, damage):
    """A miss and a counter, whatever stands at whichever key; then ours is there again."""
    await _was_mended(server.url, damage)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_foreign_bytes_on_a_cluster(cluster, damage):
    """The same where every key has a slot."""
    await _was_mended(cluster.url, damage)


async def _was_mended(url, damage):
    for kind in KINDS:
        found = await foreign(url, kind, damage)
        assert (kind, found.answers, found.calls) == (kind, ["after"] * 2, 1)
        assert found.counted > 0
        assert found.mended
    found = await streamed(url, damage)
    assert (found.answers, found.calls) == ([["first", "second"]] * 2, 1)
    assert found.counted > 0
    assert (await reported(url, damage)).mended


@pytest.mark.parametrize("loop", LOOPS)
def test_a_storm_of_cancels(server, loop):
    """Nothing is crossed and nothing left behind."""
    with FaultProxy.in_thread(server.url) as proxy:
        proxy.set(latency=0.001, fragment=64)
        found = run(loop, storm(proxy.url, server.url, 300, "url", workers=60))
    _was_sound(found, 300)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_storm_of_cancels_on_a_cluster(cluster, loop):
    """Nor on any node of a cluster."""
    past = [f"redis://127.0.0.1:{node.port}" for node in cluster.nodes]
    found = run(loop, storm(cluster.url, past, 300, "url", workers=60))
    _was_sound(found, 300)


def _was_sound(found, cancels):
    assert found.cancelled >= cancels
    assert found.completed > 0
    assert found.crossed == []
    assert found.leaked == []
    assert not found.errors


def _on(cluster):
    return cluster.url, [f"redis://127.0.0.1:{node.port}" for node in cluster.nodes]


def test_a_zombie_overwrites_nothing(server):
    """Stopped for three leases, it commits only if nothing came between."""
    assert dict(zombies((server.url, [server.url]))) == WANTED


def test_a_zombie_overwrites_nothing_on_a_cluster(cluster):
    """The same where every key has a slot."""
    assert dict(zombies(_on(cluster))) == WANTED


def test_a_leader_that_is_killed(server):
    """Those who wait agree on one answer, with one more call at most."""
    _was_replaced(kill(0.002, place=(server.url, [server.url])))


def test_a_leader_that_is_killed_on_a_cluster(cluster):
    """The same on a cluster."""
    _was_replaced(kill(0.002, place=_on(cluster)))


def _was_replaced(found):
    assert found.provider_calls <= 1
    assert len(found.answers) == 2
    assert len(set(found.answers)) == 1
    assert found.leases == 0
