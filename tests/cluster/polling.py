"""Upstreams that poll as Engine.IO does: each knows its own sessions only."""

from __future__ import annotations

import http.client
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.support import RelayProcess

PATH = "/socket.io/?EIO=4&transport=polling"


class Poller:
    """An Engine.IO server, as far as polling goes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.known: set[str] = set()
        poller = self

        class Answering(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, body = poller.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def line(self) -> str:
        return f"ws://127.0.0.1:{self._server.server_address[1]} name={self.name}"

    def answer(self, path: str) -> tuple[int, bytes]:
        sids = parse_qs(urlsplit(path).query).get("sid")
        if sids is None:
            sid = os.urandom(10).hex()
            self.known.add(sid)
            return 200, b"0" + json.dumps({"sid": sid, "upgrades": []}).encode()
        if sids[0] in self.known:
            return 200, self.name.encode()
        return 400, b'{"code":1,"message":"Session ID unknown"}'

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def poll(relay: RelayProcess, sid: str = "") -> tuple[int, bytes]:
    """Poll by a relay, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", relay.ports["main"], timeout=20)
    try:
        connection.request("GET", f"{PATH}&sid={sid}" if sid else PATH)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def open_session(relay: RelayProcess) -> str:
    """Open a session, and return its id."""
    status, body = poll(relay)
    assert status == 200, body
    return str(json.loads(body[1:])["sid"])
