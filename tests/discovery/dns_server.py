"""
A DNS server on loopback, UDP and TCP on one port, for the zone ``test``.

Each line on its standard input is a JSON object: ``records`` (name -> [type, field …], their
time to live one second) and ``udp`` and ``tcp`` (``answer``, ``silent``, or the name of a
code: ``servfail``, ``refused``) take the place of what was so before.  Each is confirmed by a
line; each question that is asked is printed, and each TCP connection that ends.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.error import CannotListenError
from twisted.internet.stdio import StandardIO
from twisted.names import dns
from twisted.names.authority import FileAuthority
from twisted.names.server import DNSServerFactory
from twisted.protocols.basic import LineOnlyReceiver

CODES = {"servfail": dns.ESERVER, "refused": dns.EREFUSED}
DATAGRAM = 512  # RFC 1035 section 4.2.1


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


class Zone(FileAuthority):
    """The records that a test wants."""

    def loadFile(self, filename: str) -> None:  # noqa: N802
        self.soa = (b"test", dns.Record_SOA(b"ns.test", b"root.test", minimum=1))
        self.records: dict[bytes, list[Any]] = {}

    def replace(self, records: dict[str, list[list[Any]]]) -> None:
        self.records = {
            name.encode(): [
                getattr(dns, f"Record_{kind}")(*fields, ttl=1) for kind, *fields in wanted
            ]
            for name, wanted in records.items()
        }


class Server(DNSServerFactory):
    """Answers, or does what a test wants instead."""

    noisy = False

    def __init__(self) -> None:
        self.zone = Zone("")
        self.modes = {"udp": "answer", "tcp": "answer"}
        super().__init__(authorities=[self.zone])

    def messageReceived(self, message, proto, address=None):  # noqa: N802
        over = "tcp" if address is None else "udp"
        query = message.queries[0]
        kind = dns.QUERY_TYPES[query.type]
        say(event="asked", name=query.name.name.decode(), kind=kind, over=over)
        mode = self.modes[over]
        if mode == "answer":
            super().messageReceived(message, proto, address)
        elif mode in CODES:
            message.timeReceived = 0  # which the reply is measured from
            response = self._responseFromMessage(message=message, rCode=CODES[mode])
            self.sendReply(proto, response, address)

    def connectionLost(self, protocol):  # noqa: N802
        super().connectionLost(protocol)
        say(event="closed")

    def sendReply(self, protocol, message, address):  # noqa: N802
        if address is not None:
            message.maxSize = DATAGRAM  # longer ones are cut and marked
        super().sendReply(protocol, message, address)


class Orders(LineOnlyReceiver):
    """Standard input."""

    delimiter = b"\n"
    MAX_LENGTH = 1_000_000

    def __init__(self, server: Server) -> None:
        self.server = server

    def lineReceived(self, line: bytes) -> None:  # noqa: N802
        order = json.loads(line)
        if "records" in order:
            self.server.zone.replace(order.pop("records"))
        self.server.modes.update({over: order[over] for over in ("udp", "tcp") if over in order})
        say(event="done", number=order["number"])


def listen(server: Server) -> int:
    """Take one port for both protocols."""
    while True:
        port = reactor.listenTCP(0, server, interface="127.0.0.1")
        number = port.getHost().port
        try:
            reactor.listenUDP(number, dns.DNSDatagramProtocol(server), interface="127.0.0.1")
        except CannotListenError:
            port.stopListening()
        else:
            return number


def main() -> None:
    server = Server()
    StandardIO(Orders(server))
    say(event="listens", port=listen(server))
    reactor.run()


if __name__ == "__main__":
    sys.exit(main())
