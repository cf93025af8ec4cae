"""A relay with TLS at the edge, another one behind it: what the upstream hears of the client."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from attrs import frozen

from tests.peers.certificates import Authority
from tests.support import RelayProcess, free_port, started_relay
from tests.system.support import LOCAL, RawUpstream, Wire, converse, handshake

CLIENT, EDGE = "127.0.0.2", "127.0.0.1"
"""Where the client and the relay at the edge connect from; the relay behind trusts the latter."""

FORGED = (
    b"X-Forwarded-For: 10.66.66.66",
    b"X-Forwarded-For: 127.0.0.1",
    b"X_Forwarded_For: 10.66.66.66",
    b"x-real-ip: 10.66.66.66",
    b"X-Forwarded-Proto: gopher",
    b"X-Forwarded-Host: evil.test",
    b"X-Forwarded-Port: 66",
    b"Forwarded: for=10.66.66.66;proto=gopher",
)

WAYS = {
    # how the second relay listens, how the first one's pool goes there
    "headers": (LOCAL, "trusted_proxies = 127.0.0.1", ""),
    "v1": (LOCAL, "trusted_proxies = 127.0.0.1\nproxy_protocol = yes", "proxy_protocol = v1"),
    "v2": (LOCAL, "trusted_proxies = 127.0.0.1\nproxy_protocol = yes", "proxy_protocol = v2"),
    "unix": ("unix:unix.sock", "trusted_proxies = unix:", ""),
    "unix-v2": (
        "unix:unix-v2.sock",
        "trusted_proxies = unix:\nproxy_protocol = yes",
        "proxy_protocol = v2",
    ),
}


@frozen
class Row:
    """Both relays, and who signed the first one's certificate."""

    edge: RelayProcess
    behind: RelayProcess
    ca: Path

    def connect(self, source: str = CLIENT) -> Wire:
        """Connect to the edge by TLS."""
        sock = socket.create_connection((EDGE, self.edge.ports["tls"]), 20, (source, 0))
        context = ssl.create_default_context(cafile=self.ca)
        return Wire(context.wrap_socket(sock, server_hostname="relay.test"))


@pytest.fixture(scope="module")
def row(upstream: RawUpstream) -> Iterator[Row]:
    with TemporaryDirectory() as name:
        folders = Path(name, "a"), Path(name, "b")
        for folder in folders:
            folder.mkdir()
        authority = Authority(folders[0])
        pair = authority.issue("relay.test")
        inner = [f"[route:main]\npool = main\n[pool:main]\nupstreams = {upstream.url}"]
        inner += [
            f"[listener:{way}]\nendpoint = {endpoint}\n{listener}"
            for way, (endpoint, listener, _) in WAYS.items()
        ]
        inner.append("[log]\nformat = json")
        with started_relay("\n".join(inner), folders[1]) as behind:
            outer = [f"[listener:tls]\nendpoint = {LOCAL}"]
            outer.append(f"certificate = {pair.certificate}\nkey = {pair.key}")
            for way, (endpoint, _, pool) in WAYS.items():
                url = f"unix:{folders[1]}/{way}.sock"
                if not endpoint.startswith("unix"):
                    url = behind.url_of(way)
                outer.append(f"[route:{way}]\npath = /{way}/\nstrip_prefix = yes\npool = {way}")
                outer.append(f"[pool:{way}]\nupstreams = {url}\nmax_fails = 0\n{pool}")
            with started_relay("\n".join(outer), folders[0]) as edge:
                yield Row(edge, behind, authority.certificate())


def ask(client: Wire, upstream: RawUpstream, way: str, *more: bytes) -> dict[bytes, list[bytes]]:
    """Have a session, and return the fields that the upstream got, by name in lower case."""
    fields: dict[bytes, list[bytes]] = {}
    for line in converse(client, upstream, *more, path=f"/{way}/".encode())[1:]:
        name, _, value = line.partition(b": ")
        fields.setdefault(name.lower(), []).append(value)
    return fields


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("forged", [(), FORGED], ids=["honest", "forged"])
def test_the_upstream_hears_of_the_client_and_of_the_edge(
    way: str, forged: tuple[bytes, ...], row: Row, upstream: RawUpstream
) -> None:
    start = len(row.behind.log().splitlines())
    fields = ask(row.connect(), upstream, way, *forged)
    # A PROXY header makes the first relay invisible; a unix socket has no address.
    chain = b"127.0.0.2, 127.0.0.1" if way == "headers" else b"127.0.0.2"
    assert fields[b"x-forwarded-for"] == [chain]
    assert fields[b"x-real-ip"] == [b"127.0.0.2"]
    # PROXY v1 has no words for TLS.
    assert fields[b"x-forwarded-proto"] == [b"http" if way == "v1" else b"https"]
    assert fields[b"x-forwarded-host"] == fields[b"host"] == [b"r.test"]
    assert fields[b"x-forwarded-port"] == [b"%d" % row.edge.ports["tls"]]
    assert len(fields[b"x-request-id"]) == 1
    assert b"x_forwarded_for" not in fields
    everything = b" ".join(value for values in fields.values() for value in values)
    assert not re.search(rb"66\.66|gopher|evil", everything)
    _, event = row.behind.wait_for_event(start, event="end", listener=way)
    assert str(event["client"]).startswith("127.0.0.2")


def test_a_client_at_the_address_of_the_edge_is_still_no_proxy_to_the_edge(
    row: Row, upstream: RawUpstream
) -> None:
    fields = ask(row.connect(EDGE), upstream, "headers", *FORGED)
    assert fields[b"x-forwarded-for"] == [b"127.0.0.1, 127.0.0.1"]
    assert fields[b"x-real-ip"] == [b"127.0.0.1"]
    assert fields[b"x-forwarded-proto"] == [b"https"]


@pytest.mark.parametrize("way", ["headers", "v1", "v2"])
def test_who_goes_around_the_edge_is_believed_nothing(
    way: str, row: Row, upstream: RawUpstream
) -> None:
    port = row.behind.ports[way]
    client = Wire(socket.create_connection((EDGE, port), 20, (CLIENT, 0)))
    if way != "headers":
        client.send(b"PROXY TCP4 10.66.66.66 10.66.66.66 66 66\r\n")
        assert client.read_what_comes() == b""
        client.close()
        return
    fields = ask(client, upstream, way, *FORGED)
    assert fields[b"x-forwarded-for"] == [b"127.0.0.2"]
    assert fields[b"x-real-ip"] == [b"127.0.0.2"]
    assert fields[b"x-forwarded-proto"] == [b"http"]
    assert fields[b"x-forwarded-port"] == [b"%d" % port]


def test_a_hash_of_addresses_behind_the_edge_knows_clients_apart(
    tmp_path: Path,
) -> None:
    """Were all clients the edge, they would all go to one upstream."""
    urls = [f"    ws://127.0.0.1:{free_port()} name=u{number}" for number in range(8)]
    text = "\n".join(
        [
            f"[listener:main]\nendpoint = {LOCAL}",
            "proxy_protocol = yes\ntrusted_proxies = 127.0.0.1",
            "[route:main]\npool = main\nretries = 0",
            "[pool:main]\nbalancer = hash key=ip\nmax_fails = 0\nupstreams =",
            *urls,
            "[log]\nformat = json",
        ]
    )
    with started_relay(text, tmp_path) as relay:
        for number in range(10):  # as many as get a line each
            client = Wire(socket.create_connection((EDGE, relay.ports["main"]), 20))
            client.send(b"PROXY TCP4 192.0.2.%d 10.0.0.1 1 2\r\n" % number)
            client.send(handshake())
            assert client.read_what_comes().startswith(b"HTTP/1.1 502 ")
            client.close()
        chosen = set()
        start = 0
        for _ in range(10):
            index, event = relay.wait_for_event(start, event="refused")
            start = index + 1
            chosen.add(event["upstream"])
        assert len(chosen) > 2
