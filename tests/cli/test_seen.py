"""A fleet seen from outside, its entries read, its store examined."""

import asyncio
import io
import json
import os
import signal

import pytest
from cli_support import LIMIT, fill, process, samecall

import redis
from samecall import Cache
from samecall._codec import PlainCodec
from samecall._entry import Payload, Spent
from samecall.cli._trouble import printable
from samecall.cli.doctor.findings import Health
from samecall.cli.doctor.servers import judge
from samecall.cli.seen.prices import price
from samecall.testing import LocalCluster
from samecall.testing.servers import LocalServer


@pytest.fixture(scope="module")
def server():
    with LocalServer() as running:
        yield running


@pytest.fixture
def url(server):
    with redis.Redis.from_url(server.url) as raw:
        raw.flushall()
    fill(server.url, "one", entries=3, hits=2)
    fill(server.url, "two", entries=1, hits=5)
    return server.url


# --- stats and top --------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("stats",), ("top", "--count", "1")], ids=["stats", "top"])
def test_the_whole_fleet_and_one_namespace_of_it(command, url):
    fleet = json.loads(samecall(*command, "--url", url, "--json").stdout)
    assert len(fleet["workers"]) == 2
    count = fleet["counters"]
    assert (count["calls"], count["provider_calls"], count["l1_hits"]) == (15, 4, 11)
    assert fleet["hit_rate"] == pytest.approx(11 / 15)
    [model] = fleet["models"]
    assert (model["model"], model["calls"]) == ("openai/gpt-4o-mini", 15)
    assert (fleet["paid_tokens"], fleet["saved_tokens"]) == (4 * 1100, 11 * 1100)
    # $0.15 and $0.60 per million
    assert fleet["paid_usd"] == pytest.approx(4 * (1000 * 0.15 + 100 * 0.60) / 1e6)
    assert fleet["saved_usd"] == pytest.approx(11 * (1000 * 0.15 + 100 * 0.60) / 1e6, abs=1e-6)
    assert fleet["hottest"][0]["calls"] == 6
    assert fleet["hottest"][0]["namespace"] == "two"
    assert fleet["latency"]["led"]["p99_ms"] > 0
    one = json.loads(samecall(*command, "--url", url, "-n", "one", "--json").stdout)
    assert [worker["calls"] for worker in one["workers"]] == [9]


def test_the_picture_tells_the_same(url):
    done = samecall("stats", "--url", url)
    assert done.code == 0
    words = " ".join(done.stdout.split())
    for told in (
        "2 workers",
        "calls 15",
        "provider calls 4",
        "saved 73.3% of calls",
        "gpt-4o-mini",
    ):
        assert told in words
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "$ ?"),
        (0.0, "$0.0000"),
        (2e-5, "<$0.0001"),
        (0.0205, "$0.0205"),
        (1234.5, "$1,234.50"),
    ],
)
def test_money_that_is_little_is_not_nothing(value, told):
    from samecall.cli.seen.screen import usd

    assert usd(value) == told


def test_rates_are_of_the_time_between_two_looks():
    from samecall.cli.seen import Since, added_up

    since, nobody = Since(), added_up([])
    assert since.rates(nobody, 10.0) == {}
    fleet = type(nobody)(
        **{
            **{name: getattr(nobody, name) for name in nobody.__struct_fields__},
            "counters": {"calls": 30},
        }
    )
    assert since.rates(fleet, 20.0) == {"calls": 3.0}
    assert since.rates(nobody, 30.0) == {}


def test_a_record_that_is_none_is_left_out(url):
    with redis.Redis.from_url(url) as raw:
        raw.set("odd:c:worker", b"\xff" * 10, ex=100)
        raw.zadd("samecall:c", {"odd:c:worker": 9e15, b"\xff\xfe": 9e15})
    assert len(json.loads(samecall("stats", "--url", url, "--json").stdout)["workers"]) == 2


