"""nginx and HAProxy before the relay and behind it: everybody knows who the client is."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.peers.certificates import Authority, KeyPair
from tests.peers.nginx import nginx
from tests.support import Process, RelayProcess, free_port, require_program, started_relay
from tests.system.admin import ADMIN, Admin
from tests.system.support import LOCAL, RawUpstream, Wire, converse, wait_until

CLIENT, PROXY = "127.0.0.2", "127.0.0.1"
FORGED = (b"X-Forwarded-For: 10.66.66.66", b"X-Real-IP: 10.66.66.66")

NGINX = """\
        {server}
        location / {{
            proxy_pass {target};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            {fields}
        }}
"""

HAPROXY = """\
defaults
    mode {mode}
    timeout connect 10s
    timeout client 20s
    timeout server 20s
    timeout tunnel 20s
frontend front
    bind 127.0.0.1:{port} {bind}
    {front}
    default_backend back
backend back
    server one {target}
"""

versions = pytest.mark.parametrize("version", ["v1", "v2"])


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder whose path is short enough for sockets."""
    with TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    listening = RawUpstream.tcp()
    yield listening
    listening.close()


@pytest.fixture
def pair(folder: Path) -> KeyPair:
    """Give a certificate for 127.0.0.1, its key behind it in the same file."""
    authority = Authority(folder)
    authority.certificate()
    pair = authority.issue("127.0.0.1")
    pair.certificate.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    return pair


def proxying(
    folder: Path, port: int, server: str, target: str, fields: str = ""
) -> contextlib.AbstractContextManager[Process]:
    """Run nginx as a proxy before *target*."""
    text = NGINX.format(server=server, target=target, fields=fields)
    return nginx(folder / "nginx", port, text)


@contextlib.contextmanager
def haproxy(
    folder: Path, port: int, target: str, *, mode: str = "tcp", bind: str = "", front: str = ""
) -> Iterator[Process]:
    program = require_program("haproxy")
    text = HAPROXY.format(port=port, target=target, mode=mode, bind=bind, front=front)
    path = folder / "haproxy.cfg"
    path.write_text(text)
    with Process([program, "-db", "-f", path]) as process:
        process.wait_for_port(port)
        yield process


def ini(url: str, listener: str, pool: str = "", endpoint: str = LOCAL) -> str:
    return (
        f"[listener:main]\nendpoint = {endpoint}\n{listener}\n[route:main]\npool = main\n"
        f"[pool:main]\nupstreams = {url}\n{pool}\n[log]\nformat = json\n"
    )


def visit(port: int, upstream: RawUpstream, context: ssl.SSLContext | None = None) -> list[bytes]:
    """Have a session as `CLIENT`, who tells lies; return the lines that the upstream got."""
    sock = socket.create_connection((PROXY, port), 20, (CLIENT, 0))
    if context is not None:
        sock = context.wrap_socket(sock, server_hostname=PROXY)
    return converse(Wire(sock), upstream, *FORGED)


def check(head: list[bytes], port: int, proto: bytes) -> None:
    """Check that an upstream was told of `CLIENT`, as it is, and of nobody else."""
    assert b"X-Forwarded-For: 127.0.0.2" in head
    assert b"X-Real-IP: 127.0.0.2" in head
    assert b"X-Forwarded-Port: %d" % port in head
    assert b"X-Forwarded-Proto: " + proto in head
    assert b"66.66" not in b"".join(head)


def knows_the_client(relay: RelayProcess) -> None:
    _, event = relay.wait_for_event(event="end")
    assert str(event["client"]).startswith("127.0.0.2")


# before the relay

PROXIED = f"proxy_protocol = yes\ntrusted_proxies = {PROXY}"


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2"])
def test_haproxy_says_whom_it_relays_for(folder: Path, upstream: RawUpstream, send: str) -> None:
    port = free_port()
    with started_relay(ini(upstream.url, PROXIED), folder) as relay:
        # Its own checks send a header, too, and then nothing.
        target = f"127.0.0.1:{relay.ports['main']} {send} check inter 100ms"
        with haproxy(folder, port, target):
            check(visit(port, upstream), port, b"http")
            knows_the_client(relay)


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2"])
def test_haproxy_passes_tls_on_behind_its_header(
    folder: Path, upstream: RawUpstream, pair: KeyPair, send: str
) -> None:
    port, context = free_port(), ssl.create_default_context(cafile=folder / "authority.pem")
    listener = f"{PROXIED}\ncertificate = {pair.certificate}"
    with started_relay(ini(upstream.url, listener), folder) as relay:
        target = f"127.0.0.1:{relay.ports['main']} {send}"
        with haproxy(folder, port, target):
            check(visit(port, upstream, context), port, b"https")
            knows_the_client(relay)


def test_haproxy_ends_tls_and_says_so(folder: Path, upstream: RawUpstream, pair: KeyPair) -> None:
    port, context = free_port(), ssl.create_default_context(cafile=folder / "authority.pem")
    with started_relay(ini(upstream.url, PROXIED), folder) as relay:
        target = f"127.0.0.1:{relay.ports['main']} send-proxy-v2-ssl"
        with haproxy(folder, port, target, bind=f"ssl crt {pair.certificate}"):
            check(visit(port, upstream, context), port, b"https")
            knows_the_client(relay)


