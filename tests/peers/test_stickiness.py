"""Libraries that poll before they have a websocket, over four processes behind one relay."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.peers.node import node
from tests.peers.upstreams import own_url
from tests.support import Process, RelayProcess, event_in, started_relay

pytestmark = pytest.mark.usefixtures("relayed")

SERVERS = ("north", "east", "south", "west")

TRANSPORTS = {
    "socket.io": ("polling,websocket", "polling", "websocket"),
    "socket.io-2": ("polling,websocket", "polling", "websocket"),
    "sockjs": ("xhr-polling", "xhr-streaming", "websocket"),
}
"""What the clients of a library may use; the last of each they are to end with."""

KEPT_BY = {
    "cookie": "sticky = cookie",
    "ip": "balancer = hash key=ip",
    "sid": "balancer = sticky-sid",
}

RELAY = """
[listener:web]
endpoint = tcp:0:interface=127.0.0.1

[route:web]
pool = web

[pool:web]
upstreams =
    {upstreams}
{kept_by}
"""


class Crowd:
    """Two clients for each choice of transports, and all that they talk with."""

    def __init__(
        self, servers: Mapping[str, Process], relay: RelayProcess, clients: list[Process]
    ) -> None:
        self.servers, self.relay, self.clients = servers, relay, clients

    def settled(self, client: Process, visit: int = 1) -> tuple[str, str]:
        """Wait until a client has what it wants; return its server and its transport."""
        _, event = client.wait_for_event(event="settled", visit=visit)
        return event["server"], event["transport"]

    def summary(self, client: Process) -> dict[str, Any]:
        """Ask a client for what it has seen."""
        start = len(client.log().splitlines())
        client.write_line("")
        return client.wait_for_event(start, event="summary")[1]

    def requests(self) -> Iterator[tuple[str, str, dict[str, str]]]:
        """Yield the server, the session and the facts of each request that has one."""
        for name, server in self.servers.items():
            for line in server.log().splitlines():
                request = event_in(line)
                if request.get("event") == "request" and (session := session_of(request["url"])):
                    yield name, session, request

    def homes(self) -> dict[str, set[str]]:
        """Return the servers that have seen each session."""
        found = defaultdict(set)
        for server, session, _ in self.requests():
            found[session].add(server)
        return found


def session_of(url: str) -> str:
    """Return the id of the session that a request belongs to; empty when it opens one."""
    parts = urlsplit(url)
    if match := re.fullmatch(r"/sockjs/[^/]+/([^/]+)/(?:xhr|xhr_send|xhr_streaming)", parts.path):
        return match[1]
    return parse_qs(parts.query).get("sid", [""])[0]


@pytest.fixture(params=TRANSPORTS)
def library(request: pytest.FixtureRequest) -> str:
    """Give each library, one after the other."""
    return str(request.param)


@pytest.fixture(params=KEPT_BY)
def crowd(request: pytest.FixtureRequest, library: str, tmp_path: Path) -> Iterator[Crowd]:
    """Give four servers, a relay that keeps sessions in one of the ways, and clients."""
    with contextlib.ExitStack() as stack:
        servers = {
            name: stack.enter_context(node("web_server.mjs", library, name)) for name in SERVERS
        }
        lines = [f"{own_url(server)} name={name}" for name, server in servers.items()]
        config = RELAY.format(upstreams="\n    ".join(lines), kept_by=KEPT_BY[request.param])
        relay = stack.enter_context(started_relay(config, tmp_path))
        url = relay.url_of("web", "http")
        cookies = ["cookies"] if request.param == "cookie" else []
        clients = [
            node("web_client.mjs", library, url, transports, f"127.0.7.{number}", *cookies)
            for number, transports in enumerate(TRANSPORTS[library] * 2, 1)
        ]
        for client in clients:
            stack.enter_context(client)
        yield Crowd(servers, relay, clients)


def test_each_session_stays_with_one_process_until_it_is_killed(crowd: Crowd, library: str) -> None:
    """All are upgraded that can be, hear everything in order, and lose nothing but a process."""
    wanted = [each.split(",")[-1] for each in TRANSPORTS[library]] * 2
    before = [crowd.settled(client) for client in crowd.clients]
    assert [transport for _, transport in before] == wanted
    assert len({server for server, _ in before}) > 1
    for seen in map(crowd.summary, crowd.clients):
        assert seen["errors"] == []
        assert [(visit["gaps"], visit["told"] > 0) for visit in seen["visits"]] == [([], True)]
    assert {len(servers) for servers in crowd.homes().values()} == {1}
    assert {request["kind"] for _, _, request in crowd.requests()} == (
        {"plain"} if library == "sockjs" else {"plain", "upgrade"}
    )

    killed = before[1][0]  # the process of one that polls
    crowd.servers[killed].kill()
    for client, (server, _), transport in zip(crowd.clients, before, wanted, strict=True):
        if server == killed:
            after, now = crowd.settled(client, visit=2)
            assert (after != killed, now) == (True, transport)
        visits = crowd.summary(client)["visits"]
        assert len(visits) == (2 if server == killed else 1)
        assert [visit["gaps"] for visit in visits] == [[]] * len(visits)
