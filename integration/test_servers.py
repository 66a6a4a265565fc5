"""What the servers are, and that they can be stopped, stalled and ended as the tests want it."""

import asyncio
import socket

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as Unreachable

from samecall.testing.servers import answers_ping
from serving import resolve, say


@pytest.fixture
async def client(server):
    one = Redis.from_url(server.url, socket_timeout=5, socket_connect_timeout=5)
    yield one
    await one.aclose()


async def test_it_is_the_server_that_was_wanted(server, client):
    info = await client.info("server")
    if server.target.wanted is None:
        assert tuple(map(int, info["redis_version"].split("."))) >= (6, 2)
        return
    product, major = server.target.id[:-1], server.target.id[-1]
    assert info[f"{product}_version"].split(".")[0] == major


async def test_it_begins_empty(server, client):
    assert await client.dbsize() == 0
    await client.set("left-behind", 1)  # the same test on the next server finds nothing


async def test_it_keeps_nothing_on_disk(client):
    assert (await client.config_get("save"))["save"] == ""
    assert (await client.config_get("appendonly"))["appendonly"] == "no"


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_after_its_end_it_comes_back_empty_under_the_same_url(server, client, end):
    url = server.url
    await client.set("k", 1)
    await asyncio.to_thread(getattr(server, end))
    assert not answers_ping(server.port)
    with pytest.raises(Unreachable):
        await client.get("k")
    await asyncio.to_thread(server.start)
    assert server.url == url
    assert await client.get("k") is None


async def test_a_stalled_server_takes_connections_and_answers_after_resume(server, client):
    await client.set("k", 1)
    await asyncio.to_thread(server.pause)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as link:
        link.sendall(b"GET k\r\n")
        link.settimeout(0.05)
        with pytest.raises(TimeoutError):
            link.recv(1)
        await asyncio.to_thread(server.resume)
        link.settimeout(5)
        assert link.recv(7) == b"$1\r\n1\r\n"
    assert await client.get("k") == b"1"


def test_a_test_may_leave_it_stalled(server):
    server.pause()  # the fixture resumes it: the teardown and the next test are the proof


def test_a_test_may_leave_it_dead(server):
    server.kill()


def test_it_runs_again_after_such_tests(server):
    assert say(server, "PING") == b"+PONG"


def test_every_wanted_server_is_there_or_the_line_says_so():
    targets, line = resolve()
    containers = [target for target in targets if target.image]
    assert len(containers) == 3 or "run on" in line
