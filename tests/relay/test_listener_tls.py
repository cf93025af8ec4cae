"""The TLS of a listener in memory: what it speaks, as whom, and with whom."""

from __future__ import annotations

import contextlib
import gc
import ssl
import weakref
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, frozen
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import ExtendedKeyUsage
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

from tests.peers.certificates import DAY, Authority, KeyPair
from wsrelay.config.model import ListenerConfig
from wsrelay.relay.listener_tls import ListenerTLS, listener_tls

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

versions = pytest.mark.parametrize("version", [TLS12, TLS13])


@frozen
class Papers:
    """What the tests of this module show each other."""

    folder: Path
    authority: Authority
    ca: Path
    own: KeyPair
    client: KeyPair
    stranger: KeyPair  # of an authority that nobody trusts
    rsa: KeyPair


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    folder = tmp_path_factory.mktemp("papers")
    authority, other = Authority(folder), Authority(folder, "other")
    key = rsa.generate_private_key(65537, 2048)
    return Papers(
        folder,
        authority,
        authority.certificate(),
        authority.issue("own.test"),
        authority.issue("client.test"),
        other.issue("stranger.test"),
        authority.issue_for("rsa.test", stem="rsa", key=key),
    )


def put(folder: Path, pair: KeyPair, name: str) -> None:
    (folder / name).write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())


@pytest.fixture
def certs(tmp_path: Path, papers: Papers) -> Path:
    """Give a directory with certificates for a.test, b.test, and what is below b.test."""
    for name in ("a.test", "b.test"):
        put(tmp_path, papers.authority.issue(name), f"{name[0]}.pem")
    put(tmp_path, papers.authority.issue_for("*.b.test", stem="wild"), "wild.pem")
    return tmp_path


def tls(config: ListenerConfig) -> ListenerTLS:
    made = listener_tls(config)
    assert made is not None
    return made


def listener(papers: Papers, **options: Any) -> ListenerConfig:
    return ListenerConfig("web", "tcp:1", papers.own.certificate, papers.own.key, **options)


@define
class Talk:
    """One connection, after the handshake and a line each way."""

    client: ssl.SSLObject
    server: SSL.Connection
    alpn: str | None
    is_resumed: bool
    ticket: ssl.SSLSession | None

    @property
    def name(self) -> str:
        """The first name of the certificate that was shown."""
        shown: Any = self.client.getpeercert()
        return str(shown["subjectAltName"][0][1])

    @property
    def subject(self) -> str | None:
        """Whose certificate the client showed."""
        shown = self.server.get_peer_certificate()
        return None if shown is None else shown.to_cryptography().subject.rfc4514_string()


def client_context(papers: Papers, version: ssl.TLSVersion = TLS13) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(papers.ca))
    context.minimum_version = context.maximum_version = version
    return context


def is_alert(error: SSL.Error | None) -> bool:
    """Whether it only says what the other side has said."""
    return error is not None and "alert" in str(error)


