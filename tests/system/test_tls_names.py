"""TLS as it is deployed: certificates by name, renewals, sessions that are resumed, old clients."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field, frozen
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.peers.certificates import DAY, Authority, KeyPair
from tests.support import RelayProcess, require, started_relay
from tests.system.secure import connect_tls
from tests.system.site import ini_with
from tests.system.support import (
    BINARY,
    LOCAL,
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
)
from tests.system.test_tls_peers import Shell
from wsrelay.relay.pumps import why_not_native

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def put(folder: Path, pair: KeyPair, name: str) -> None:
    """Put a certificate and its key into one file, at once, as whoever renews them does."""
    new = folder / f".{name}"
    new.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    new.rename(folder / name)


@frozen
class Papers:
    """An authority, and the directory that the relay reads."""

    authority: Authority
    ca: Path
    certs: Path

    def issue(self, *names: str, stem: str, **how: Any) -> None:
        """Put a new certificate for these names into a file of the directory."""
        pair = self.authority.issue_for(*names, stem=f"issued-{stem}", **how)
        put(self.certs, pair, f"{stem}.pem")

    def context(self, *versions: ssl.TLSVersion) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca))
        if versions:
            context.minimum_version = context.maximum_version = versions[0]
        return context


def papers_in(folder: Path) -> Papers:
    certs = folder / "certs"
    certs.mkdir()
    authority = Authority(folder)
    return Papers(authority, authority.certificate(), certs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("relay")


@pytest.fixture(scope="module")
def papers(folder: Path) -> Papers:
    made = papers_in(folder)
    made.issue("a.test", stem="a")
    made.issue("*.a.test", "b.test", stem="b")
    made.issue("d.test", stem="default")
    key = rsa.generate_private_key(65537, 2048)
    made.issue("rsa.test", stem="rsa", key=key)
    return made


@pytest.fixture(scope="module", params=["native", "python"])
def relay(
    request: pytest.FixtureRequest, upstream: RawUpstream, papers: Papers, folder: Path
) -> Iterator[RelayProcess]:
    require(request.param == "python" or not why_not_native(), "the native pump was not built")
    tls = f"[listener:tls]\nendpoint = {LOCAL}\ncertificates = certs"
    more = ("[log]\nformat = json", f"[relay]\ndata_path = {request.param}")
    with started_relay(ini_with(upstream.url, *more, main=tls), folder) as process:
        yield process


def shown(stage: Stage, papers: Papers, name: str | None) -> list[str]:
    """Return the names in the certificate that whoever asks for *name* is shown."""
    context = papers.context()
    context.check_hostname = False
    port = stage.relay.ports["tls"]
    with (
        socket.create_connection(("127.0.0.1", port), 20) as sock,
        context.wrap_socket(sock, server_hostname=name) as tls,
    ):
        found: Any = tls.getpeercert()
    return [value for _, value in found["subjectAltName"]]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("a.test", ["a.test"]),
        ("A.Test", ["a.test"]),
        ("x.a.test", ["*.a.test", "b.test"]),
        ("b.test", ["*.a.test", "b.test"]),
        ("rsa.test", ["rsa.test"]),
        ("y.x.a.test", ["d.test"]),
        ("unknown.test", ["d.test"]),
        (None, ["d.test"]),
    ],
)
def test_a_client_is_shown_the_certificate_of_the_host_it_asks_for(
    stage: Stage, papers: Papers, name: str | None, wanted: list[str]
) -> None:
    assert shown(stage, papers, name) == wanted


def talks(client: Wire, upstream: Wire) -> None:
    """Check that frames pass, some of them long."""
    for size in (2, 100_000):
        client.send(masked(BINARY, b"u" * size))
        assert read_data(upstream).payload == b"u" * size
        upstream.send(frame(BINARY, b"d" * size))
        assert read_data(client).payload == b"d" * size


def begin(stage: Stage, client: Wire) -> Wire:
    """Open the session of a client that is connected; return the upstream's end."""
    client.send(handshake())
    upstream = stage.accept()
    upstream.read_head()
    upstream.send(switching())
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    return upstream


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("name", ["a.test", "x.a.test", "rsa.test", "d.test"])
def test_a_session_works_with_every_certificate(
    stage: Stage, papers: Papers, name: str, version: ssl.TLSVersion
) -> None:
    client = connect_tls(stage, papers.context(version), name=name)
    upstream = begin(stage, client)
    talks(client, upstream)
    end_normally(client, upstream)