def test_a_price_that_is_not_known():
    assert price("openai/gpt-4o-mini", 1_000_000, 0) == pytest.approx(0.15)
    assert price("nobody/nothing", 1, 1) is None
    assert price("", 1, 1) is None


_EVIL = "\x1b]0;a title\x07\x9b31m\r\nall is well\u202e[/red]"


class Planted(PlainCodec):
    """What somebody with a login writes to the store."""

    def encode(self, value):
        plain = super().encode(value)
        return Payload(plain.tag, plain.data, Spent(_EVIL, _EVIL, 1, 1))

    def about(self):
        return Spent(_EVIL, _EVIL)


@pytest.mark.parametrize("command", ["stats", "ls", "show"])
def test_what_stands_in_a_store_is_not_obeyed_by_a_terminal(command, url):
    """No control character of it goes out; in JSON it is what it was."""

    async def plant():
        async def call():
            return {"said": _EVIL}

        async with Cache(url, namespace="planted") as cache:
            await cache.get_or_call("k", call, codec=Planted())
            return cache._key("k").hex

    key = asyncio.run(plant())
    arguments = [command, *([key] if command == "show" else []), "--url", url, "-n", "planted"]
    told = samecall(*arguments).stdout
    assert "\\u001b]0;a title" in told
    assert "\nall is well" not in told
    assert not set(told) & set(_EVIL) - set(printable(_EVIL)) - {"\n"}
    raw = samecall(*arguments, "--json").stdout
    assert "\x9b" not in raw
    whole = json.loads(raw)
    models = [model["model"] for model in whole["models"]] if command == "stats" else whole["model"]
    assert models == ([f"{_EVIL}/{_EVIL}"] if command == "stats" else _EVIL)
    if command == "show":
        assert whole["answer"] == {"said": _EVIL}


# --- entries --------------------------------------------------------------------------------------


def test_entries_are_listed_and_shown(url):
    listed = samecall("ls", "--url", url, "-n", "one", "--json").stdout.splitlines()
    entries = [json.loads(line) for line in listed]
    assert len(entries) == 3
    assert {entry["model"] for entry in entries} == {"gpt-4o-mini"}
    assert len(samecall("ls", "--url", url, "-n", "one", "--keys", "-l", "2").stdout.split()) == 2
    for text in (entries[0]["key"], entries[0]["key"][:10]):
        shown = json.loads(samecall("show", text, "--url", url, "-n", "one", "--json").stdout)
        assert shown["key"] == entries[0]["key"]
        assert shown["answer"]["text"] == "Grüße"
    assert "Grüße" in samecall("show", entries[1]["key"], "--url", url, "-n", "one").stdout


def test_entries_in_a_file_are_found_by_their_first_digits(tmp_path):
    url = f"disk://{tmp_path}/cache.db"
    fill(url)
    keys = samecall("ls", "--url", url, "--keys").stdout.split()
    assert len(keys) == 3
    shown = json.loads(samecall("show", keys[0][:12], "--url", url, "--json").stdout)
    assert shown["key"] == keys[0]
    assert samecall("forget", keys[0][:12], "--url", url).stdout.split() == keys[:1]
    assert samecall("ls", "--url", url, "--keys").stdout.split() == keys[1:]


def test_a_screen_is_filled_and_not_overfull(url):
    from rich.console import Console

    from samecall.cli.seen import added_up
    from samecall.cli.seen.fleet import Hot, Report, Seen
    from samecall.cli.seen.screen import picture

    hot = [Hot(digest=bytes([number]) * 32, namespace="n", calls=9) for number in range(20)]
    fleet = added_up(
        Seen("n", 0.0, Report(worker=f"worker {number}", counters={"calls": 9}, hot=hot))
        for number in range(30)
    )
    for height in (24, 40, 100):
        console = Console(width=120, height=height, record=True, file=io.StringIO())
        console.print(picture(fleet, "redis://here", None, height))
        lines = console.export_text().rstrip().splitlines()
        assert len(lines) <= height
        assert sum(line.startswith("worker ") for line in lines[5:]) >= min(30, height - 20)