def talk(
    server: ListenerTLS,
    context: ssl.SSLContext,
    name: str | None = "own.test",
    ticket: ssl.SSLSession | None = None,
) -> Talk:
    """
    Connect, say a line each way, and end.

    :raises SSL.Error: the server refuses, and this is why.
    :raises ssl.SSLError: the client refuses.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context.check_hostname = name is not None
    client = context.wrap_bio(incoming, outgoing, server_hostname=name, session=ticket)
    there = server.serverConnectionForTLS(None)  # type: ignore[arg-type]
    there.set_accept_state()
    heard, refusal, complaint = b"", None, None
    for turn in range(8):
        try:
            client.do_handshake()
            if turn == 4:
                client.write(b"hello")
            heard += client.read()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            complaint = complaint or error
        if outgoing.pending:
            there.bio_write(outgoing.read())
        try:
            there.do_handshake()
            there.sendall(there.recv(100).upper())
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            refusal = refusal or error
        with contextlib.suppress(SSL.WantReadError):
            incoming.write(there.bio_read(65536))
    for problem in (complaint if is_alert(refusal) else None, refusal, complaint):
        if problem is not None:
            raise problem
    assert heard == b"HELLO"
    result = Talk(
        client,
        there,
        client.selected_alpn_protocol(),
        bool(client.session_reused),
        client.session,
    )
    there.shutdown()  # or OpenSSL forgets the session
    return result


# certificates


def test_the_client_s_word_chooses_the_certificate(papers: Papers, certs: Path) -> None:
    server = tls(listener(papers, certificates=certs))
    context = client_context(papers)
    for name, wanted in {
        "own.test": "own.test",
        "a.test": "a.test",
        "B.test": "b.test",
        "x.b.test": "*.b.test",
    }.items():
        assert talk(server, context, name).name == wanted
    context.check_hostname = False
    for unknown in (None, "c.test", "y.x.b.test", "test"):
        assert talk(server, client_context(papers), None).name == "own.test", unknown


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["b.pem", "a.pem", "wild.pem"], "a.test"),
        (["b.pem", "default.pem", "a.pem"], "d.test"),
        (["defaults.pem", "b.pem"], "b.test"),
    ],
)
def test_who_names_no_host_gets_the_default(
    papers: Papers, tmp_path: Path, names: list[str], wanted: str
) -> None:
    for name in names:
        put(tmp_path, papers.authority.issue(f"{name[0]}.test"), name)
    server = tls(ListenerConfig("web", "tcp:1", certificates=tmp_path))
    assert talk(server, client_context(papers), None).name == wanted


def test_a_host_that_nobody_has_is_shown_the_default_and_no_alert(
    papers: Papers, certs: Path
) -> None:
    server = tls(ListenerConfig("web", "tcp:1", certificates=certs))
    context = client_context(papers)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'c\.test'"):
        talk(server, context, "c.test")


def test_rsa_certificates_work_too(papers: Papers) -> None:
    server = tls(ListenerConfig("web", "tcp:1", papers.rsa.certificate, papers.rsa.key))
    for version in (TLS12, TLS13):
        assert talk(server, client_context(papers, version), "rsa.test").name == "rsa.test"


def test_http_1_1_is_agreed_on_through_sni_and_nothing_else_is(papers: Papers, certs: Path) -> None:
    server = tls(listener(papers, certificates=certs))
    context = client_context(papers)
    assert talk(server, context, "a.test").alpn is None
    context.set_alpn_protocols(["h2", "http/1.1"])
    assert talk(server, context, "a.test").alpn == "http/1.1"
    assert talk(server, context, "own.test").alpn == "http/1.1"
    context.set_alpn_protocols(["h2"])
    assert talk(server, context, "a.test").alpn is None


# what is spoken

REFUSED_CIPHERS = [
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-SHA384",
    "AES128-GCM-SHA256",
    "AES128-SHA",
    "DHE-RSA-AES128-GCM-SHA256",
]
CIPHERS = ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"]


@pytest.mark.parametrize("cipher", REFUSED_CIPHERS)
@pytest.mark.parametrize("kind", ["own", "rsa"])
def test_ciphers_without_forward_secrecy_or_aead_are_refused(
    papers: Papers, cipher: str, kind: str
) -> None:
    pair: KeyPair = getattr(papers, kind)
    server = tls(ListenerConfig("web", "tcp:1", pair.certificate, pair.key))
    context = client_context(papers, TLS12)
    context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    with pytest.raises(SSL.Error, match="no shared cipher"):
        talk(server, context, f"{kind}.test")


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize(("kind", "key"), [("own", "ECDSA"), ("rsa", "RSA")])
def test_modern_ciphers_are_taken(papers: Papers, cipher: str, kind: str, key: str) -> None:
    pair: KeyPair = getattr(papers, kind)
    server = tls(ListenerConfig("web", "tcp:1", pair.certificate, pair.key))
    context = client_context(papers, TLS12)
    context.set_ciphers(f"ECDHE-{key}-{cipher}")
    assert talk(server, context, f"{kind}.test").server.get_cipher_name() == f"ECDHE-{key}-{cipher}"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_older_versions_are_refused(papers: Papers, version: ssl.TLSVersion) -> None:
    context = client_context(papers, version)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(SSL.Error, match="unsupported protocol"):
        talk(tls(listener(papers)), context)


def test_min_tls_holds_for_every_name(papers: Papers, certs: Path) -> None:
    server = tls(listener(papers, certificates=certs, min_tls="1.3"))
    for name in ("own.test", "a.test"):
        assert talk(server, client_context(papers), name).name == name
        with pytest.raises(SSL.Error, match="unsupported protocol"):
            talk(server, client_context(papers, TLS12), name)


# sessions that are resumed


def without_tickets(context: ssl.SSLContext) -> ssl.SSLContext:
    context.options |= ssl.OP_NO_TICKET
    return context


@pytest.mark.parametrize("name", ["own.test", "a.test", "x.b.test"])
@pytest.mark.parametrize("how", ["1.3", "1.2", "1.2 without tickets"])
def test_sessions_are_resumed_whatever_the_host(
    papers: Papers, certs: Path, name: str, how: str
) -> None:
    server = tls(listener(papers, certificates=certs))
    context = client_context(papers, TLS13 if how == "1.3" else TLS12)
    if "without" in how:
        without_tickets(context)
    first = talk(server, context, name)
    second = talk(server, context, name, first.ticket)
    third = talk(server, context, name, second.ticket)
    assert [each.is_resumed for each in (first, second, third)] == [False, True, True]


@pytest.mark.parametrize("how", ["1.3", "1.2", "1.2 without tickets"])
def test_sessions_are_resumed_after_certificates_were_renewed(
    papers: Papers, certs: Path, how: str
) -> None:
    config = listener(papers, certificates=certs)
    old = tls(config)
    context = client_context(papers, TLS13 if how == "1.3" else TLS12)
    if "without" in how:
        without_tickets(context)
    tickets = {name: talk(old, context, name).ticket for name in ("own.test", "a.test")}
    put(certs, papers.authority.issue("a.test"), "a.pem")
    put(certs, papers.authority.issue("c.test"), "c.pem")
    (certs / "b.pem").unlink()
    new = tls(config)
    new.go_on_from(old)
    for name, ticket in tickets.items():
        assert talk(new, context, name, ticket).is_resumed
    fresh = talk(new, context, "a.test")
    assert not fresh.is_resumed
    shown = ssl.DER_cert_to_PEM_cert(fresh.client.getpeercert(binary_form=True) or b"")
    assert shown in (certs / "a.pem").read_text()
    assert talk(new, context, "c.test").name == "c.test"
    with pytest.raises(ssl.SSLCertVerificationError):
        talk(new, context, "b.test")


CHANGES = [
    {"min_tls": "1.3"},
    {"client_certificate": "optional"},
    {"client_certificate": "off", "client_ca": None},
    {"client_ca": "other"},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_tickets_are_void_when_other_rules_hold(papers: Papers, change: dict[str, Any]) -> None:
    config = listener(papers, client_certificate="required", client_ca=papers.ca)
    old = tls(config)
    context = client_context(papers)
    context.load_cert_chain(papers.client.certificate, papers.client.key)
    ticket = talk(old, context).ticket
    if change.get("client_ca"):
        both = papers.folder / "both.pem"
        other = Authority(papers.folder, "third").certificate()
        both.write_bytes(papers.ca.read_bytes() + other.read_bytes())
        change = {"client_ca": both}
    same, new = tls(config), tls(evolve(config, **change))
    same.go_on_from(old)
    new.go_on_from(same)
    assert talk(same, context, "own.test", ticket).is_resumed
    assert not talk(new, context, "own.test", talk(old, context).ticket).is_resumed


def test_what_was_replaced_is_forgotten(papers: Papers, certs: Path) -> None:
    config = listener(papers, certificates=certs)
    server = tls(config)
    contexts = weakref.WeakSet(
        [server._choice.default, *server._choice.by_name.values(), server._front]
    )
    assert len(contexts) == 5
    for _ in range(3):
        new = tls(config)
        new.go_on_from(server)
        server = new
        talk(server, client_context(papers), "a.test")
    del new
    gc.collect()
    assert set(contexts) == {server._front}


# certificates of clients


def showing(papers: Papers, version: ssl.TLSVersion, pair: KeyPair | None) -> ssl.SSLContext:
    context = client_context(papers, version)
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


def asking(papers: Papers, how: str, certs: Path | None = None) -> ListenerTLS:
    return tls(listener(papers, client_ca=papers.ca, client_certificate=how, certificates=certs))


@versions
@pytest.mark.parametrize("name", ["own.test", "a.test"])
def test_who_is_required_to_show_a_certificate_and_has_a_good_one_is_let_in(
    papers: Papers, certs: Path, version: ssl.TLSVersion, name: str
) -> None:
    for how in ("required", "optional"):
        server = asking(papers, how, certs)
        found = talk(server, showing(papers, version, papers.client), name)
        assert found.subject == "CN=client.test"


@versions
@pytest.mark.parametrize("name", ["own.test", "a.test"])
def test_who_shows_none_is_let_in_only_where_it_is_not_required(
    papers: Papers, certs: Path, version: ssl.TLSVersion, name: str
) -> None:
    context = showing(papers, version, None)
    assert talk(asking(papers, "optional", certs), context, name).subject is None
    with pytest.raises(SSL.Error, match="peer did not return a certificate"):
        talk(asking(papers, "required", certs), context, name)


@versions
@pytest.mark.parametrize("how", ["optional", "required"])
@pytest.mark.parametrize("name", ["own.test", "a.test"])
@pytest.mark.parametrize("what", ["stranger", "expired", "server"])
def test_who_shows_a_bad_one_is_refused_everywhere(
    papers: Papers, certs: Path, version: ssl.TLSVersion, how: str, name: str, what: str
) -> None:
    for_servers = ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    bad = {
        "stranger": lambda: papers.stranger,
        "expired": lambda: papers.authority.issue_for("c.test", stem="gone", until=-DAY),
        "server": lambda: papers.authority.issue_with("c.test", for_servers),
    }
    with pytest.raises(SSL.Error, match="certificate verify failed"):
        talk(asking(papers, how, certs), showing(papers, version, bad[what]()), name)


@versions
def test_who_is_not_asked_shows_nothing(papers: Papers, version: ssl.TLSVersion) -> None:
    context = showing(papers, version, papers.client)
    assert talk(tls(listener(papers)), context).subject is None


@pytest.mark.parametrize("name", ["own.test", "a.test"])
@pytest.mark.parametrize("how", ["1.3", "1.2", "1.2 without tickets"])
def test_a_resumed_session_still_says_whose_it_is(
    papers: Papers, certs: Path, name: str, how: str
) -> None:
    server = asking(papers, "required", certs)
    context = showing(papers, TLS13 if how == "1.3" else TLS12, papers.client)
    if "without" in how:
        without_tickets(context)
    ticket = talk(server, context, name).ticket
    again = talk(server, context, name, ticket)
    assert again.is_resumed
    assert again.subject == "CN=client.test"


def shake_hands(server: ListenerTLS, name: bytes) -> SSL.Connection:
    """Connect with OpenSSL itself, which shows more; return the client's end."""
    there = server.serverConnectionForTLS(None)  # type: ignore[arg-type]
    there.set_accept_state()
    here = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
    here.set_connect_state()
    here.set_tlsext_host_name(name)
    for _ in range(4):
        for one, other in ((here, there), (there, here)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(65536))
    return here


def test_the_authorities_of_clients_are_told_to_them(papers: Papers, certs: Path) -> None:
    client = shake_hands(asking(papers, "optional", certs), b"a.test")
    assert [each.CN for each in client.get_client_ca_list()] == ["authority"]


def test_the_whole_chain_is_shown_in_its_order(papers: Papers, tmp_path: Path) -> None:
    pairs = [papers.authority.issue("a.test"), papers.stranger]
    files = [pairs[0].certificate, pairs[0].key, pairs[1].certificate, papers.ca]
    (tmp_path / "a.pem").write_bytes(b"".join(each.read_bytes() for each in files))
    client = shake_hands(tls(listener(papers, certificates=tmp_path)), b"a.test")
    shown = [each.to_cryptography() for each in client.get_peer_cert_chain() or ()]
    names = [each.subject.rfc4514_string() for each in shown]
    assert names == ["CN=a.test", "CN=stranger.test", "CN=authority"]


def test_a_bad_file_of_authorities_is_said(papers: Papers) -> None:
    with pytest.raises(ValueError, match="holds no certificate in PEM form"):
        tls(listener(papers, client_ca=papers.own.key, client_certificate="required"))