@pytest.mark.parametrize("name", ["a.test", "x.a.test", "d.test"])
@pytest.mark.parametrize("how", ["1.3", "1.2", "1.2 without tickets"])
def test_a_session_is_resumed_with_every_certificate(
    stage: Stage, papers: Papers, name: str, how: str
) -> None:
    context = papers.context(TLS13 if how == "1.3" else TLS12)
    if "without" in how:
        context.options |= ssl.OP_NO_TICKET
    ticket = None
    for is_resumed in (False, True, True):
        sock = socket.create_connection(("127.0.0.1", stage.relay.ports["tls"]), 20)
        tls = context.wrap_socket(sock, server_hostname=name, session=ticket)
        client = stage.keep(Wire(tls))
        assert tls.session_reused is is_resumed
        upstream = begin(stage, client)
        talks(client, upstream)
        ticket = tls.session
        end_normally(client, upstream)


REFUSED = [
    ("rsa.test", "ECDHE-RSA-AES128-SHA"),
    ("rsa.test", "AES128-GCM-SHA256"),
    ("rsa.test", "AES256-SHA"),
    ("a.test", "ECDHE-ECDSA-AES256-SHA384"),
]


@pytest.mark.parametrize(("name", "cipher"), REFUSED)
def test_an_old_cipher_is_refused(stage: Stage, papers: Papers, name: str, cipher: str) -> None:
    context = papers.context(TLS12)
    context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match="handshake failure"):
        connect_tls(stage, context, name=name)


def test_a_modern_cipher_is_taken(stage: Stage, papers: Papers) -> None:
    for name, cipher in (("rsa.test", "ECDHE-RSA-AES128-GCM-SHA256"), ("a.test", CHACHA)):
        context = papers.context(TLS12)
        context.set_ciphers(cipher)
        client = connect_tls(stage, context, name=name)
        assert client.sock.cipher()[0] == cipher  # type: ignore[attr-defined]


CHACHA = "ECDHE-ECDSA-CHACHA20-POLY1305"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_1_1_is_refused(stage: Stage, papers: Papers) -> None:
    context = papers.context(ssl.TLSVersion.TLSv1_1)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match="protocol version"):
        connect_tls(stage, context, name="a.test")


@pytest.mark.peers
@pytest.mark.parametrize("when", ["before the request", "in the session"])
def test_renegotiation_is_refused(stage: Stage, papers: Papers, when: str) -> None:
    port = stage.relay.ports["tls"]
    options = ("-CAfile", papers.ca, "-servername", "a.test", "-tls1_2")
    with Shell("s_client", "-connect", f"127.0.0.1:{port}", *options) as client:
        client.hear("Secure Renegotiation IS supported")
        client.hear("---")
        if when == "in the session":
            client.say(handshake())
            upstream = stage.accept()
            upstream.read_head()
            upstream.send(switching())
            client.hear("101 Switching")
        client.say(b"R\n")
        client.hear("no renegotiation")  # which s_client takes for the end
        assert client.wait() != 0
        if when == "in the session":
            assert read_data(upstream).close_code == 1001


# a directory that changes


@define(eq=False)
class Deployed:
    """A relay of a test's own, with a websocket over TLS that must outlive every reload."""

    papers: Papers
    stage: Stage
    client: Wire = field(init=False)
    other: Wire = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.client = connect_tls(self.stage, self.papers.context(), name="a.test")
        self.other = begin(self.stage, self.client)

    def reload(self, wanted: str) -> None:
        """Send SIGHUP, wait for a line, and check that the session is there."""
        line = self.stage.relay.hang_up(wanted)
        assert line.endswith(wanted), line
        talks(self.client, self.other)

    def shown(self, name: str) -> bytes | None:
        """Return the certificate that who asks for *name* is shown, if it is for that."""
        try:
            client = connect_tls(self.stage, self.papers.context(), name=name)
        except ssl.SSLCertVerificationError:
            return None
        return client.sock.getpeercert(True)  # type: ignore[attr-defined,no-any-return]


