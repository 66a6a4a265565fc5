"""`samecall doctor` on a cluster, whole and with a hole in it."""

import json

import pytest
from cli_support import samecall

from samecall.testing.clusters import LocalCluster


@pytest.fixture
def cluster():
    with LocalCluster() as cluster:
        yield cluster


def looked(url):
    done = samecall("doctor", "--json", "--url", url)
    return done.code, {each["check"]: each for each in json.loads(done.stdout)}


def test_a_cluster_with_a_hole_in_it(cluster):
    code, found = looked(cluster.url)
    assert (code, found["cluster"]["health"]) == (0, "ok")
    assert found["cluster"]["says"] == "3 primaries, 16,384 of 16,384 slots served"
    for number in (1, 2, 3):
        assert found[f"version of primary {number}"]["says"].endswith(", cluster")
        assert found[f"replicas of primary {number}"]["says"].startswith("1 replica,")

    for node in cluster.nodes:
        cluster.say(node, "CLUSTER", "DELSLOTS", 0)
    code, found = looked(cluster.url)
    assert (code, found["cluster"]["health"]) == (1, "failed")
    assert "16,383 of 16,384" in found["cluster"]["says"]
    assert "--cluster fix" in found["cluster"]["mend"]
