"""Running an example: its ports and paths are replaced, everything else is as it stands."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from attrs import frozen
from websockets.sync.client import ClientConnection, connect

from tests.peers.upstreams import own_url
from tests.support import PATIENCE, PROJECT, Process

EXAMPLES = PROJECT / "examples"
CLIENT = "127.0.0.7"
"""Where the clients of these tests come from, so that nobody takes them for a proxy."""

_ENDPOINT = re.compile(r"(?m)^((?:endpoint|listen) = )tcp:\d+(?::interface=127\.0\.0\.1)?$")


def example(file: str, replaced: Mapping[str, object]) -> str:
    """
    Return an example that can run here: on free ports of the loopback, and logging as JSON.

    :param replaced: what stands there -> what shall; all of it must be there.
    """
    text = (EXAMPLES / file).read_text("utf-8")
    text, count = _ENDPOINT.subn(r"\1tcp:0:interface=127.0.0.1", text)
    assert count
    for old, new in replaced.items():
        assert old in text, f"{old} is not in {file} any more"
        text = text.replace(old, str(new))
    return f"{text}\n[log]\nformat = json\n"


@contextmanager
def telling(name: str, *arguments: str, port: int = 0) -> Iterator[Process]:
    """Run an upstream of tests/examples/upstream.py that listens."""
    command = [sys.executable, "-m", "tests.examples.upstream", name, "--port", str(port)]
    with Process([*command, *arguments]) as process:
        own_url(process)
        yield process


@frozen
class Answer:
    """An answer to a plain request."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def told(self) -> Told:
        """What the upstream told."""
        return Told(json.loads(self.body))


@frozen
class Told:
    """What an upstream was asked."""

    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """The upstream's."""
        return str(self.facts["name"])

    @property
    def path(self) -> str:
        return str(self.facts["path"])

    def get(self, name: str) -> str | None:
        """Return the only field of that name, or None."""
        found = [value for key, value in self.facts["headers"] if key.lower() == name.lower()]
        assert len(found) < 2, found
        return found[0] if found else None


def fetch(
    port: int,
    path: str,
    *,
    host: str = "example.com",
    method: str = "GET",
    tls: ssl.SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """Ask for *path* of *host*, which is on that port of the loopback."""
    connection = http.client.HTTPConnection(host, timeout=PATIENCE)
    connection.sock = _connected(port, host, tls)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, answer.msg, answer.read())
    finally:
        connection.close()


def open_socket(
    port: int,
    path: str,
    *,
    host: str = "example.com",
    tls: ssl.SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
) -> ClientConnection:
    """Open a websocket to *path* of *host*, which is on that port of the loopback."""
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE, (CLIENT, 0))
    return connect(
        f"{'wss' if tls else 'ws'}://{host}{path}",
        sock=sock,
        ssl=tls,
        additional_headers=dict(headers or {}),
        proxy=None,
        open_timeout=PATIENCE,
    )


def converse(client: ClientConnection) -> Told:
    """Return what the upstream told first, and check that it echoes."""
    told = Told(json.loads(client.recv(PATIENCE)))
    client.send("hello")
    assert client.recv(PATIENCE) == "hello"
    return told


def trusting(*authorities: Any, certificate: Any = None) -> ssl.SSLContext:
    """Return a client's TLS that trusts these files, and shows a `KeyPair` if there is one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for each in authorities:
        context.load_verify_locations(each)
    if certificate is not None:
        context.load_cert_chain(certificate.certificate, certificate.key)
    return context


def _connected(port: int, host: str, tls: ssl.SSLContext | None) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE, (CLIENT, 0))
    if tls is None:
        return sock
    try:
        return tls.wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise
