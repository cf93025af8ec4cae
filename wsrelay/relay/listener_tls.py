"""
TLS on a listener: what is spoken, with which certificate, and who may come in.

OpenSSL keeps what sessions are resumed with (the keys of tickets, and the sessions of clients
without tickets) in the context that a connection begins with.  So that is one without any
certificate, the front, which outlives renewals; the context with the certificate takes over
when the client has said which host it wants (SNI).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

from attrs import define, field, frozen
from cryptography.x509 import Certificate
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from wsrelay.config.model import ListenerConfig
from wsrelay.relay.certificates import (
    Identity,
    find,
    names_and_notes,
    read_directory,
    read_identity,
)
from wsrelay.relay.pem import certificates_in, to_pkey

__all__ = ["ListenerTLS", "listener_tls"]

CIPHERS: Final = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
"""For TLS 1.2: forward secrecy and AEAD.  All that TLS 1.3 has are of that kind."""

ALPN: Final = b"http/1.1"
"""Websockets over HTTP/2 (RFC 8441) are not spoken; saying so makes clients choose 1.1."""

_MINIMUM: Final = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
_VERIFY: Final = {
    "off": SSL.VERIFY_NONE,
    "optional": SSL.VERIFY_PEER,
    "required": SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}


@frozen
class _Rules:
    """What holds for all clients of a listener; tickets are good for as long as it does."""

    min_tls: Literal["1.2", "1.3"]
    client_certificate: Literal["off", "optional", "required"]
    authorities: tuple[Certificate, ...]  # who signs them


@define(eq=False)
class _Choice:
    """Chooses the certificate of a connection; OpenSSL asks, with or without SNI."""

    default: SSL.Context
    by_name: Mapping[str, SSL.Context]

    def __call__(self, connection: SSL.Connection) -> None:
        name = connection.get_servername()
        found = find(name.decode("latin-1"), self.by_name) if name else None
        connection.set_context(self.default if found is None else found)


@implementer(IOpenSSLServerConnectionCreator)
@define(eq=False)
class ListenerTLS:
    """
    The TLS of one listener; made by `listener_tls`.

    :ivar own: what ``certificate`` is, if it is given.
    :ivar directory: what ``certificates`` holds.
    :ivar notes: what an operator should know, a sentence each.
    """

    rules: _Rules
    own: Identity | None
    directory: tuple[Identity, ...]
    notes: tuple[str, ...]
    _choice: _Choice
    _front: SSL.Context = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._front = _context(self.rules)
        self._front.set_tlsext_servername_callback(self._choice)

    @property
    def wants_certificates(self) -> bool:
        """Whether clients are asked for one."""
        return self.rules.client_certificate != "off"

    def serverConnectionForTLS(  # noqa: N802  called by Twisted
        self, protocol: TLSMemoryBIOProtocol
    ) -> SSL.Connection:
        """Make the connection; Twisted calls this once for each."""
        return SSL.Connection(self._front, None)

    def go_on_from(self, old: ListenerTLS) -> None:
        """
        Take the place of *old*, whose clients may resume their sessions here.

        Not if other rules hold now: who has a ticket would not be asked for a certificate,
        or might have one that does not count any more.
        """
        if self.rules == old.rules:
            old._choice.default = self._choice.default
            old._choice.by_name = self._choice.by_name
            self._front, self._choice = old._front, old._choice

    def changes_since(self, old: ListenerTLS) -> dict[str, str]:
        """Say what is new in the files of each option, by its name."""
        changes = {}
        if self.own and old.own and self.own.chain != old.own.chain:
            changes["certificate"] = "certificate renewed"
        if words := _changes(old.directory, self.directory):
            changes["certificates"] = f"certificates: {', '.join(words)}"
        if self.rules.authorities != old.rules.authorities:
            changes["client_ca"] = "client_ca renewed"
        return changes


def _changes(old: Sequence[Identity], new: Sequence[Identity]) -> list[str]:
    was = {each.label: each.chain for each in old}
    now = {each.label: each.chain for each in new}
    words = [f"{label} added" for label in now if label not in was]
    words += [f"{label} renewed" for label in now if was.get(label, now[label]) != now[label]]
    return words + [f"{label} removed" for label in was if label not in now]


def listener_tls(config: ListenerConfig) -> ListenerTLS | None:
    """
    Read the files of a listener, and make its TLS; None if it has none.

    :raises ValueError: a file cannot be read or used; the text says which and why.
    """
    own = None
    if config.certificate is not None:
        path = config.certificate
        own = read_identity(str(path), path, config.key or path)
    directory = read_directory(config.certificates) if config.certificates is not None else []
    if own is None and not directory:
        return None
    authorities = certificates_in(config.client_ca) if config.client_ca is not None else ()
    rules = _Rules(config.min_tls, config.client_certificate, tuple(authorities))
    default = own or _default_of(directory)
    identities = [own, *directory] if own is not None else directory
    table, notes = names_and_notes(identities, default, datetime.now(UTC))
    contexts = {each: _with(each, rules) for each in identities}
    by_name = {name: contexts[each] for name, each in table.items()}
    choice = _Choice(contexts[default], by_name)
    return ListenerTLS(rules, own, tuple(directory), tuple(notes), choice)


def _default_of(directory: Sequence[Identity]) -> Identity:
    named = (each for each in directory if each.label.partition(".")[0] == "default")
    return next(named, directory[0])


def _with(identity: Identity, rules: _Rules) -> SSL.Context:
    """Make the context that speaks as *identity*."""
    context = _context(rules)
    certificate, *chain = map(X509.from_cryptography, identity.chain)
    try:
        context.use_certificate(certificate)
        context.use_privatekey(to_pkey(identity.key))
        for each in chain:
            context.add_extra_chain_cert(each)
    except (SSL.Error, TypeError) as error:
        why = error.args[0][-1][-1] if isinstance(error, SSL.Error) and error.args[0] else error
        raise ValueError(f"OpenSSL refuses the certificate of {identity.label}: {why}") from error
    return context


def _context(rules: _Rules) -> SSL.Context:
    """Make a context without a certificate; what is said here must hold in both of a client's."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(_MINIMUM[rules.min_tls])
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_cipher_list(CIPHERS)
    context.set_alpn_select_callback(_choose_protocol)
    context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
    # Without one OpenSSL resumes no session of a client that has shown a certificate.  It may
    # be the same everywhere: each front has keys and a cache of its own.
    context.set_session_id(b"wsrelay")
    store = context.get_cert_store()
    for each in map(X509.from_cryptography, rules.authorities):
        if store is not None:
            store.add_cert(each)
        context.add_client_ca(each)
    context.set_verify(_VERIFY[rules.client_certificate])
    return context


def _choose_protocol(
    _connection: SSL.Connection, offered: Sequence[bytes]
) -> bytes | SSL._NoOverlappingProtocols:
    return ALPN if ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS
