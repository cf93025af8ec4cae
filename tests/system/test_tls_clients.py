"""Certificates of clients: who is let in, and what the upstream is told of whom."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from cryptography import x509
from cryptography.x509 import NameAttribute, NameOID

from tests.peers.certificates import DAY, Authority, KeyPair
from tests.support import RelayProcess, require, started_relay
from tests.system.secure import connect_tls
from tests.system.site import ini_with
from tests.system.support import (
    LOCAL,
    TEXT,
    RawUpstream,
    Stage,
    Wire,
    check_log_is_calm,
    end_normally,
    frame,
    handshake,
    masked,
    read_data,
    switching,
    wait_until,
)
from wsrelay.relay.pumps import why_not_native

pytestmark = pytest.mark.usefixtures("room_in_log")

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
ODD = x509.Name(
    [
        NameAttribute(NameOID.ORGANIZATION_NAME, "Müller, Söhne\r\nX-Admin: yes"),
        NameAttribute(NameOID.COMMON_NAME, "Jörg"),
    ]
)

versions = pytest.mark.parametrize("version", [TLS12, TLS13])


@frozen
class Papers:
    ca: Path
    relay: KeyPair
    good: KeyPair
    odd: KeyPair
    stranger: KeyPair
    expired: KeyPair


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("relay")


@pytest.fixture(scope="module")
def papers(folder: Path) -> Papers:
    authority, other = Authority(folder), Authority(folder, "other")
    authority.issue_for("relay.test", stem="relay")
    return Papers(
        authority.certificate(),
        KeyPair(folder / "relay.pem", folder / "relay.key"),
        authority.issue("client.test"),
        authority.issue_to(ODD, stem="odd"),
        other.issue("client.test"),
        authority.issue_for("client.test", stem="expired", until=-DAY),
    )


PAIR = "certificate = relay.pem\nkey = relay.key"
ASKS = {
    "required": "client_ca = authority.pem\nclient_certificate = required",
    "optional": "client_ca = authority.pem\nclient_certificate = optional",
    "off": "",
    "proxy": "trusted_proxies = 127.0.0.1",
    "asking-proxy": "client_ca = authority.pem\nclient_certificate = optional\n"
    "trusted_proxies = 127.0.0.1",
}


@pytest.fixture(scope="module", params=["native", "python"])
def relay(
    request: pytest.FixtureRequest, upstream: RawUpstream, papers: Papers, folder: Path
) -> Iterator[RelayProcess]:
    require(request.param == "python" or not why_not_native(), "the native pump was not built")
    listeners = [
        f"[listener:{name}]\nendpoint = {LOCAL}\n{PAIR}\n{asks}" for name, asks in ASKS.items()
    ]
    more = ("[log]\nformat = json", f"[relay]\ndata_path = {request.param}")
    with started_relay(ini_with(upstream.url, *more, main="\n".join(listeners)), folder) as process:
        yield process


def context_of(
    papers: Papers, pair: KeyPair | None, version: ssl.TLSVersion = TLS13
) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(papers.ca))
    context.minimum_version = context.maximum_version = version
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


def come(
    stage: Stage, context: ssl.SSLContext, listener: str, ticket: ssl.SSLSession | None = None
) -> Wire:
    """
    Connect, and ask; with TLS 1.3 a client hears only then of its refusal.

    :param ticket: for the session that is to be resumed.
    """
    sock = socket.create_connection(("127.0.0.1", stage.relay.ports[listener]), 20)
    try:
        wire = Wire(context.wrap_socket(sock, server_hostname="relay.test", session=ticket))
    except BaseException:
        sock.close()
        raise
    stage.keep(wire)
    wire.send(handshake())
    return wire


def knock(*who: Any) -> None:
    """Come in vain."""
    come(*who).read(1)


def told(
    stage: Stage, client: Wire, *more: bytes, tickets: list[ssl.SSLSession] | None = None
) -> list[bytes]:
    """
    Ask, and return what the upstream is told of certificates; then have a session.

    :param tickets: gets one.
    """
    client.send(handshake(b"/", *more))
    upstream = stage.accept()
    lines = upstream.read_head().split(b"\r\n")
    assert not any(line.startswith(b"X-Admin") for line in lines)
    upstream.send(switching() + frame(TEXT, b"hello"))
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    assert read_data(client).payload == b"hello"
    if tickets is not None:
        tickets.append(client.sock.session)  # type: ignore[attr-defined]
    client.send(masked(TEXT, b"hello too"))
    assert read_data(upstream).payload == b"hello too"
    end_normally(client, upstream)
    return [line for line in lines if b"ssl" in line.lower()]


def success(subject: bytes = b"CN=client.test") -> list[bytes]:
    return [b"X-SSL-Client-Verify: SUCCESS", b"X-SSL-Client-S-DN: " + subject]


NONE = [b"X-SSL-Client-Verify: NONE"]


@versions
@pytest.mark.parametrize(
    ("listener", "shows", "wanted"),
    [
        ("required", "good", success()),
        ("optional", "good", success()),
        ("optional", None, NONE),
        ("off", "good", []),
        ("off", None, []),
    ],
)
def test_the_upstream_learns_who_the_client_is(
    stage: Stage,
    papers: Papers,
    version: ssl.TLSVersion,
    listener: str,
    shows: str | None,
    wanted: list[bytes],
) -> None:
    pair = getattr(papers, shows) if shows else None
    client = connect_tls(stage, context_of(papers, pair, version), listener)
    assert told(stage, client) == wanted


def test_a_name_of_any_letters_is_one_header_in_ascii(stage: Stage, papers: Papers) -> None:
    client = connect_tls(stage, context_of(papers, papers.odd), "required")
    subject = rb"CN=J\C3\B6rg,O=M\C3\BCller\, S\C3\B6hne\0D\0AX-Admin: yes"
    assert told(stage, client) == success(subject)


@versions
@pytest.mark.parametrize(
    ("listener", "shows", "why"),
    [
        ("required", None, "peer did not return a certificate"),
        ("required", "stranger", "certificate verify failed"),
        ("required", "expired", "certificate verify failed"),
        ("optional", "stranger", "certificate verify failed"),
        ("optional", "expired", "certificate verify failed"),
    ],
)
def test_whoever_may_not_come_in_is_refused_in_the_handshake(
    stage: Stage,
    papers: Papers,
    version: ssl.TLSVersion,
    listener: str,
    shows: str | None,
    why: str,
) -> None:
    start = len(stage.relay.log().splitlines())
    pair = getattr(papers, shows) if shows else None
    with pytest.raises((ssl.SSLError, ConnectionError)):
        knock(stage, context_of(papers, pair, version), listener)
    _, event = stage.relay.wait_for_event(start, event="refused", listener=listener)
    assert event["reason"] == f"TLS failed: {why}."
    assert stage.upstream.is_alone()


@pytest.mark.parametrize("listener", ["required", "optional"])
@pytest.mark.parametrize("how", ["1.3", "1.2", "1.2 without tickets"])
def test_a_resumed_session_is_still_that_client_s(
    stage: Stage, papers: Papers, listener: str, how: str
) -> None:
    context = context_of(papers, papers.good, TLS13 if how == "1.3" else TLS12)
    if "without" in how:
        context.options |= ssl.OP_NO_TICKET
    tickets: list[ssl.SSLSession] = []
    for is_resumed in (False, True, True):
        ticket = tickets[-1] if tickets else None
        sock = socket.create_connection(("127.0.0.1", stage.relay.ports[listener]), 20)
        tls = context.wrap_socket(sock, server_hostname="relay.test", session=ticket)
        assert tls.session_reused is is_resumed
        assert told(stage, stage.keep(Wire(tls)), tickets=tickets) == success()


@versions
def test_a_ticket_of_a_listener_that_asks_nobody_opens_no_other(
    stage: Stage, papers: Papers, version: ssl.TLSVersion
) -> None:
    context = context_of(papers, None, version)
    tickets: list[ssl.SSLSession] = []
    told(stage, connect_tls(stage, context, "off"), tickets=tickets)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        knock(stage, context, "required", tickets[0])
    assert stage.upstream.is_alone()


FORGED = [
    b"X-SSL-Client-Verify: SUCCESS",
    b"x-ssl-client-s-dn: CN=admin",
    b"X_SSL_Client_Verify: SUCCESS",
    b"X-SSL_Client-S_DN: CN=admin",
    b"X-Ssl-Client-S-Dn: CN=admin",
    b"Connection: X-SSL-Client-Verify, X-SSL-Client-S-DN",
]


@pytest.mark.parametrize(
    ("listener", "shows", "wanted"),
    [
        ("required", "good", success()),
        ("optional", None, NONE),
        ("off", None, []),
        ("asking-proxy", None, NONE),
        ("asking-proxy", "good", success()),
    ],
)
def test_a_client_cannot_say_itself_who_it_is(
    stage: Stage, papers: Papers, listener: str, shows: str | None, wanted: list[bytes]
) -> None:
    pair = getattr(papers, shows) if shows else None
    client = connect_tls(stage, context_of(papers, pair), listener)
    assert told(stage, client, *FORGED) == wanted


def test_a_trusted_proxy_may_where_the_relay_does_not_ask(stage: Stage, papers: Papers) -> None:
    client = connect_tls(stage, context_of(papers, None), "proxy")
    said = FORGED[:2]
    assert told(stage, client, *said) == said


# the authorities change


def test_who_signs_clients_is_read_again_and_old_tickets_are_void(
    upstream: RawUpstream, tmp_path: Path
) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    pair, one, two = authority.issue("relay.test"), authority.issue("one"), other.issue("two")
    for new, old in ((pair.certificate, "relay.pem"), (pair.key, "relay.key")):
        new.rename(tmp_path / old)
    (tmp_path / "clients.pem").write_bytes(authority.certificate().read_bytes())
    asks = "client_ca = clients.pem\nclient_certificate = required"
    main = f"[listener:main]\nendpoint = {LOCAL}\n{PAIR}\n{asks}"
    papers = Papers(tmp_path / "authority.pem", pair, one, one, two, one)
    with started_relay(ini_with(upstream.url, main=main), tmp_path) as relay:
        stage = Stage(relay, upstream)
        upstream.is_alone()
        context = context_of(papers, one)
        tickets: list[ssl.SSLSession] = []
        assert told(stage, connect_tls(stage, context, "main"), tickets=tickets) == success(
            b"CN=one"
        )
        client = come(stage, context, "main", tickets[0])
        assert client.sock.session_reused  # type: ignore[attr-defined]
        far = stage.accept()
        far.read_head()
        far.send(switching())
        assert client.read_head().startswith(b"HTTP/1.1 101 ")
        (tmp_path / "clients.pem").write_bytes(other.certificate().read_bytes())
        line = relay.hang_up("reload: listener main: ")
        assert line.endswith("client_ca renewed")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            knock(stage, context, "main", tickets[0])
        assert told(stage, connect_tls(stage, context_of(papers, two), "main")) == success(
            b"CN=two"
        )
        wait_until(lambda: "certificate verify failed" in relay.log(), "the refusal")
        end_normally(client, far)
        stage.close()
    check_log_is_calm(relay.log())
