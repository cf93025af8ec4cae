"""``python -m wsrelay.demo``: an upstream of the demo in a process of its own."""

import socket
import sys

from websockets.sync.client import connect

from tests.support import Process, free_port

COMMAND = [sys.executable, "-m", "wsrelay.demo"]


def test_it_echoes_says_its_name_and_ends_when_it_is_told_to() -> None:
    port = free_port()
    listen = f"tcp:{port}:interface=127.0.0.1"
    with Process([*COMMAND, "--listen", listen, "--name", "jade"]) as upstream:
        assert upstream.wait_for_words("listens") == f"upstream jade listens on {listen}"
        with connect(f"ws://127.0.0.1:{port}/echo") as client:
            assert client.response is not None
            assert client.response.headers["X-Upstream"] == "jade"
            client.send("hello")
            assert client.recv(10) == "hello"
        upstream.terminate()
        assert upstream.wait() == 0


def test_its_name_is_the_machines_unless_it_has_another() -> None:
    port = free_port()
    with Process([*COMMAND, "--listen", f"tcp:{port}:interface=127.0.0.1"]) as upstream:
        upstream.wait_for_words(f"upstream {socket.gethostname()} listens")


def test_where_it_cannot_listen_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        for wrong in (listen, "carrier-pigeon:1"):
            with Process([*COMMAND, "--listen", wrong]) as upstream:
                assert upstream.wait() == 1
                assert f"wsrelay.demo: cannot listen on {wrong}: " in upstream.log()
                assert "Traceback" not in upstream.log()
