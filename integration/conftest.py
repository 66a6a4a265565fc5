"""The fixtures `server`, `cluster` and `sentinel`: every test that asks for one of them runs on
Redis 7, Redis 8 and Valkey 8.
"""

import pytest

from serving import DockerRequiredError, resolve, say


def pytest_configure():
    try:
        resolve()
    except DockerRequiredError as error:
        pytest.exit(str(error), returncode=1)


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session):
    _, line = resolve()
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if line and reporter is not None:
        reporter.write_line(line)


def pytest_generate_tests(metafunc):
    for name in ("server", "cluster", "sentinel"):
        if name in metafunc.fixturenames:
            targets, _ = resolve()
            ids = [target.id for target in targets]
            scope = "function" if name == "server" else "module"
            metafunc.parametrize(name, targets, indirect=True, ids=ids, scope=scope)


@pytest.fixture(scope="session")
def _servers():
    """One server of each kind for the whole session."""
    started = {}
    yield started
    for server in started.values():
        server.close()


@pytest.fixture
def server(request, _servers):
    """A running, empty server with .url, .stop(), .start(), .pause(), .resume() and .kill().

    What a test changes by CONFIG SET it sets back itself.
    """
    target = request.param
    if target not in _servers:
        _servers[target] = target.make()
    running = _servers[target]
    running.start()
    assert say(running, "FLUSHALL") == b"+OK"
    running.target = target
    yield running
    running.start()


@pytest.fixture(scope="module")
def cluster(request):
    """A running `samecall.testing.LocalCluster`; who moves or ends its nodes leaves it sound."""
    with request.param.make_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def sentinel(request):
    """A running `samecall.testing.LocalSentinel`; its primary may move once, at the end."""
    with request.param.make_sentinel() as running:
        yield running
