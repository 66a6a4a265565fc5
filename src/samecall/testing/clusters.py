"""A real cluster as processes of this machine: three primaries with a replica each."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol, Self

from samecall._errors import StoreError
from samecall.testing._resp import Reply, ask
from samecall.testing.servers import LocalServer, free_port, wait_until

__all__ = ["LocalCluster", "Member"]

_SLOTS = 16384
_BUS = 10_000
_PRIMARIES = 3
_TOGETHER = 30.0


class Member(Protocol):
    """What a cluster asks of a server: to listen on the same port inside and out."""

    @property
    def port(self) -> int: ...  # noqa: D102 - see `LocalServer` for all of these

    def start(self) -> None: ...  # noqa: D102

    def stop(self) -> None: ...  # noqa: D102

    def kill(self) -> None: ...  # noqa: D102

    def pause(self) -> None: ...  # noqa: D102

    def resume(self) -> None: ...  # noqa: D102

    def close(self) -> None: ...  # noqa: D102


class LocalCluster:
    """Six servers on the loopback interface: `nodes[i + 3]` begins as the replica of `nodes[i]`.

    binary, arguments: see `LocalServer`. make: what makes a server of a port and more of its
    command line instead, such as one in a container; all must reach it by 127.0.0.1 and that port.
    node_timeout: seconds after which a silent node counts as failed.

    All methods block until what they say is done. Raises `StoreError` if that does not happen.
    """

    def __init__(
        self,
        binary: str | os.PathLike[str] | None = None,
        *,
        arguments: Sequence[str] = (),
        node_timeout: float = 1.0,
        make: Callable[[int, list[str]], Member] | None = None,
    ) -> None:
        line = [
            *("--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"),
            *("--cluster-node-timeout", str(round(node_timeout * 1000))),
            *("--cluster-replica-validity-factor", "0"),
            *("--repl-diskless-sync-delay", "0"),
            *arguments,
        ]

        def local(port: int, more: list[str]) -> Member:
            return LocalServer(binary, port=port, arguments=more)

        made = make or local

        def node() -> Member:
            return made(_free_pair(), line)

        self._make = node
        self.nodes: list[Member] = [self._make() for _ in range(2 * _PRIMARIES)]

    @property
    def url(self) -> str:
        """Where it listens, as `redis+cluster://127.0.0.1:port,127.0.0.1:port,...`."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> None:
        """Start all servers and join them; return once every node sees all the others in place."""
        for number in range(len(self.nodes)):
            self._begin(number)
        first = self.nodes[0]
        for number, node in enumerate(self.nodes):
            self.say(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number:
                self.say(first, "CLUSTER", "MEET", "127.0.0.1", node.port)
        bounds = [_SLOTS * i // _PRIMARIES for i in range(_PRIMARIES + 1)]
        for i in range(_PRIMARIES):
            self.say(self.nodes[i], "CLUSTER", "ADDSLOTS", *range(bounds[i], bounds[i + 1]))
        wait_until(self._met, "the nodes did not meet", _TOGETHER)
        for i in range(_PRIMARIES):
            primary = self._name(self.nodes[i])
            self.say(self.nodes[i + _PRIMARIES], "CLUSTER", "REPLICATE", primary)
        wait_until(self.sound, "the cluster did not come together", _TOGETHER)

    def _begin(self, number: int) -> None:
        for last_try in (False, False, True):
            try:
                self.nodes[number].start()
            except StoreError:
                if last_try:
                    raise
                # somebody else may have taken one of its ports since they were chosen
                self.nodes[number].close()
                self.nodes[number] = self._make()
            else:
                return

    def say(self, node: Member, *command: str | bytes | int) -> Reply:
        """One node's reply to one command."""
        return ask(node.port, *command)

    def owner(self, slot: int) -> Member:
        """The primary of a slot, by the word of the nodes that answer."""
        for node in self.nodes:
            with suppress(OSError, StoreError):
                for line in self._lines(node):
                    if "myself,master" in line and _holds(line.split()[8:], slot):
                        return node
        raise StoreError(f"nobody owns slot {slot}")

    def replica_of(self, primary: Member) -> Member:
        """A replica that follows `primary`, which may be dead."""
        for node in self.nodes:
            if node is not primary:
                with suppress(OSError, StoreError):
                    role = self.say(node, "ROLE")
                    if isinstance(role, list) and role[0] == b"slave" and role[2] == primary.port:
                        return node
        raise StoreError(f"the node on port {primary.port} has no replica")

    def failover(self, primary: Member) -> Member:
        """Make a replica of `primary` the primary, and say which; a dead primary is taken over."""
        replica = self.replica_of(primary)
        try:
            self.say(primary, "PING")
            self.say(replica, "CLUSTER", "FAILOVER")
        except OSError:
            self.say(replica, "CLUSTER", "FAILOVER", "TAKEOVER")
        wait_until(
            lambda: self.say(replica, "ROLE")[0] == b"master",  # type: ignore[index]
            f"the replica on port {replica.port} did not take over",
            _TOGETHER,
        )
        return replica

    def move_slot(self, slot: int, to: Member, halfway: Callable[[], None] = lambda: None) -> None:
        """Move one slot live, as the servers' own tools do; `halfway` is called in the middle.

        There, the first half of its keys has gone ahead.
        """
        source = self.owner(slot)
        self.say(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", self._name(source))
        self.say(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self._name(to))
        count = self.say(source, "CLUSTER", "COUNTKEYSINSLOT", slot)
        half = count // 2 if isinstance(count, int) else 0
        if half:
            self._migrate(slot, source, to, half)
        halfway()
        while self._migrate(slot, source, to, 100):
            pass
        for node in (to, source, *self.nodes):
            if self._is_primary(node):
                self.say(node, "CLUSTER", "SETSLOT", slot, "NODE", self._name(to))

    def _migrate(self, slot: int, source: Member, to: Member, most: int) -> int:
        keys = self.say(source, "CLUSTER", "GETKEYSINSLOT", slot, most)
        if not isinstance(keys, list) or not keys:
            return 0
        names = [key for key in keys if isinstance(key, bytes)]
        self.say(source, "MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *names)
        return len(names)

    def flush(self) -> None:
        """Delete all data."""
        wait_until(self._flushed, "the cluster took no FLUSHALL", _TOGETHER)

    def _flushed(self) -> bool:
        # a node may find out only now that it has become a replica: then its primary is asked
        with suppress(StoreError):
            for node in self.nodes:
                if self._is_primary(node):
                    self.say(node, "FLUSHALL")
            return True
        return False

    def close(self) -> None:
        """End all servers."""
        for node in self.nodes:
            node.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # --- what the nodes think -----------------------------------------------------------------

    def sound(self) -> bool:
        """Whether all nodes run, own all slots and follow their primaries."""
        try:
            return all(self._sees_all(node) for node in self.nodes)
        except (OSError, StoreError):  # one that still loads its data says so to everything
            return False

    def _sees_all(self, node: Member) -> bool:
        info = self.say(node, "CLUSTER", "INFO")
        lines = self._lines(node)
        replicas = [line for line in lines if "slave" in line.split()[2]]
        link = self.say(node, "INFO", "replication")
        return (
            isinstance(info, bytes)
            and b"cluster_state:ok" in info
            and len(replicas) == _PRIMARIES
            and not any({"fail", "fail?"} & set(line.split()[2].split(",")) for line in lines)
            and isinstance(link, bytes)
            and (b"role:master" in link or b"master_link_status:up" in link)
        )

    def _met(self) -> bool:
        known = [self._lines(node) for node in self.nodes]
        return all(
            len(lines) == len(self.nodes) and not any("handshake" in line for line in lines)
            for lines in known
        )

    def _is_primary(self, node: Member) -> bool:
        with suppress(OSError, StoreError):
            role = self.say(node, "ROLE")
            return isinstance(role, list) and role[0] == b"master"
        return False

    def _lines(self, node: Member) -> list[str]:
        reply = self.say(node, "CLUSTER", "NODES")
        return reply.decode().splitlines() if isinstance(reply, bytes) else []

    def _name(self, node: Member) -> str:
        name = self.say(node, "CLUSTER", "MYID")
        return name.decode() if isinstance(name, bytes) else ""


def _free_pair() -> int:
    # The nodes talk to each other on a port 10,000 higher. Neither may be one that outgoing
    # connections take: a node that was stopped could not come back.
    while True:
        port = free_port() - _BUS
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _holds(ranges: list[str], slot: int) -> bool:
    for each in ranges:
        if not each.startswith("["):  # a slot on its way
            first, _, last = each.partition("-")
            if int(first) <= slot <= int(last or first):
                return True
    return False
