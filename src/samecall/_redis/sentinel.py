"""A connection to whichever server the sentinels name as the primary.

redis-py's own Sentinel client is not used: it asks over pools with retries and timers, which add
up to seconds, and it trusts a sentinel's word without asking the server itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import ConnectionError as Unreachable
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from samecall._errors import StoreError, StoreRefused, StoreUnreachable, StoreUnusable
from samecall._redis.client import Settings
from samecall._redis.link import Command, Connection, Link, pack

__all__ = ["SentinelConnection", "Watch"]

_ASK_LIMIT = 0.2  # one that is silent must leave time to ask the next


@dataclass(frozen=True, slots=True)
class Watch:
    """The sentinels, and the service that they watch; None: the only one there is."""

    sentinels: tuple[Settings, ...]
    service: str | None
    force_ip: str | None = None
    _order: deque[int] = field(default_factory=deque[int], repr=False, compare=False)

    def __post_init__(self) -> None:
        self._order.extend(range(len(self.sentinels)))

    def distrust(self) -> None:
        """The sentinel that answered last was wrong: begin with another one."""
        self._order.rotate(-1)

    async def primary(self) -> tuple[str, int]:
        """Where the primary is; `StoreUnreachable`, or `StoreRefused` if nobody knows it."""
        troubles: list[StoreError] = []
        for _ in self.sentinels:
            try:
                return await self._ask(self.sentinels[self._order[0]])
            except StoreError as error:
                troubles.append(error)
                self._order.rotate(-1)
        if not troubles:
            raise StoreUnusable("there is no sentinel to ask")
        told = [each for each in troubles if isinstance(each, StoreRefused)]
        raise (told or troubles)[-1]

    async def _ask(self, sentinel: Settings) -> tuple[str, int]:
        link = Link(sentinel.make, _ASK_LIMIT)
        try:
            async with asyncio.timeout(2 * _ASK_LIMIT):
                service = self.service or await _only_service(link)
                command = (b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service)
                return self._read(service, await _one(link, command))
        except TimeoutError as error:
            raise StoreUnreachable("a sentinel gave no reply in time") from error
        except StoreUnusable:
            raise
        except StoreRefused as error:
            raise StoreUnusable(
                f"a sentinel refuses the login ({error}); the sentinels' own one is "
                "?sentinel_username=user&sentinel_password=password in the URL, or sentinel_kwargs"
            ) from error
        finally:
            await link.drop()

    def _read(self, service: str, reply: object) -> tuple[str, int]:
        match reply:
            case [bytes(host), bytes(port)] if port.isdigit():
                return self.force_ip or host.decode(), int(port)
            case None:
                raise StoreUnusable(
                    f"the sentinels watch no service {service!r}; a URL names it after the hosts"
                )
            case other:
                raise StoreUnreachable(f"a sentinel gave an unexpected reply: {other!r:.80}")


async def _one(link: Link, command: Command) -> Any:
    (reply,) = await link.exchange([command])
    if isinstance(reply, NoPermissionError):
        raise StoreRefused(str(reply))
    if isinstance(reply, ResponseError) and "unknown command" in str(reply).lower():
        raise StoreUnusable(f"no sentinel is there ({reply}); a server is redis://host:port")
    return reply


async def _only_service(link: Link) -> str:
    names: list[str] = []
    match await _one(link, (b"SENTINEL", b"MASTERS")):
        case [*services]:
            for each in services:
                pairs = dict(zip(each[::2], each[1::2], strict=False))
                names.append(pairs.get(b"name", b"").decode())
        case other:
            raise StoreUnreachable(f"a sentinel gave an unexpected reply: {other!r:.80}")
    if len(names) != 1:
        raise StoreUnusable(
            f"the sentinels watch {', '.join(names) or 'nothing'}: give a URL with the service, or "
            "what Sentinel.master_for(service) makes"
        )
    return names[0]


class SentinelConnection:
    """Asks for the primary each time it connects; see `link.Connection`."""

    def __init__(self, watch: Watch, settings: Settings) -> None:
        self._watch = watch
        self._settings = settings
        self._inner: Connection | None = None

    @property
    def _writer(self) -> asyncio.StreamWriter | None:
        return getattr(self._inner, "_writer", None)

    async def connect(self) -> None:
        """Connect to the server that is the primary by its own word, too."""
        trouble: Exception = Unreachable("there is no sentinel to ask")
        tried: set[tuple[str, int]] = set()
        for _ in self._watch.sentinels:
            place = await self._watch.primary()
            if place not in tried:
                tried.add(place)
                try:
                    await self._connect_to(*place)
                except (RedisError, OSError) as error:
                    trouble = error
                else:
                    return
            self._watch.distrust()  # after a failover some of them are late
        raise trouble

    async def _connect_to(self, host: str, port: int) -> None:
        await self.disconnect(nowait=True)
        self._inner = self._settings.at(host, port).make()
        await self._inner.connect()
        await self.send_packed_command(pack([(b"ROLE",)]), check_health=False)
        try:
            role = await self.read_response(disable_decoding=True)
        except NoPermissionError:  # the login may not ask: then a READONLY will tell
            return
        if not isinstance(role, list) or not role or role[0] != b"master":
            raise Unreachable(f"{host}:{port} is not the primary")

    async def disconnect(self, *, nowait: bool = False) -> None:
        """See `link.Connection`."""
        if self._inner is not None:
            await self._inner.disconnect(nowait=nowait)

    async def send_packed_command(self, command: list[bytes], *, check_health: bool) -> None:
        """See `link.Connection`."""
        await self._connected.send_packed_command(command, check_health=check_health)

    async def read_response(self, *, disable_decoding: bool) -> Any:
        """See `link.Connection`."""
        return await self._connected.read_response(disable_decoding=disable_decoding)

    @property
    def _connected(self) -> Connection:
        if self._inner is None:
            raise Unreachable("not connected")
        return self._inner