def test_what_is_forgotten_is_gone_and_nothing_else(url):
    keys = samecall("ls", "--url", url, "-n", "one", "--keys").stdout.split()
    done = samecall("forget", keys[0], keys[1][:12], "--url", url, "-n", "one", "--json")
    assert json.loads(done.stdout)["keys"] == keys[:2]
    assert samecall("ls", "--url", url, "-n", "one", "--keys").stdout.split() == keys[2:]
    assert samecall("forget", "--all", "--yes", "--url", url, "-n", "one").code == 0
    assert samecall("ls", "--url", url, "-n", "one").code == 1
    assert samecall("ls", "--url", url, "-n", "two").code == 0


def test_what_has_a_tag_is_forgotten(url):
    async def call():
        return "yes"

    async def asked():
        async with Cache(url, namespace="tagged") as cache:
            await cache.get_or_call("k", call, tags=("invoice",))
            return cache.statistics().provider_calls

    assert [asyncio.run(asked()) for _ in range(2)] == [1, 0]
    assert samecall("forget", "--tag", "invoice", "--url", url, "-n", "tagged").code == 0
    assert asyncio.run(asked()) == 1


def test_several_keys_that_begin_alike(url):
    with redis.Redis.from_url(url) as raw:
        for end in "ab":
            raw.set(f"alike:v:{{{'0' * 63}{end}}}", b"x", ex=100)
    for command in ("show", "forget"):
        done = samecall(command, "0000", "--url", url, "-n", "alike")
        assert (done.code, done.stdout) == (1, "")
        assert "several keys in 'alike' begin with 0000" in done.stderr


# --- doctor ---------------------------------------------------------------------------------------


def found(*arguments):
    done = samecall("doctor", *arguments, "--json")
    return done.code, {each["check"]: each for each in json.loads(done.stdout)}


def test_a_sound_store(url):
    code, checks = found("--url", url)
    assert code == 0
    for check in ("version", "leases and entries", "notifications", "reports"):
        assert checks[check]["health"] == "ok", checks[check]
    assert checks["latency"]["health"] in {"ok", "warning"}  # as busy as the machine is
    with redis.Redis.from_url(url) as raw:
        assert not [key for key in raw.keys("default:*") if raw.ttl(key) < 0]


def test_others_reports_are_still_there_after_a_visit(url):
    samecall("doctor", "--url", url)
    assert len(json.loads(samecall("stats", "--url", url, "--json").stdout)["workers"]) == 2


def test_strict_makes_a_warning_a_failure(url):
    assert found("--url", url)[1]["memory"]["health"] == "warning"
    assert found("--url", url, "--strict")[0] == 1


def test_a_user_who_may_not(url):
    with redis.Redis.from_url(url) as raw:
        raw.execute_command("ACL", "SETUSER", "poor", "on", ">pw", "~*", "&*", "+@all", "-publish",
                            "-set", "-info", "-subscribe", "-scan")  # fmt: skip
        code, checks = found("--url", url.replace("//", "//poor:pw@"))
        raw.execute_command("ACL", "DELUSER", "poor")
    assert code == 1
    assert checks["server"]["health"] == "note"
    assert checks["scanning"]["health"] == "warning"
    assert checks["leases and entries"]["health"] == "failed"


def test_a_user_of_one_namespace(url):
    with redis.Redis.from_url(url) as raw:
        raw.execute_command("ACL", "SETUSER", "tenant", "on", ">pw", "~mine:*", "~samecall:*",
                            "&*:mine:n:*", "&*:mine:r:*", "&__redis__:invalidate", "+@read",
                            "+@write", "+@pubsub", "+@scripting", "+@connection",
                            "+info", "+time")  # fmt: skip
        where = url.replace("//", "//tenant:pw@")
        code, checks = found("--url", where, "-n", "mine")
        assert code == 0
        used = ("leases and entries", "notifications", "streams", "tags", "copies in memory",
                "reports")  # fmt: skip
        assert {checks[check]["health"] for check in used} == {"ok"}
        raw.execute_command("ACL", "SETUSER", "tenant", "resetchannels", "&*:mine:n:*")
        code, checks = found("--url", where, "-n", "mine")
        assert (code, checks["streams"]["health"]) == (1, "failed")
        assert "&*:mine:r:*" in checks["streams"]["mend"]
        assert checks["copies in memory"]["health"] == "note"
        code, checks = found("--url", where, "-n", "theirs")
        raw.execute_command("ACL", "DELUSER", "tenant")
    assert code == 1
    assert checks["leases and entries"]["health"] == "failed"
    assert "ACL SETUSER" in checks["leases and entries"]["mend"]


