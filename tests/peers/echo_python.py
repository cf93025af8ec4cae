"""
A plain upstream made with ``http.server``: HTTP/1.0, one request a connection.

Its answers have no length: they end with their connection.  See `tests.peers.test_http_peers`.
"""

from __future__ import annotations

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from typing_extensions import override

from tests.peers.reporting import report


class Handler(SimpleHTTPRequestHandler):
    """Serves files below /files/, and sends everything else back."""

    def do_POST(self) -> None:
        """Send the body back; it refuses before it has read, where it is told to."""
        if self.path == "/early":
            self._begin(413)
            self.wfile.write(b"too much")
            return
        body = b"".join(self._body())
        self._begin(200)
        self.wfile.write(body)

    def do_PUT(self) -> None:
        self.do_POST()

    @override
    def do_GET(self) -> None:
        if self.path.startswith("/files/"):
            self.path = self.path.removeprefix("/files")
            super().do_GET()
        else:
            self.do_POST()

    def _begin(self, status: int) -> None:
        self.send_response(status)
        self.send_header("X-Method", self.command)
        self.send_header("X-Target", self.path)
        self.end_headers()

    def _body(self):  # type: ignore[no-untyped-def]
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            yield self.rfile.read(int(self.headers.get("Content-Length", 0)))

    @override
    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=sys.argv[1]))
    report("listening", port=server.server_address[1])
    server.serve_forever()
