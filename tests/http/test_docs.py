"""docs/web-application.rst: its relay.ini redirects, and serves files by TLS."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
from pathlib import Path

import pytest

from tests.peers.certificates import Authority
from tests.support import PROJECT, started_relay
from tests.test_readme import blocks, echo_upstream

PAGE = (PROJECT / "docs" / "web-application.rst").read_text("utf-8")


@pytest.mark.peers
def test_the_relay_ini_of_a_web_application_serves_one(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("www.example.com")
    (tmp_path / "certs").mkdir()
    both = pair.certificate.read_text() + pair.key.read_text()
    (tmp_path / "certs" / "www.pem").write_text(both)
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "index.html").write_text("<p>hello")
    with echo_upstream() as port:
        text = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", blocks("ini", PAGE)[0])
        text = text.replace(f"ws://127.0.0.1:{port}\nbalancer", f"ws://localhost:{port}\nbalancer")
        text = re.sub(r"tcp:(80|443)\n", "tcp:0:interface=127.0.0.1\n", text)
        with started_relay(text, tmp_path) as relay:
            web, secure = relay.ports["web"], relay.ports["secure"]
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", web)) as asked:
                asked.request("GET", "/a?b", headers={"Host": "www.example.com"})
                assert asked.getresponse().headers["Location"] == "https://www.example.com/a?b"
            context = ssl.create_default_context(cafile=authority.certificate())
            with context.wrap_socket(
                socket.create_connection(("127.0.0.1", secure)), server_hostname="www.example.com"
            ) as wire:
                wire.sendall(
                    b"GET / HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n"
                )
                answer = wire.makefile("rb").read()
    assert answer.endswith(b"<p>hello")