def test_haproxy_through_a_unix_socket(folder: Path, upstream: RawUpstream) -> None:
    port, path = free_port(), folder / "relay.sock"
    listener = "proxy_protocol = yes\ntrusted_proxies = unix:"
    with (
        started_relay(ini(upstream.url, listener, "", f"unix:{path}"), folder) as relay,
        haproxy(folder, port, f"unix@{path} send-proxy-v2"),
    ):
        check(visit(port, upstream), port, b"http")
        knows_the_client(relay)


def test_nginx_through_a_unix_socket(folder: Path, upstream: RawUpstream) -> None:
    port, path = free_port(), folder / "relay.sock"
    fields = (
        "proxy_set_header X-Forwarded-For $remote_addr;"
        "proxy_set_header X-Forwarded-Proto $scheme;"
        "proxy_set_header X-Forwarded-Port $server_port;"
    )
    listener = "trusted_proxies = unix:"
    with started_relay(ini(upstream.url, listener, "", f"unix:{path}"), folder) as relay:
        server = f"listen 127.0.0.1:{port};"
        with proxying(folder, port, server, f"http://unix:{path}:", fields):
            check(visit(port, upstream), port, b"http")
            knows_the_client(relay)


# behind the relay


@versions
def test_haproxy_accepts_what_the_relay_sends(
    folder: Path, upstream: RawUpstream, version: str
) -> None:
    port, pool = free_port(), f"proxy_protocol = {version}"
    target = f"127.0.0.1:{upstream.port}"
    front = "http-request set-header X-Seen %[src]:%[src_port]-%[dst]:%[dst_port]"
    with (
        haproxy(folder, port, target, mode="http", bind="accept-proxy", front=front),
        started_relay(ini(f"ws://127.0.0.1:{port}", "", pool), folder) as relay,
    ):
        sock = socket.create_connection((PROXY, relay.ports["main"]), 20, (CLIENT, 0))
        seen = f"{CLIENT}:{sock.getsockname()[1]}-{PROXY}:{relay.ports['main']}"
        head = converse(Wire(sock), upstream, *FORGED)
        assert f"x-seen: {seen}".encode() in [line.lower() for line in head]


def health(folder: Path, port: int, version: str, kind: str) -> str:
    """Return what a relay's checks find of an upstream on a port, once they know."""
    pool = (
        f"proxy_protocol = {version}\n"
        f"health_check = {kind} interval=50ms timeout=10s rise=1 fall=1\n{ADMIN}"
    )
    with started_relay(ini(f"ws://127.0.0.1:{port}", "", pool), folder) as relay:
        admin = Admin.of(relay)

        def known() -> str | None:
            (upstream,) = admin.upstreams("main").values()
            return upstream["health"] if upstream["health"] != "unknown" else None

        return str(wait_until(known, "a check"))


@pytest.mark.parametrize(("version", "found"), [("v1", "up"), ("v2", "up"), ("off", "down")])
def test_haproxy_takes_health_checks(folder: Path, version: str, found: str) -> None:
    front = "http-request return status 204"
    port = free_port()
    with haproxy(folder, port, "127.0.0.1:1", mode="http", bind="accept-proxy", front=front):
        assert health(folder, port, version, "http status=204") == found


@pytest.mark.parametrize(("version", "found"), [("v1", "up"), ("v2", "up"), ("off", "down")])
def test_nginx_takes_health_checks(folder: Path, version: str, found: str) -> None:
    port = free_port()
    server = f"listen 127.0.0.1:{port} proxy_protocol; location = /ok {{ return 204; }}"
    with proxying(folder, port, server, "http://127.0.0.1:1"):
        assert health(folder, port, version, "http path=/ok status=204") == found


NGINX_FIELDS = (
    "proxy_set_header X-Seen $remote_addr:$remote_port-$proxy_protocol_server_addr"
    ":$proxy_protocol_server_port;"
)


@versions
@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
def test_nginx_accepts_what_the_relay_sends(
    folder: Path, upstream: RawUpstream, pair: KeyPair, version: str, secure: bool
) -> None:
    port = free_port()
    more = f"ssl_certificate {pair.certificate}; ssl_certificate_key {pair.key};"
    server = (
        f"listen 127.0.0.1:{port} {'ssl ' * secure}proxy_protocol;"
        "set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol;"
    ) + more * secure
    pool = f"proxy_protocol = {version}\ntls_ca = {folder / 'authority.pem'}"
    url = f"{'wss' if secure else 'ws'}://127.0.0.1:{port}"
    with (
        proxying(folder, port, server, upstream.url.replace("ws:", "http:"), NGINX_FIELDS),
        started_relay(ini(url, "", pool), folder) as relay,
    ):
        sock = socket.create_connection((PROXY, relay.ports["main"]), 20, (CLIENT, 0))
        seen = f"{CLIENT}:{sock.getsockname()[1]}-{PROXY}:{relay.ports['main']}"
        head = converse(Wire(sock), upstream, *FORGED)
        assert f"X-Seen: {seen}".encode() in head
        assert b"X-Real-IP: 127.0.0.2" in head
