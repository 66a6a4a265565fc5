import gc
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from samecall import testing
from samecall._errors import ConfigurationError, StoreError
from samecall.testing.servers import LocalServer, answers_ping, free_port, wait_until


@pytest.fixture
def server():
    with LocalServer() as running:
        yield running


def ask(server, line):
    """The first line that the server answers."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as link:
        link.sendall(line.encode() + b"\r\n")
        return link.makefile("rb").readline().strip()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_server_answers_at_its_url(server):
    assert server.url == f"redis://127.0.0.1:{server.port}/0"
    assert ask(server, "PING") == b"+PONG"


def test_the_package_hands_it_out(server):
    assert testing.LocalServer is LocalServer
    assert "LocalServer" in dir(testing)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = testing.nonsense


def test_two_servers_do_not_share(server):
    with LocalServer() as other:
        assert other.port != server.port
        ask(server, "SET k 1")
        assert ask(other, "EXISTS k") == b":0"


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_after_its_end_it_comes_back_empty_on_the_same_port(server, end):
    port, pid = server.port, server.pid
    ask(server, "SET k 1")
    getattr(server, end)()
    assert not alive(pid)
    assert not answers_ping(port)
    getattr(server, end)()  # a second time changes nothing
    server.start()
    assert server.port == port
    assert server.pid != pid
    assert ask(server, "EXISTS k") == b":0"


def test_starting_a_running_server_changes_nothing(server):
    pid = server.pid
    server.start()
    assert server.pid == pid


def test_a_stalled_server_takes_the_connection_and_answers_after_resume(server):
    server.pause()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as link:
        link.sendall(b"PING\r\n")
        link.settimeout(0.05)
        with pytest.raises(TimeoutError):
            link.recv(1)
        server.resume()
        link.settimeout(5)
        assert link.recv(7) == b"+PONG\r\n"


def test_a_stalled_server_may_be_paused_again(server):
    for _ in range(2):
        server.pause()
        server.pause()
        server.resume()
        assert ask(server, "PING") == b"+PONG"
    server.pause()
    server.kill()
    server.start()
    server.pause()
    server.resume()
    assert ask(server, "PING") == b"+PONG"


def test_starting_a_stalled_server_resumes_it(server):
    server.pause()
    server.start()
    assert ask(server, "PING") == b"+PONG"


def test_a_stalled_server_can_be_stopped(server):
    pid = server.pid
    server.pause()
    server.stop()
    assert not alive(pid)


def test_pausing_a_dead_server_says_so(server):
    server.stop()
    with pytest.raises(StoreError, match="does not run"):
        server.pause()


def test_arguments_reach_the_server_even_a_password():
    with LocalServer(arguments=["--requirepass", "secret"]) as server:
        assert ask(server, "PING").startswith(b"-NOAUTH")
        assert ask(server, "AUTH secret") == b"+OK"


def test_a_server_that_refuses_its_arguments_says_why():
    server = LocalServer(arguments=["--no-such-setting", "1"])
    with pytest.raises(StoreError, match="no-such-setting"):
        server.start()
    server.close()


def test_a_taken_port_is_left_for_another_one():
    with LocalServer() as first:
        second = LocalServer()
        second.port = first.port  # as if it had been taken between choice and start
        with second:
            assert second.port != first.port
            assert ask(second, "PING") == b"+PONG"


def test_a_fixed_port_that_is_taken_is_an_error(server):
    other = LocalServer(port=server.port)
    with pytest.raises(StoreError):
        other.start()
    other.close()


def test_a_binary_that_is_not_there_is_named():
    with pytest.raises(ConfigurationError, match="no-such-server"):
        LocalServer("no-such-server")


def test_a_given_binary_is_used(tmp_path):
    script = tmp_path / "server"
    script.write_text("#!/bin/sh\necho started with $2; exit 3\n")
    script.chmod(0o755)
    server = LocalServer(script)
    with pytest.raises(StoreError, match="ended with 3\nstarted with"):
        server.start()
    server.close()


def test_close_leaves_nothing_behind(server):
    pid, directory = server.pid, server._directory
    server.close()
    assert not alive(pid)
    assert not Path(directory).exists()


def test_a_forgotten_server_ends_with_its_object():
    server = LocalServer()
    server.start()
    pid, directory = server.pid, server._directory
    del server
    gc.collect()
    assert not alive(pid)
    assert not Path(directory).exists()


def test_a_server_ends_with_its_process():
    asked = (
        "from samecall.testing import LocalServer; s = LocalServer(); s.start(); "
        "print(s.pid, flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked], check=True, capture_output=True, text=True, timeout=60
    )
    assert not alive(int(done.stdout))


def test_a_forked_child_that_ends_does_not_end_it():
    asked = """
import os, sys
from samecall.testing import LocalServer
s = LocalServer(); s.start()
if os.fork() == 0:
    sys.exit(0)
os.wait()
from samecall.testing.servers import answers_ping
sys.exit(0 if answers_ping(s.port) else 1)
"""
    done = subprocess.run([sys.executable, "-c", asked], check=False, timeout=60)
    assert done.returncode == 0


def test_free_port_is_bindable_and_below_the_outgoing_ones():
    port = free_port()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
    assert 20_000 <= port < 32_000


def test_wait_until_names_what_did_not_come():
    with pytest.raises(StoreError, match="no bus within 0 seconds"):
        wait_until(lambda: False, "no bus", 0)


def test_wait_until_asks_again():
    answers = iter([False, False, True])
    wait_until(lambda: next(answers), "nothing", 60)
    assert next(answers, "done") == "done"


def test_answers_ping_is_false_for_something_else():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def reply():
            link, _ = listener.accept()
            with link:
                link.recv(100)
                link.sendall(b"HTTP/1.1 400\r\n")

        thread = threading.Thread(target=reply)
        thread.start()
        assert not answers_ping(listener.getsockname()[1])
        thread.join()
