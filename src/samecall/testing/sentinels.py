"""A real Sentinel set-up as processes of this machine: a primary, two replicas, three sentinels."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from samecall._errors import StoreError
from samecall.testing._resp import Reply, ask
from samecall.testing.clusters import Member
from samecall.testing.servers import LocalServer, free_port, wait_until

__all__ = ["LocalSentinel", "sentinel_config"]

_TOGETHER = 30.0
_SENTINELS = 3


def sentinel_config(service: str, primary: int, down_after: float, port: int) -> str:
    """What a sentinel's file says that watches a primary on a port of 127.0.0.1."""
    return "\n".join(
        (
            f"port {port}",
            "bind 127.0.0.1",
            "sentinel resolve-hostnames no",
            f"sentinel monitor {service} 127.0.0.1 {primary} 2",
            f"sentinel down-after-milliseconds {service} {round(down_after * 1000)}",
            f"sentinel failover-timeout {service} 5000",
            f"sentinel parallel-syncs {service} 2",
            "",
        )
    )


class _LocalWatcher(LocalServer):
    """One sentinel process."""

    _ready = "+monitor master"

    def __init__(self, binary: str | os.PathLike[str] | None, port: int, config: str) -> None:
        super().__init__(binary, port=port)
        self._config = config

    def _command_line(self) -> list[str]:
        path = Path(self._directory, "sentinel.conf")
        if not path.exists():  # it keeps there what it has learnt
            path.write_text(self._config)
        return [str(path), "--sentinel"]


class LocalSentinel:
    """Three data servers and three sentinels on the loopback interface.

    binary, arguments (of the data servers): see `LocalServer`. make: what makes a data server of a
    port and more of its command line instead, and watch: a sentinel of a port and the text of its
    file, such as ones in containers. down_after: seconds until a silent primary counts as failed.

    All methods block until what they say is done. Raises `StoreError` if that does not happen.
    """

    service = "samecall"

    def __init__(
        self,
        binary: str | os.PathLike[str] | None = None,
        *,
        arguments: Sequence[str] = (),
        down_after: float = 0.5,
        make: Callable[[int, list[str]], Member] | None = None,
        watch: Callable[[int, str], Member] | None = None,
    ) -> None:
        line = ["--repl-diskless-sync-delay", "0", *arguments]

        def local(port: int, more: list[str]) -> Member:
            return LocalServer(binary, port=port, arguments=more)

        def watcher(port: int, config: str) -> Member:
            return _LocalWatcher(binary, port, config)

        make = make or local
        self._watch = watch or watcher
        self._down_after = down_after
        self.servers: list[Member] = [make(free_port(), line) for _ in range(3)]
        self.sentinels: list[Member] = []

    @property
    def url(self) -> str:
        """Where the sentinels listen, as `redis+sentinel://127.0.0.1:port,.../service`."""
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        return f"redis+sentinel://{hosts}/{self.service}"

    def start(self) -> None:
        """Start all; return once every sentinel knows all the others and both replicas."""
        first, *replicas = self.servers
        for server in self.servers:
            server.start()
        for server in replicas:
            self.say(server, "REPLICAOF", "127.0.0.1", first.port)
        for _ in range(_SENTINELS):
            port = free_port()
            config = sentinel_config(self.service, first.port, self._down_after, port)
            self.sentinels.append(self._watch(port, config))
            self.sentinels[-1].start()
        wait_until(self.sound, "the sentinels did not come together", _TOGETHER)

    def say(self, server: Member, *command: str | bytes | int) -> Reply:
        """One server's or sentinel's reply to one command."""
        return ask(server.port, *command)

    def primary(self) -> Member:
        """The primary, by the word of a sentinel that answers."""
        for sentinel in self.sentinels:
            with suppress(OSError, StoreError):
                place = self.say(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
                for server in self.servers:
                    if isinstance(place, list) and place[1] == str(server.port).encode():
                        return server
        raise StoreError("no sentinel knows the primary")

    def failover(self) -> Member:
        """Have the sentinels make a replica the primary, and say which.

        A primary that still answers steps down; a dead one is replaced once they agree on it.
        """
        old = self.primary()
        with suppress(OSError):
            self.say(old, "PING")
            self.say(self.sentinels[0], "SENTINEL", "FAILOVER", self.service)
        wait_until(lambda: self.primary() is not old, "no replica took over", _TOGETHER)
        new = self.primary()
        wait_until(lambda: self._role(new) == b"master", "the new primary is none", _TOGETHER)
        return new

    def close(self) -> None:
        """End all processes."""
        for each in (*self.sentinels, *self.servers):
            each.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def sound(self) -> bool:
        """Whether every sentinel sees a primary, two replicas in step and the other sentinels."""
        try:
            return all(self._sees_all(sentinel) for sentinel in self.sentinels)
        except OSError:
            return False

    def _sees_all(self, sentinel: Member) -> bool:
        state = self.say(sentinel, "SENTINEL", "MASTER", self.service)
        replicas = self.say(sentinel, "SENTINEL", "REPLICAS", self.service)
        if not isinstance(state, list) or not isinstance(replicas, list):
            return False
        seen = dict(zip(state[::2], state[1::2], strict=False))
        links = [dict(zip(r[::2], r[1::2], strict=False)) for r in replicas if isinstance(r, list)]
        return (
            seen.get(b"num-other-sentinels") == str(_SENTINELS - 1).encode()
            and seen.get(b"flags") == b"master"
            and [each.get(b"master-link-status") for each in links] == [b"ok", b"ok"]
        )

    def _role(self, server: Member) -> object:
        role = self.say(server, "ROLE")
        return role[0] if isinstance(role, list) else None
