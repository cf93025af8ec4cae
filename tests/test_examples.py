"""Every example is started and carries a message."""

from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.support import PROJECT, Process, free_port, started_relay
from tests.test_readme import echo_upstream, program

pytestmark = pytest.mark.peers

EXAMPLES = PROJECT / "examples"


def test_chat_ini_relays_to_its_upstreams(tmp_path: Path) -> None:
    text = (EXAMPLES / "chat.ini").read_text("utf-8").replace("tcp:8080", "tcp:0")
    with echo_upstream() as chat, echo_upstream() as echo:
        for port in (3001, 3002, 3003):
            text = text.replace(f"ws://127.0.0.1:{port}", f"ws://127.0.0.1:{chat} name=u{port}")
        text = text.replace("ws://127.0.0.1:3004", f"ws://127.0.0.1:{echo}")
        with started_relay(text, tmp_path) as relay:
            for path, route in (("/chat", "chat"), ("/other", "everything-else")):
                with connect(relay.url + path) as client:
                    client.send(path)
                    assert client.recv(10) == path
                relay.wait_for_event(event="end", route=route, messages_up=1, messages_down=1)


def test_the_relay_runs_inside_another_application(tmp_path: Path) -> None:
    port = free_port()
    with echo_upstream() as upstream:
        where = {
            "LISTEN": f"tcp:{port}:interface=127.0.0.1",
            "UPSTREAM": f"ws://127.0.0.1:{upstream}",
        }
        command = [program("twistd"), "-n", "--pidfile=", "-y", EXAMPLES / "embedded.py"]
        with Process(command, cwd=tmp_path, env=where) as application:
            application.wait_for_port(port)
            with connect(f"ws://127.0.0.1:{port}") as client:
                client.send("hello")
                assert client.recv(10) == "hello"
