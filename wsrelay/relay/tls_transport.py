"""The TLS below a client's connection: who is there, and whether it is TLS at all."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from OpenSSL.SSL import Error as TLSError
from twisted.internet.interfaces import IHalfCloseableProtocol, ITransport
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import alsoProvides

from wsrelay.relay.listener_tls import ListenerTLS
from wsrelay.relay.subject import subject_text

if TYPE_CHECKING:
    from wsrelay.relay.client import ClientConnection
    from wsrelay.relay.listener import Listener

__all__ = ["ClientTLS", "VerifiedTLS", "certificate_of", "tls_factory"]

LONGEST_METHOD: Final = 20
"""Letters of an HTTP method that are waited for; no known one has more."""

_REQUEST: Final = re.compile(rb"[A-Z]{3,20} ")
"""How a plain HTTP request begins; a TLS record begins with a byte that is no letter."""

_WHY: Final = "plain request on a TLS listener"
_ANSWER: Final = "This port speaks TLS, and the request was plain HTTP; use https:// or wss://."


class ClientTLS(BufferingTLSTransport):
    """
    TLS of a client, who is told so if it speaks plain HTTP.

    Only the first bytes are looked at; from then on this is what Twisted made it.
    """

    wrappedProtocol: Any  # noqa: N815  Twisted's
    _first = b""

    @override
    def makeConnection(self, transport: ITransport) -> None:
        # On the object, so that it can go away again: reads should not pay for it.
        self.dataReceived = self._receive_first  # type: ignore[method-assign]
        super().makeConnection(transport)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._look_no_more()
        super().connectionLost(reason)

    def _receive_first(self, data: bytes) -> None:
        self._first = data = self._first + data
        if _REQUEST.match(data):
            self._look_no_more()
            self._step_aside()
        elif not (len(data) <= LONGEST_METHOD and data.isalpha() and data.isupper()):
            self._look_no_more()
            self.dataReceived(data)

    def _look_no_more(self) -> None:
        self.__dict__.pop("dataReceived", None)
        self.__dict__.pop("_first", None)

    def _step_aside(self) -> None:
        """Let the client, which has sent a plain request, be answered in plain."""
        client: ClientConnection = self.wrappedProtocol
        if client.is_answered:  # that there is no room, which it could not read
            client.abort()
            return
        self._lostTLSConnection = True  # Twisted's: nothing is encrypted or decrypted any more
        self.dataReceived = client.dataReceived  # type: ignore[method-assign]
        client.transport = self.transport
        alsoProvides(self, IHalfCloseableProtocol)
        client.relay.refused_early(client, 400, _WHY)
        client.answer(400, _ANSWER)

    def readConnectionLost(self) -> None:  # noqa: N802  called by Twisted, of plain clients
        """Pass it on."""
        self.wrappedProtocol.readConnectionLost()

    def writeConnectionLost(self) -> None:  # noqa: N802  called by Twisted, of plain clients
        """Pass it on."""
        self.wrappedProtocol.writeConnectionLost()


class VerifiedTLS(ClientTLS):
    """TLS of a client that is asked for a certificate; OpenSSL has judged what it showed."""

    verify = b"NONE"
    subject: bytes | None = None

    @override
    def _checkHandshakeStatus(self) -> None:
        super()._checkHandshakeStatus()
        if self._handshakeDone:
            self._identify()

    def _identify(self) -> None:
        """Note whose certificate it is, or end: a resumed session may be older than it is good."""
        shown = self.getPeerCertificate()
        if shown is None:
            return
        try:
            certificate = shown.to_cryptography()
            if certificate.not_valid_after_utc < _now():
                raise ValueError("the certificate has expired since the session began")
            self.subject = subject_text(certificate.subject)
        except ValueError as error:
            why = TLSError([("", "", str(error))])
            self._tlsShutdownFinished(Failure(why))
        else:
            self.verify = b"SUCCESS"


def _now() -> datetime:
    return datetime.now(UTC)


def certificate_of(transport: Any) -> tuple[bytes, bytes | None]:
    """
    Say what a client has proved with a certificate, for X-SSL-Client-Verify and …-S-DN.

    :param transport: of a client on a listener that asks for one now; when the connection
        was made it may not have done so.
    """
    if isinstance(transport, VerifiedTLS):
        return transport.verify, transport.subject
    return VerifiedTLS.verify, None


def tls_factory(tls: ListenerTLS, listener: Listener, reactor: Any) -> TLSMemoryBIOFactory:
    """Put the TLS of a listener before what makes its connections."""
    factory = TLSMemoryBIOFactory(tls, False, listener, reactor)
    factory.protocol = VerifiedTLS if tls.wants_certificates else ClientTLS
    return factory
