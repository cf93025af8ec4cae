"""A stand-in for a relay's admin endpoint, with the standard library's server in a thread."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from copy import deepcopy
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.admin.support import STATUS
from tests.peers.certificates import KeyPair
from wsrelay.cli import main

TOKEN = "0123456789abcdef-token"


def upstream(name: str, **more: Any) -> dict[str, Any]:
    """Return an upstream as status.json has it."""
    return {
        "name": name,
        "url": f"ws://{name}",
        "source": "file",
        "state": "ready",
        "health": "up",
        "health_s": 11.2,
        "weight": 1,
        "max_connections": None,
        "backup": False,
        "sessions": 4,
        "openings": 0,
        "requests": 0,
        "rtt_ms": 0.4,
        "drain": None,
        "handshakes": 17,
        "answered": 0,
        "failures": 1,
        "last_problem": "",
        "check": None,
        "history": [],
        "idle_connections": 0,
        "messages_up": 100,
        "messages_down": 90,
        "bytes_up": 4000,
        "bytes_down": 3000,
    } | more


def pool(name: str, *upstreams: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a pool as status.json has it."""
    return {
        "name": name,
        "balancer": "least-connections",
        "sticky": None,
        "discover": None,
        "health_check": None,
        "sessions": sum(each["sessions"] for each in upstreams),
        "requests": sum(each["requests"] for each in upstreams),
        "queue": 0,
        "drain": None,
        "rebalance": None,
        "upstreams": list(upstreams),
    } | more


def status(*pools: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a whole status.json, of a relay that has had no plain request."""
    quiet = {"requests": 0, "http": dict.fromkeys(STATUS["http"], 0)}
    found = deepcopy(STATUS) | quiet
    for route in found["routes"]:
        route |= quiet
    return found | {"pools": list(pools)} | more


def progress(what: str, total: int, closed: int, done: bool = False) -> dict[str, Any]:
    """Return how far a drain is, as status.json has it."""
    return {
        "what": what,
        "total": total,
        "closed": closed,
        "left": total - closed,
        "elapsed_s": 3.1,
        "deadline_s": 26.9,
        "done": done,
    }


class Relay:
    """
    What the stand-in answers, and what it was asked.

    :ivar answers: method and path, without the query, -> status and body; a text is sent as
        it is, a list of answers is used up to its last one.
    :ivar asked: method, target and JSON body of each request.
    :ivar tokens: the Authorization header of each request.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.tokens: list[str | None] = []
        self.url = ""

    def answer(self, line: str, *answers: Any, status: int = 200) -> None:
        """Answer *line* with each of *answers*, the last one for ever."""
        self.answers[line] = [(status, deepcopy(each)) for each in answers]

    def next_answer(self, line: str) -> tuple[int, Any]:
        """Return the status and the body for a request."""
        queue = self.answers.get(line)
        if not queue:
            return 404, {"error": f"there is no {line}"}
        found: tuple[int, Any] = queue.pop(0) if len(queue) > 1 else queue[0]
        return found


def _handler(relay: Relay) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 20

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the address of a unix socket's client has no host."""

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            relay.asked.append((self.command, self.path, body))
            relay.tokens.append(self.headers.get("Authorization"))
            status, answer = relay.next_answer(f"{self.command} {urlsplit(self.path).path}")
            content = answer if isinstance(answer, str) else json.dumps(answer)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content.encode())))
            self.end_headers()
            self.wfile.write(content.encode())

        do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - http.server calls them so

    return Handler


class _Server(ThreadingMixIn, TCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that went away."""


class _UnixServer(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


@contextlib.contextmanager
def serving(unix: Path | None = None, certificate: KeyPair | None = None) -> Iterator[Relay]:
    """Run a stand-in for as long as the context lasts."""
    relay = Relay()
    server: TCPServer
    if unix is None:
        server = _Server(("127.0.0.1", 0), _handler(relay))
        scheme = "http" if certificate is None else "https"
        relay.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    else:
        server = _UnixServer(str(unix), _handler(relay))
        relay.url = f"unix:{unix}"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield relay
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def answering(content: bytes, *, hold: bool = False) -> Iterator[str]:
    """
    Listen, read a little of one request, send *content* as it is; yield the URL.

    :param hold: leave the connection open after that.
    """
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_answer_once, args=(listening, content, hold, over))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            over.set()
            with contextlib.suppress(OSError):  # it may wait for nobody
                listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def _answer_once(
    listening: socket.socket, content: bytes, hold: bool, over: threading.Event
) -> None:
    with contextlib.suppress(OSError):
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(20)
            connection.recv(65536)
            connection.sendall(content)
            if hold:
                over.wait(20)


class Ran:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


def run(capsys: pytest.CaptureFixture[str], *words: str) -> Ran:
    """Run a command in this process."""
    try:
        code = main(words)
    except SystemExit as error:
        code = int(error.code or 0)
    out, err = capsys.readouterr()
    return Ran(code, out, err)


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what steers these commands, and with *more*."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("WSRELAY_")}
    return ours | more