def test_a_cluster():
    with LocalCluster() as cluster:
        code, checks = found("--url", cluster.url)
        fill(cluster.url)
        assert json.loads(samecall("stats", "--url", cluster.url, "--json").stdout)["workers"]
        assert len(samecall("ls", "--url", cluster.url, "--keys").stdout.split()) == 3
    assert code == 0
    assert checks["cluster"]["health"] == "ok"
    assert "16,384 of 16,384" in checks["cluster"]["says"]
    assert "version of primary 3" in checks


SOUND = {
    "redis_version": "8.0.1", "role": "master", "maxmemory": "1000", "used_memory": "10",
    "maxmemory_policy": "allkeys-lru", "aof_enabled": "1", "maxclients": "100",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "check", "health"),
    [
        ({}, "memory", "ok"),
        ({"redis_version": "5.0.14"}, "version", "warning"),
        ({"role": "slave"}, "role", "failed"),
        ({"maxmemory": "0"}, "memory", "warning"),
        ({"maxmemory_policy": "noeviction"}, "memory", "warning"),
        ({"maxmemory_policy": "allkeys-random"}, "memory", "warning"),
        ({"used_memory": "950"}, "memory", "note"),
        ({"evicted_keys": "7"}, "evictions", "note"),
        ({"loading": "1"}, "persistence", "failed"),
        ({"rdb_last_bgsave_status": "err"}, "persistence", "failed"),
        ({"aof_delayed_fsync": "3"}, "persistence", "warning"),
        ({"aof_enabled": "0"}, "persistence", "note"),
        ({"connected_clients": "95"}, "clients", "warning"),
        ({"connected_slaves": "2"}, "replicas", "note"),
    ],
)
def test_what_a_server_tells_is_judged(change, check, health):
    checks = {finding.check: finding for finding in judge({**SOUND, **change})}
    assert checks[check].health is Health(health)
    if health in {"warning", "failed"} and "loading" not in change:
        assert checks[check].mend


# --- bench ----------------------------------------------------------------------------------------

SMALL = ("--workers", "2", "--rounds", "2", "--calls", "40", "--prompts", "10", "--latency", "0.02")


def test_a_load_test_of_a_store(url):
    done = process("bench", "--url", url, *SMALL, "--concurrency", "5", "--json")
    stdout, stderr = done.communicate(timeout=LIMIT)
    assert (done.returncode, stderr) == (0, "")
    report = json.loads(stdout)
    assert report["once"] is True
    first, second = report["rounds"]
    assert (first["calls"], second["calls"], report["calls"]) == (40, 40, 80)
    assert first["provider_calls"] + second["provider_calls"] == report["distinct_prompts"]
    assert second["hit_rate"] > first["hit_rate"]
    with redis.Redis.from_url(url) as raw:
        assert raw.keys("samecall-demo*") == []


def test_a_load_test_is_interrupted(url):
    done = process("bench", "--url", url, *SMALL[:-1], "4", "--json")
    with redis.Redis.from_url(url) as raw:
        while not raw.keys("samecall-demo*:l:*"):
            assert done.poll() is None
        os.killpg(done.pid, signal.SIGINT)
        stdout, stderr = done.communicate(timeout=LIMIT)
        assert (done.returncode, stdout, stderr) == (130, "", "samecall bench: interrupted\n")
        assert raw.keys("samecall-demo*") == []
