"""The command line on servers that do half of their work: with a slot missing, without memory."""

import json

import pytest
from cli_support import fill, samecall, wait_for

import redis
from samecall.testing import LocalServer
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
    for words in (("top",), ("top", "--json", "--count", "1"), ("stats",), ("show", "ab" * 32)):
        done = samecall(*words, "--url", cluster.url)
        assert (done.code, done.stdout) == (3, ""), words
        assert done.stderr.startswith(f"samecall {words[0]}: no answer from ")
        assert done.stderr.count("\n") == 1


def test_a_server_that_takes_no_writes_can_be_looked_at():
    with LocalServer() as server:
        fill(server.url)
        with redis.Redis.from_url(server.url) as raw:
            wait_for(lambda: raw.exists("samecall:c"))
            raw.config_set("maxmemory", 1)
            raw.config_set("maxmemory-policy", "noeviction")
        seen = samecall("ls", "--keys", "--url", server.url)
        assert (seen.code, len(seen.stdout.split())) == (0, 3)
        for words in (("show", seen.stdout[:8]), ("stats",), ("top",)):
            assert samecall(*words, "--url", server.url).code == 0, words
        done = samecall("forget", "--all", "--yes", "--url", server.url)
        assert (done.code, done.stdout) == (3, "")
        code, found = looked(server.url)
        assert (code, found["leases and entries"]["health"]) == (1, "failed")
