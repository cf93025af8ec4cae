"""TLS for the raw sockets on both sides of a relay."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from attrs import define

from tests.peers.certificates import KeyPair
from tests.relay.records import Peer, shake_hands
from tests.system.support import Stage, Wire


def connect_tls(
    stage: Stage, context: ssl.SSLContext, listener: str = "tls", name: str = "relay.test"
) -> Wire:
    sock = socket.create_connection(("127.0.0.1", stage.relay.ports[listener]), 20)
    try:
        return stage.keep(Wire(context.wrap_socket(sock, server_hostname=name)))
    except BaseException:
        sock.close()
        raise


def accept_tls(
    stage: Stage,
    pair: KeyPair,
    *,
    client_ca: Path | None = None,
    alpn: bool = True,
    version: ssl.TLSVersion | None = None,
) -> Wire:
    """Accept the relay's connection as a TLS server, one that speaks no other *version*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    context.load_cert_chain(pair.certificate, pair.key)
    if alpn:
        context.set_alpn_protocols(["h2", "http/1.1"])
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    plain = stage.accept()
    return stage.keep(Wire(context.wrap_socket(plain.sock, server_side=True)))


@define(eq=False)
class SealedWire(Wire):
    """
    A socket whose records a test seals itself: see `tests.relay.records`.

    One thread may send while another one reads.
    """

    peer: Peer

    @classmethod
    def shake_hands(cls, sock: socket.socket, *, is_server: bool) -> SealedWire:
        """Shake hands with the relay, which has a certificate of `records.authority`."""
        peer = shake_hands(is_server, sock.sendall, lambda: sock.recv(65536))
        wire = cls(sock, peer)
        wire._take_plain()
        return wire

    def send(self, data: bytes) -> None:
        self.sock.sendall(self.peer.seal(data))

    def send_raw(self, cipher: bytes) -> None:
        """Send records, or pieces of them, as they are."""
        self.sock.sendall(cipher)

    def _more(self) -> bool:
        cipher = self.sock.recv(256 * 1024)
        self.peer.feed(cipher)
        self._take_plain()
        return bool(cipher)

    def _take_plain(self) -> None:
        self._buffer += self.peer.plain
        self.peer.plain.clear()