@pytest.fixture
def deployed(upstream: RawUpstream, tmp_path: Path) -> Iterator[Deployed]:
    papers = papers_in(tmp_path)
    papers.issue("a.test", stem="a")
    papers.issue("b.test", stem="b")
    tls = f"[listener:tls]\nendpoint = {LOCAL}\ncertificates = certs"
    with started_relay(ini_with(upstream.url, main=tls), tmp_path) as relay:
        stage = Stage(relay, upstream)
        upstream.is_alone()
        given = Deployed(papers, stage)
        yield given
        talks(given.client, given.other)
        end_normally(given.client, given.other)
        stage.close()
    check_log_is_calm(relay.log())


def test_certificates_come_change_and_go_while_a_session_lives(deployed: Deployed) -> None:
    papers, line = deployed.papers, "reload: listener tls: certificates: "
    before = deployed.shown("b.test")
    assert before is not None
    deployed.reload("reload: nothing changed")
    assert deployed.shown("c.test") is None
    papers.issue("c.test", stem="c")
    assert deployed.shown("c.test") is None
    deployed.reload(f"{line}c.pem added")
    assert deployed.shown("c.test") is not None
    papers.issue("b.test", stem="b")
    assert deployed.shown("b.test") == before
    deployed.reload(f"{line}b.pem renewed")
    assert deployed.shown("b.test") not in (before, None)
    (papers.certs / "b.pem").unlink()
    (papers.certs / "a.pem").rename(papers.certs / "z.pem")
    deployed.reload(f"{line}z.pem added, a.pem removed, b.pem removed")
    assert deployed.shown("b.test") is None
    assert deployed.shown("a.test") is not None


def test_a_ticket_outlives_the_renewal_of_its_certificate(deployed: Deployed) -> None:
    tls: Any = connect_tls(deployed.stage, deployed.papers.context(TLS12), name="b.test").sock
    deployed.papers.issue("b.test", stem="b")
    deployed.reload("reload: listener tls: certificates: b.pem renewed")
    sock = socket.create_connection(("127.0.0.1", deployed.stage.relay.ports["tls"]), 20)
    with tls.context.wrap_socket(sock, server_hostname="b.test", session=tls.session) as again:
        assert again.session_reused


SPOILT = {
    "no key": (
        "b.pem holds no private key in PEM form",
        lambda data: data.partition(b"-----BEGIN P")[0],
    ),
    "nothing": ("b.pem holds no certificate in PEM form", lambda data: b""),
    "half": ("b.pem holds no", lambda data: data[: len(data) // 2]),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_bad_file_refuses_the_reload_and_the_old_certificates_stay(
    deployed: Deployed, how: str
) -> None:
    words, spoil = SPOILT[how]
    before = deployed.shown("b.test")
    path = deployed.papers.certs / "b.pem"
    good = path.read_bytes()
    path.write_bytes(spoil(good))
    deployed.papers.issue("c.test", stem="c")
    line = deployed.stage.relay.hang_up("reload refused: ")
    assert "relay.ini:3: [listener:tls] certificates: " in line
    assert words in line
    assert deployed.shown("b.test") == before
    assert deployed.shown("c.test") is None
    path.write_bytes(good)
    deployed.reload("reload: listener tls: certificates: c.pem added")
    assert deployed.shown("c.test") is not None


def test_an_operator_is_told_of_what_is_odd(deployed: Deployed) -> None:
    deployed.papers.issue("b.test", "old.test", stem="old", until=-DAY)
    deployed.reload("reload: listener tls: certificates: old.pem added")
    log = deployed.stage.relay.log()
    assert "listener tls: b.test: b.pem is used, not old.pem, which is not valid for longer" in log
    assert "listener tls: the certificate of old.pem expired on " in log
    assert deployed.shown("b.test") is not None


def test_an_empty_directory_is_an_error_at_the_start(upstream: RawUpstream, tmp_path: Path) -> None:
    papers_in(tmp_path)
    tls = f"[listener:tls]\nendpoint = {LOCAL}\ncertificates = certs"
    relay = RelayProcess(ini_with(upstream.url, main=tls), tmp_path)
    with relay:
        assert relay.wait() == 1
        assert "relay.ini:3: [listener:tls] certificates: " in relay.log()
        assert "certs holds no certificates; put *.pem files there" in relay.log()
        assert "Traceback" not in relay.log()
