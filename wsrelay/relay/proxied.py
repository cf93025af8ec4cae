"""
Connections that begin with a PROXY header: ``proxy_protocol = yes`` of a listener.

Twisted's own (``twisted.protocols.haproxy``) wraps a connection for as long as it lasts, asks
nobody who may send a header, and waits for ever.  Here a small protocol reads the header and
leaves its place to the one that it was read for.
"""

from __future__ import annotations

from typing import Any

from attrs import define
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

from wsrelay.relay.doors import FULL, Place
from wsrelay.relay.ends import ProxiedAddress, end_of, name_of
from wsrelay.relay.facts import Facts, new_id
from wsrelay.relay.listener import Listener
from wsrelay.wire.address import UNIX, is_trusted
from wsrelay.wire.proxy_protocol import BadHeader, Ends, parse_header

__all__ = ["HeaderFirst"]


@define(eq=False)
class HeaderFirst(Factory):
    """
    Lets connections begin with a PROXY header, and has *factory* build the rest.

    :param listener: says who may send one, and how long that may take.
    :param factory: the listener itself, or TLS in front of it.
    """

    noisy = False
    listener: Listener
    factory: IProtocolFactory

    @override
    def startFactory(self) -> None:
        self.factory.doStart()

    @override
    def stopFactory(self) -> None:
        self.factory.doStop()

    @override
    def buildProtocol(self, addr: IAddress | None) -> _Reader | None:
        """Return None, which ends the connection, for a peer that is not trusted."""
        config, end = self.listener.config, end_of(addr)
        peer = end[0] if end is not None else None
        if is_trusted(peer, config.trusted_proxies):
            return _Reader(self, addr)
        reason = (
            f"{peer or UNIX} is none of the trusted_proxies of listener {config.name}, which has"
            " proxy_protocol = yes; add it there if it is a proxy of yours."
        )
        self.refuse(addr, 403, "untrusted", reason)
        return None

    def refuse(self, address: IAddress | None, status: int, refusal: str, reason: str) -> None:
        """Note that a connection was ended before there was a client; see `Facts`."""
        name = name_of(*(end_of(address) or (None, 0)))
        facts = Facts(new_id(), self.listener.config.name, name, status=status, refusal=refusal)
        self.listener.relay.observer.refused(facts, reason)


class _Reader(Protocol):
    """One connection until its header is read; in `Relay.arriving` for so long."""

    transport: Any  # TCP or unix

    def __init__(self, front: HeaderFirst, address: IAddress | None) -> None:
        self.listener = front.listener
        self._front = front
        self._address = address  # the proxy's
        self._buffer = b""
        self._timer: IDelayedCall | None = None
        self._place: Place | None = None

    @override
    def connectionMade(self) -> None:
        relay = self.listener.relay
        relay.arriving.add(self)
        self._place = relay.doors.enter(self.listener)
        if self._place is Place.NOWHERE:
            self._refuse(503, "full", FULL)
            return
        self._timer = relay.reactor.callLater(
            self.listener.config.handshake_timeout, self._too_slow
        )

    @override
    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        try:
            found = parse_header(self._buffer)
        except BadHeader as error:
            self._refuse(400, "malformed", str(error))
            return
        if found is not None:
            self._leave()
            self._hand_over(*found)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # Without a byte it was somebody who looked whether there is a listener.
        if self._leave() and self._buffer:
            self._front.refuse(self._address, 400, "malformed", "The PROXY header broke off.")

    def abort(self) -> None:
        """End the connection, without a word in the log."""
        self._leave()
        self.transport.abortConnection()

    def _hand_over(self, ends: Ends, rest: bytes) -> None:
        address = self._address
        if ends.source is not None and ends.destination is not None:
            address = ProxiedAddress(ends.source, ends.destination, ends.is_secure)
        protocol: Any = self._front.factory.buildProtocol(address)  # type: ignore[arg-type]
        transport = self.transport
        transport.protocol = protocol
        protocol.makeConnection(transport)
        if rest:
            protocol.dataReceived(rest)

    def _too_slow(self) -> None:
        seconds = self.listener.config.handshake_timeout
        reason = f"The PROXY header was not complete after {seconds:g} seconds."
        self._refuse(408, "too-slow", reason)

    def _refuse(self, status: int, refusal: str, reason: str) -> None:
        self.abort()
        self._front.refuse(self._address, status, refusal, reason)

    def _leave(self) -> bool:
        """Wait no more; return whether it did until now."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        relay = self.listener.relay
        relay.arriving.discard(self)
        place, self._place = self._place, None
        if place is not None:
            relay.doors.leave(self.listener, place)
        return timer is not None
