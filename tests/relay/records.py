"""
A TLS 1.3 peer that seals its records itself (RFC 8446 section 5).

Python's ``ssl`` shakes hands; from there on a test decides what stands in each record: data
in pieces of any size, a new key, half of a handshake message, an alert, or nonsense.
"""

from __future__ import annotations

import hmac
import os
import ssl
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from attrs import define, field
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.peers.certificates import Authority, KeyPair

ALERT, HANDSHAKE, DATA = 21, 22, 23
CLOSE_NOTIFY: Final = b"\x01\x00"
BAD_RECORD: Final = b"\x02\x14"
KEY_UPDATE = 24
MAX_PLAIN: Final = 2**14


@cache
def folder() -> Path:
    """Make the folder of this process's certificates; small, and left to the system."""
    return Path(mkdtemp(prefix="wsrelay-tests-"))


@cache
def authority() -> Authority:
    return Authority(folder())


@cache
def pair() -> KeyPair:
    """Give a certificate for 127.0.0.1, for whoever is the server."""
    return authority().issue("127.0.0.1")


@cache
def _key_log() -> Path:
    return folder() / "keys"


@cache
def _context(is_server: bool) -> ssl.SSLContext:
    if is_server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair().certificate, pair().key)
        context.num_tickets = 0  # they would be sealed with the keys that are used here
    else:
        context = ssl.create_default_context(cafile=str(authority().certificate()))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.keylog_filename = str(_key_log())
    return context


def key_update(wants_ours: bool = False) -> bytes:
    """Return the handshake message that announces a new key (RFC 8446 section 4.6.3)."""
    return bytes([KEY_UPDATE, 0, 0, 1, wants_ours])


def _expand(secret: bytes, label: bytes, size: int) -> bytes:
    """Derive from a secret (RFC 8446 section 7.1); one block of HKDF-Expand is enough here."""
    name = b"tls13 " + label
    info = size.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
    return hmac.digest(secret, info + b"\1", _hash_of(secret))[:size]


def _hash_of(secret: bytes) -> str:
    return "sha384" if len(secret) == 48 else "sha256"


@define
class Key:
    """What seals, or opens, the records of one direction."""

    secret: bytes
    number: int = 0  # of the next record
    _cipher: AESGCM = field(init=False)
    _iv: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        size = 32 if len(self.secret) == 48 else 16  # SHA-384 comes with AES-256
        self._cipher = AESGCM(_expand(self.secret, b"key", size))
        self._iv = int.from_bytes(_expand(self.secret, b"iv", 12), "big")

    def _nonce(self) -> bytes:
        nonce = (self._iv ^ self.number).to_bytes(12, "big")
        self.number += 1
        return nonce

    def next(self) -> Key:
        """Return the key behind a KeyUpdate."""
        return Key(_expand(self.secret, b"traffic upd", len(self.secret)))

    def seal(self, kind: int, plain: bytes) -> bytes:
        head = b"\x17\x03\x03" + (len(plain) + 17).to_bytes(2, "big")
        return head + self._cipher.encrypt(self._nonce(), plain + bytes([kind]), head)

    def open(self, record: bytes) -> tuple[int, bytes]:
        plain = self._cipher.decrypt(self._nonce(), record[5:], record[:5]).rstrip(b"\0")
        return plain[-1], plain[:-1]


@define(eq=False)
class Peer:
    """
    One end of a TLS connection, after its handshake.

    *plain* is the data that came, *told* everything else, as (type, message) pairs.
    """

    sending: Key
    receiving: Key
    plain: bytearray = field(factory=bytearray)
    told: list[tuple[int, bytes]] = field(factory=list)
    has_goodbye: bool = False  # a close_notify came
    _rest: bytes = b""

    def seal(self, data: bytes, size: int = MAX_PLAIN) -> bytes:
        """Return data as records of *size* bytes each."""
        return b"".join(
            self.sending.seal(DATA, data[at : at + size]) for at in range(0, len(data), size)
        )

    def goodbye(self) -> bytes:
        """Return a close_notify."""
        return self.sending.seal(ALERT, CLOSE_NOTIFY)

    def update(self, wants_ours: bool = False) -> bytes:
        """Return a KeyUpdate; what is sealed next has the new key."""
        record = self.sending.seal(HANDSHAKE, key_update(wants_ours))
        self.sending = self.sending.next()
        return record

    def halves_of_update(self, wants_ours: bool = False) -> tuple[bytes, bytes]:
        """Return a KeyUpdate in two records; what is sealed next has the new key."""
        message = key_update(wants_ours)
        halves = [self.sending.seal(HANDSHAKE, each) for each in (message[:4], message[4:])]
        self.sending = self.sending.next()
        return halves[0], halves[1]

    def feed(self, cipher: bytes) -> None:
        """Take what the relay sent; a record that cannot be opened raises ``InvalidTag``."""
        self._rest += cipher
        at = 0
        while len(self._rest) - at >= 5:
            end = at + 5 + int.from_bytes(self._rest[at + 3 : at + 5], "big")
            if len(self._rest) < end:
                break
            self._take(*self.receiving.open(self._rest[at:end]))
            at = end
        self._rest = self._rest[at:]

    def _take(self, kind: int, message: bytes) -> None:
        assert not self.has_goodbye, "nothing follows a close_notify"
        if kind == DATA:
            self.plain += message
            return
        self.told.append((kind, message))
        self.has_goodbye = (kind, message) == (ALERT, CLOSE_NOTIFY)
        if kind == HANDSHAKE and message[0] == KEY_UPDATE:
            self.receiving = self.receiving.next()

    def alerts(self) -> list[bytes]:
        return [message for kind, message in self.told if kind == ALERT]

    def key_updates(self) -> int:
        """Count the relay's new keys."""
        return sum(kind == HANDSHAKE and message[0] == KEY_UPDATE for kind, message in self.told)


def shake_hands(is_server: bool, give: Callable[[bytes], None], take: Callable[[], bytes]) -> Peer:
    """
    Shake hands with a relay.

    :param give: is called with what the relay is to get.
    :param take: is called for what the relay has sent, one or more bytes.
    """
    _key_log().touch()
    os.truncate(_key_log(), 0)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = _context(is_server).wrap_bio(
        incoming, outgoing, is_server, None if is_server else "127.0.0.1"
    )
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            if outgoing.pending:
                give(outgoing.read())
            incoming.write(take())
    mine, yours = _secrets(is_server)
    if outgoing.pending:
        give(outgoing.read())
    peer = Peer(Key(mine), Key(yours))
    peer.feed(incoming.read())  # what came right behind the relay's last word
    return peer


def _secrets(is_server: bool) -> tuple[bytes, bytes]:
    rows = [row.split() for row in _key_log().read_text().splitlines()]
    found = {row[0]: bytes.fromhex(row[2]) for row in rows if row[0] != "#"}
    sides = found["CLIENT_TRAFFIC_SECRET_0"], found["SERVER_TRAFFIC_SECRET_0"]
    return sides[::-1] if is_server else sides
