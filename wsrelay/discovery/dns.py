"""``discover = dns``: every address of a name is an upstream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from twisted.names.dns import AAAA, A
from zope.interface import implementer

from wsrelay.config.values import one_of
from wsrelay.config.values import port as a_port
from wsrelay.discovery.options import (
    Form,
    base_path,
    domain_name,
    interval,
    name_server,
    parsed,
)
from wsrelay.discovery.question import LEAST_PAUSE, Ask, Question
from wsrelay.discovery.resolver import Answer, Resolver
from wsrelay.interfaces import IDiscovery

__all__ = ["Dns"]

KINDS: Final = {"any": (A, AAAA), "4": (A,), "6": (AAAA,)}
"""What ``family`` says -> the types of the records."""

Addresses = frozenset[IPv4Address | IPv6Address]


@implementer(IDiscovery)
class Dns:
    """
    The addresses of a name, IPv4 first, each in numeric order.

    IPv4 and IPv6 addresses are asked for side by side.  The first of the two answers counts at
    once unless it is empty, and what is known of one family stays while it cannot be looked up.

    :param ask: whom to ask instead of DNS, for tests.
    :raises ValueError: an option is bad.
    """

    def __init__(
        self,
        reactor: Any,
        name: str = "",
        port: str = "",
        scheme: str = "ws",
        family: str = "any",
        resolver: str = "system",
        every: str = "30s",
        base: str = "/",
        *,
        ask: Ask | None = None,
    ) -> None:
        domain = parsed("name", name, domain_name, "chat.internal")
        self._port: int = parsed("port", port, a_port, "9000")
        self._form = Form(
            parsed("scheme", scheme, one_of("ws", "wss")), parsed("base", base, base_path)
        )
        kinds = KINDS[parsed("family", family, one_of(*KINDS))]
        servers = parsed("resolver", resolver, name_server)
        seconds = parsed("every", every, interval(LEAST_PAUSE, "1s"))
        asked = ask or Resolver(reactor, servers).ask
        self._known: dict[int, Addresses | None] = dict.fromkeys(kinds)
        self._questions = [
            Question(asked, reactor, domain, kind, seconds, partial(self._learn, kind))
            for kind in kinds
        ]

    @property
    def problem(self) -> str:
        """What cannot be found out; empty if everything can."""
        return "; ".join(filter(None, [each.problem for each in self._questions]))

    def start(self, update: Callable[[Sequence[str]], None]) -> None:
        """Begin to ask."""
        self._update = update
        for question in self._questions:
            question.start()

    def stop(self) -> None:
        """Ask no more."""
        for question in self._questions:
            question.stop()

    def _learn(self, kind: int, answer: Answer) -> None:
        self._known[kind] = frozenset(ip_address(record.address) for record in answer.records)
        known = [each for each in self._known.values() if each is not None]
        found = frozenset[IPv4Address | IPv6Address]().union(*known)
        if found or len(known) == len(self._known):
            self._update([self._line(each) for each in sorted(found, key=_order)])

    def _line(self, address: IPv4Address | IPv6Address) -> str:
        host = f"[{address}]" if address.version == 6 else str(address)
        return self._form.line(host, self._port)


def _order(address: IPv4Address | IPv6Address) -> tuple[int, int]:
    return address.version, int(address)
