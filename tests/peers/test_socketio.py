"""Socket.IO through the relay: nobody is lost when a server is."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

from tests.peers.node import node
from tests.peers.upstreams import DIRECT, own_url, relay_ini
from tests.support import Process, started_relay

SERVERS = ("north", "east", "south", "west")
CLIENTS = 8


def test_clients_of_a_killed_server_go_on_elsewhere(tmp_path: Path) -> None:
    """
    When one of four servers is killed, its clients talk on at others by themselves.

    The clients of the other three neither lose a message nor their connection.
    """
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(node("socketio_server.mjs", name)) for name in SERVERS}
        urls = [own_url(server) for server in servers.values()]
        if not DIRECT:
            relay = stack.enter_context(started_relay(relay_ini({"chat": urls}), tmp_path))
            urls = [relay.url]
        talkers = stack.enter_context(node("socketio_clients.mjs", str(CLIENTS), *urls))
        homes = [welcome(talkers, client, visit=1) for client in range(CLIENTS)]
        assert Counter(homes) == dict.fromkeys(SERVERS, CLIENTS // len(SERVERS))
        everybody_speaks(talkers)
        if DIRECT:
            return
        servers[homes[0]].kill()
        moved = {c: welcome(talkers, c, visit=2) for c in range(CLIENTS) if homes[c] == homes[0]}
        assert homes[0] not in moved.values()
        everybody_speaks(talkers)
        talkers.write_line("end")
        for client, home in enumerate(homes):
            check(summary(talkers, client), [home, *filter(None, [moved.get(client)])])


def welcome(talkers: Process, client: int, visit: int) -> str:
    """Wait until *client* has joined a server for that time and return the server's name."""
    _, event = talkers.wait_for_event(event="welcome", client=client, visit=visit)
    return str(event["server"])


def everybody_speaks(talkers: Process) -> None:
    """Wait until 50 more messages of each client came back to it."""
    start = len(talkers.log().splitlines())
    talkers.write_line("more")
    for client in range(CLIENTS):
        talkers.wait_for_event(start, event="spoke", client=client)


def summary(talkers: Process, client: int) -> dict[str, Any]:
    """Wait for what *client* has to say at the end."""
    _, event = talkers.wait_for_event(event="summary", client=client)
    return event


def check(seen: dict[str, Any], servers: list[str]) -> None:
    """Check that a client was at these *servers* and heard all that was said there."""
    assert seen["servers"] == servers
    assert seen["gaps"] == []
    assert len(seen["heard"]) > 1, "it heard nobody but itself"
