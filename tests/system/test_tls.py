"""TLS on listeners and towards upstreams."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from tests.peers.certificates import Authority, KeyPair, names_of
from tests.support import RelayProcess, event_in, started_relay
from tests.system.secure import accept_tls, connect_tls
from tests.system.support import (
    BINARY,
    CLOSE,
    LOCAL,
    MASK,
    TEXT,
    RawUpstream,
    Stage,
    Wire,
    check_own_answer,
    close_payload,
    end_normally,
    fd_count,
    frame,
    frame_head,
    handshake,
    masked,
    read_answer,
    read_data,
    switching,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("room_in_log")


@frozen
class Papers:
    """The certificates of this module."""

    ca: Path
    relay: KeyPair
    local: KeyPair  # for 127.0.0.1
    named: KeyPair  # for upstream.test
    client: KeyPair
    stranger: KeyPair  # for 127.0.0.1 too, of an authority that nobody trusts
    nameless: KeyPair  # without any subjectAltName
    unreadable: KeyPair  # for upstream.test, and for a name that is none


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("relay")


@pytest.fixture(scope="module")
def papers(folder: Path) -> Papers:
    authority, other = Authority(folder), Authority(folder, "other")
    return Papers(
        authority.certificate(),
        authority.issue("relay.test"),
        authority.issue("127.0.0.1"),
        authority.issue("upstream.test"),
        authority.issue("client.test"),
        other.issue("127.0.0.1"),
        authority.issue_with("nameless.test"),
        authority.issue_with("unreadable.test", names_of(b"upstream.test", b"*")),
    )


@pytest.fixture(scope="module")
def relay(upstream: RawUpstream, papers: Papers, folder: Path) -> Iterator[RelayProcess]:
    pair = f"certificate = {papers.relay.certificate}\nkey = {papers.relay.key}"
    wss = upstream.url.replace("ws:", "wss:")
    pools = {
        "plain": (upstream.url,),
        "verified": (wss, f"tls_ca = {papers.ca}"),
        "system": (wss,),
        "noverify": (wss, "tls_verify = no"),
        "named": (wss, f"tls_ca = {papers.ca}", "tls_name = upstream.test"),
        "nameless": (wss, f"tls_ca = {papers.ca}", "tls_name = nameless.test"),
        "wrongname": (wss, f"tls_ca = {papers.ca}", "tls_name = other.test"),
        "shown": (
            wss,
            f"tls_ca = {papers.ca}",
            f"tls_certificate = {papers.client.certificate}",
            f"tls_key = {papers.client.key}",
        ),
    }
    rows = [
        f"[listener:clear]\nendpoint = {LOCAL}",
        f"[listener:tls]\nendpoint = {LOCAL}\n{pair}\nhandshake_timeout = 1s",
        f"[listener:tls13]\nendpoint = {LOCAL}\n{pair}\nmin_tls = 1.3",
        "[log]\nformat = json",
    ]
    for name, (url, *options) in pools.items():
        path = "/" if name == "plain" else f"/{name}"
        text = "\n".join(options)
        rows.append(
            f"[route:{name}]\npath = {path}\npool = {name}\nhttp = no\nclose_timeout = 1s\n"
            f"upstream_handshake_timeout = 1s\n"
            f"[pool:{name}]\nupstreams = {url}\nmax_fails = 0\n{text}"
        )
    with started_relay("\n".join(rows), folder) as process:
        yield process


def trusting(papers: Papers) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(papers.ca))


def tls_session(stage: Stage, papers: Papers) -> tuple[Wire, Wire]:
    client = connect_tls(stage, trusting(papers))
    client.send(handshake())
    upstream = stage.accept()
    upstream.read_head()
    upstream.send(switching())
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    return client, upstream


def test_a_wss_client_has_a_whole_session(stage: Stage, papers: Papers) -> None:
    client = connect_tls(stage, trusting(papers))
    client.send(handshake())
    upstream = stage.accept()
    head = upstream.read_head()
    assert b"\r\nX-Forwarded-Proto: https\r\n" in head
    assert b"\r\nX-Forwarded-Port: %d\r\n" % stage.relay.ports["tls"] in head
    upstream.send(switching() + frame(TEXT, b"early"))
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    assert read_data(client).payload == b"early"
    big = b"b" * 1_000_000
    client.send(masked(BINARY, big))
    assert read_data(upstream).payload == big
    upstream.send(frame(BINARY, big))
    assert read_data(client).payload == big
    end_normally(client, upstream)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_ticket_of_one_session_opens_the_next(
    stage: Stage, papers: Papers, version: ssl.TLSVersion
) -> None:
    context = trusting(papers)
    context.minimum_version = context.maximum_version = version
    ticket = None
    for is_resumed in (False, True, True):
        sock = socket.create_connection(("127.0.0.1", stage.relay.ports["tls"]), 20)
        tls = context.wrap_socket(sock, server_hostname="relay.test", session=ticket)
        assert tls.session_reused is is_resumed
        client = stage.keep(Wire(tls))
        client.send(handshake())
        upstream = stage.accept()
        upstream.read_head()
        upstream.send(switching())
        assert client.read_head().startswith(b"HTTP/1.1 101 ")
        client.send(masked(TEXT, b"again"))
        assert read_data(upstream).payload == b"again"
        upstream.send(frame(TEXT, b"well"))
        assert read_data(client).payload == b"well"
        ticket = tls.session
        end_normally(client, upstream)


def test_alpn_says_http_1_1(stage: Stage, papers: Papers) -> None:
    context = trusting(papers)
    context.set_alpn_protocols(["h2", "http/1.1"])
    client = connect_tls(stage, context)
    assert client.sock.selected_alpn_protocol() == "http/1.1"  # type: ignore[attr-defined]


def test_tls_1_2_is_accepted_by_default_and_refused_by_min_tls(
    stage: Stage, papers: Papers
) -> None:
    context = trusting(papers)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    client = connect_tls(stage, context)
    assert client.sock.version() == "TLSv1.2"  # type: ignore[attr-defined]
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        connect_tls(stage, context, "tls13")
    client = connect_tls(stage, trusting(papers), "tls13")
    assert client.sock.version() == "TLSv1.3"  # type: ignore[attr-defined]


PLAIN = [
    handshake(),
    b"GET / HTTP/1.1\r\nHost: r.test\r\n\r\n",
    b"HEAD / HTTP/1.0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: r.test\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: r.test\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


@pytest.mark.parametrize("request_", PLAIN, ids=lambda data: data.split()[0].decode())
def test_a_plain_request_on_the_tls_port_is_told_so(stage: Stage, request_: bytes) -> None:
    client = stage.connect("tls")
    name = client_name(client)
    client.send(request_)
    client.shut()
    answer = read_answer(client)
    check_own_answer(answer, 400)
    assert b"speaks TLS" in answer.body
    assert b"https:// or wss://" in answer.body
    fence(stage)
    events = [event_in(line) for line in stage.relay.log().splitlines()]
    [event] = [each for each in events if each.get("client") == name]
    assert (event["event"], event["listener"], event["status"]) == ("refused", "tls", 400)
    assert event["reason"] == "plain request on a TLS listener"
    assert stage.upstream.is_alone()


def fence(stage: Stage) -> None:
    """Have another client refused, so that whatever is logged late of the last one is there."""
    client = stage.connect("tls13")
    client.send(b"\0" * 20)
    client.wait_until_gone()
    stage.relay.wait_for_event(event="refused", client=client_name(client))


def client_name(client: Wire) -> str:
    host, port = client.sock.getsockname()
    return f"{host}:{port}"


def test_a_plain_request_that_comes_byte_by_byte_is_told_so(stage: Stage) -> None:
    client = stage.connect("tls")
    client.send_slowly(b"OPTIONS ")
    check_own_answer(read_answer(client), 400)


@pytest.mark.peers
def test_a_plain_client_that_never_ends_its_half_is_ended(stage: Stage) -> None:
    before = fd_count(stage.relay.pid)
    client = stage.connect("tls")
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    check_own_answer(read_answer(client), 400)
    with contextlib.suppress(OSError):  # until it is not taken any more
        while True:
            client.send(b"x" * 65536)
    wait_until(lambda: fd_count(stage.relay.pid) <= before, "the end of the connection")


GARBAGE = [b"\0" * 100, b"get / http/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"X" * 100, bytes(range(200))]


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_on_the_tls_port_is_ended_without_words(stage: Stage, data: bytes) -> None:
    client = stage.connect("tls")
    client.send(data)
    assert b"HTTP" not in client.read_what_comes()
    _, event = stage.relay.wait_for_event(event="refused", client=client_name(client))
    assert event["reason"].startswith("TLS failed: ")


@pytest.mark.peers
def test_half_a_method_on_the_tls_port_ends_after_the_handshake_timeout(stage: Stage) -> None:
    client = stage.connect("tls")
    client.send(b"GET")
    assert client.read_what_comes() == b""
    stage.relay.wait_for_event(event="refused", status=408, client=client_name(client))


def test_whoever_leaves_the_tls_port_in_the_midst_of_a_method_is_forgotten(stage: Stage) -> None:
    before = fd_count(stage.relay.pid)
    for data in (b"", b"GE", b"\x16\x03"):
        client = stage.connect("tls")
        client.send(data)
        client.close()
    wait_until(lambda: fd_count(stage.relay.pid) <= before, "the end of all")


def test_a_tls_hello_on_the_plain_port_gets_an_end_and_a_record(stage: Stage) -> None:
    client = stage.connect("clear")
    client.send(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n")
    assert client.read_to_end() == b""
    _, event = stage.relay.wait_for_event(event="refused", listener="clear", status=400)
    assert "This is TLS" in event["reason"]
    assert stage.upstream.is_alone()


def test_a_failed_tls_handshake_is_in_the_access_log(stage: Stage) -> None:
    client = stage.connect("tls")
    client.send(b"\x16\x04" + b"x" * 100)
    client.read_what_comes()
    _, event = stage.relay.wait_for_event(event="refused", client=client_name(client))
    assert event["status"] == 400
    assert event["listener"] == "tls"
    assert event["reason"].startswith("TLS failed: ")


@pytest.mark.peers
def test_a_tls_handshake_that_stalls_ends_after_the_handshake_timeout(stage: Stage) -> None:
    client = stage.connect("tls")
    client.send(b"\x16\x03\x01\x02\x00\x01\x00")
    client.wait_until_gone()


def test_refusals_arrive_whole_through_tls(stage: Stage, papers: Papers) -> None:
    client = connect_tls(stage, trusting(papers))
    client.send(handshake().replace(b"Host", b"H ost") + handshake())
    check_own_answer(read_answer(client), 400)
    client = connect_tls(stage, trusting(papers))
    client.send(handshake())
    upstream = stage.accept()
    upstream.read_head()
    body = b"x" * 500_000
    upstream.send(b"HTTP/1.1 403 No\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    answer = read_answer(client)
    assert answer.status == 403
    assert answer.body == body


@pytest.mark.parametrize("how", ["reset", "close", "notify"])
def test_a_wss_client_that_vanishes_is_1001(stage: Stage, papers: Papers, how: str) -> None:
    client, upstream = tls_session(stage, papers)
    if how == "reset":
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif how == "notify":
        client.sock.settimeout(0)
        with contextlib.suppress(OSError):  # the answer is not waited for
            client.sock.unwrap()  # type: ignore[attr-defined]
    client.close()
    assert read_data(upstream).close_code == 1001


def test_a_lost_upstream_is_1011_through_tls(stage: Stage, papers: Papers) -> None:
    client, upstream = tls_session(stage, papers)
    upstream.close()
    assert read_data(client).close_code == 1011
    client.send(masked(CLOSE, close_payload(1011)))
    assert client.read_to_end() == b""


def test_a_wss_client_that_reads_nothing_stalls_its_upstream_and_resumes(
    stage: Stage, papers: Papers
) -> None:
    client, upstream = tls_session(stage, papers)
    upstream.sock.settimeout(1)
    sent, chunk = 0, frame(BINARY, b"z" * 10_000)
    with contextlib.suppress(TimeoutError):
        while sent < 1 << 30:
            sent += upstream.sock.send(chunk[sent % len(chunk) :])
    assert sent < 48 * 1024 * 1024
    received = client.read(sent)
    assert received == (chunk * (sent // len(chunk) + 1))[:sent]


def test_a_wss_client_that_says_goodbye_to_tls_with_all_unread_is_gone_when_it_reads(
    stage: Stage, papers: Papers
) -> None:
    before = fd_count(stage.relay.pid)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.connect(("127.0.0.1", stage.relay.ports["tls"]))
    wire = stage.keep(Wire(sock))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting(papers).wrap_bio(incoming, outgoing, server_hostname="relay.test")
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            sock.sendall(outgoing.read())
            incoming.write(sock.recv(65536))
    tls.write(handshake())
    sock.sendall(outgoing.read())
    upstream = stage.accept()
    upstream.read_head()
    upstream.send(switching())
    upstream.sock.settimeout(1)
    chunk = frame(BINARY, b"z" * 16_000)
    with contextlib.suppress(TimeoutError):
        while True:
            upstream.sock.sendall(chunk)
    with contextlib.suppress(ssl.SSLError):
        tls.unwrap()
    sock.sendall(outgoing.read())
    while wire.sock.recv(65536):
        pass
    upstream.close()
    wire.close()
    wait_until(lambda: fd_count(stage.relay.pid) <= before, "the end of both connections")


# towards the upstream


@pytest.mark.parametrize(
    ("path", "paper"),
    [
        (b"/verified", "local"),
        (b"/named", "named"),
        (b"/noverify", "stranger"),
        (b"/noverify", "named"),
    ],
)
def test_a_wss_upstream_with_the_right_certificate_has_a_session(
    stage: Stage, papers: Papers, path: bytes, paper: str
) -> None:
    client = stage.ask(path)
    upstream = accept_tls(stage, getattr(papers, paper))
    assert upstream.sock.selected_alpn_protocol() == "http/1.1"  # type: ignore[attr-defined]
    assert upstream.read_head().startswith(b"GET %b HTTP/1.1\r\n" % path)
    upstream.send(switching() + frame(TEXT, b"early"))
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    assert read_data(client).payload == b"early"
    client.send(masked(BINARY, b"b" * 1_000_000))
    assert read_data(upstream).payload == b"b" * 1_000_000
    end_normally(client, upstream)


def test_tls_name_is_what_the_upstream_is_asked_for(stage: Stage, papers: Papers) -> None:
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(papers.named.certificate, papers.named.key)
    context.sni_callback = lambda _, name, __: asked.append(name)
    client = stage.ask(b"/named")
    plain = stage.accept()
    upstream = stage.keep(Wire(context.wrap_socket(plain.sock, server_side=True)))
    upstream.read_head()
    assert asked == ["upstream.test"]
    client.close()


OTHER = "its certificate is for another host; tls_name says which to expect"
FOREIGN = "its certificate is not signed by an authority of tls_ca, or not valid now"
NAMELESS = "its certificate names no host: it needs a subjectAltName"
UNREADABLE = "its certificate is not understood: "
WRONG = [
    (b"/verified", "named", OTHER),
    (b"/verified", "stranger", FOREIGN),
    (b"/named", "local", OTHER),
    (b"/wrongname", "named", OTHER),
    (b"/system", "local", FOREIGN),
    (b"/verified", "nameless", NAMELESS),
    (b"/nameless", "nameless", NAMELESS),  # a common name does not count
    (b"/verified", "unreadable", UNREADABLE),
    (b"/named", "unreadable", UNREADABLE),
]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(("path", "paper", "why"), WRONG)
def test_a_wss_upstream_with_the_wrong_certificate_is_502_and_hears_nothing(
    stage: Stage, papers: Papers, path: bytes, paper: str, why: str, version: ssl.TLSVersion
) -> None:
    start = len(stage.relay.log().splitlines())
    client = stage.ask(path, b"Cookie: secret")
    heard = b""
    with contextlib.suppress(ssl.SSLError, ConnectionError):  # the relay ends the handshake
        upstream = accept_tls(stage, getattr(papers, paper), version=version)
        heard = upstream.read_what_comes()
    check_own_answer(read_answer(client), 502)
    assert heard == b""
    _, event = stage.relay.wait_for_event(start, event="refused", status=502)
    assert event["reason"].startswith(f"connection lost before the answer: {why}")
    told = f"upstream {path.decode()[1:]}/{stage.upstream.url[5:]} {event['reason']}"
    assert told in stage.relay.log()


def test_a_wss_upstream_that_speaks_plain_is_502(stage: Stage) -> None:
    client = stage.ask(b"/verified")
    upstream = stage.accept()
    upstream.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    check_own_answer(read_answer(client), 502)


def test_a_wss_upstream_that_never_shakes_hands_is_504(stage: Stage) -> None:
    client = stage.ask(b"/verified")
    upstream = stage.accept()
    check_own_answer(read_answer(client), 504)
    upstream.wait_until_gone()


def test_the_relay_shows_its_certificate_to_an_upstream_that_asks(
    stage: Stage, papers: Papers
) -> None:
    client = stage.ask(b"/shown")
    upstream = accept_tls(stage, papers.local, client_ca=papers.ca)
    shown = upstream.sock.getpeercert()  # type: ignore[attr-defined]
    assert ("DNS", "client.test") in shown["subjectAltName"]
    upstream.read_head()
    upstream.send(switching())
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    end_normally(client, upstream)


def test_without_a_certificate_an_upstream_that_asks_for_one_is_502(
    stage: Stage, papers: Papers
) -> None:
    client = stage.ask(b"/verified")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        accept_tls(stage, papers.local, client_ca=papers.ca)
    stage._open[-1].close()
    check_own_answer(read_answer(client), 502)


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_wss_upstream_that_vanishes_is_1011(stage: Stage, papers: Papers, how: str) -> None:
    client = stage.ask(b"/verified")
    upstream = accept_tls(stage, papers.local)
    upstream.read_head()
    upstream.send(switching() + frame_head(0x80 | BINARY, 10_000) + b"cut")
    client.read_head()
    if how == "reset":
        upstream.reset()
    else:
        upstream.close()
    assert read_data(client).close_code == 1011


def test_a_body_until_eof_without_close_notify_never_looks_whole(
    stage: Stage, papers: Papers
) -> None:
    client = stage.ask(b"/verified")
    upstream = accept_tls(stage, papers.local)
    upstream.read_head()
    upstream.send(b"HTTP/1.1 403 No\r\n\r\npartial")
    client.read_head()
    assert client.read(7) == b"partial"
    upstream.close()  # TCP ends, TLS does not
    with pytest.raises(ConnectionResetError):
        client.read_to_end()
    stage.works()  # meanwhile a failure shows in the relay's log


def test_no_descriptor_is_left_after_thirty_tls_clients_of_every_kind(
    stage: Stage, papers: Papers
) -> None:
    baseline = fd_count(stage.relay.pid)
    for _ in range(10):
        client, upstream = tls_session(stage, papers)
        end_normally(client, upstream)
        connect_tls(stage, trusting(papers)).close()
        client, upstream = tls_session(stage, papers)
        client.send(masked(TEXT | 0x10, MASK))
        client.close()
        upstream.close()
    wait_until(lambda: fd_count(stage.relay.pid) <= baseline, "the end of all connections")
    stage.works()
