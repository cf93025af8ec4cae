"""
``discover = srv``: the servers that SRV records name, RFC 2782.

Their names stay names: the relay looks an upstream's name up when it connects, so a server
that moves is followed even between two SRV answers, a certificate is checked against the name
that the record says, and a session table shows names.  What an answer brings along in its
additional section would be a second, older source for the same addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from attrs import frozen
from twisted.names.dns import SRV
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

__all__ = ["Srv"]

NO_SERVICE: Final = b""
"""The target "." (RFC 2782): the service is decidedly not available here."""


@frozen(order=True)
class Target:
    """One record, in the order in which they are to be tried."""

    priority: int
    host: str
    port: int
    weight: int


@implementer(IDiscovery)
class Srv:
    """
    The targets of SRV records: those of the lowest priority, and the others as backups.

    Weights are the records'; 0, "no server selection to do", becomes 1.

    :param ask: whom to ask instead of DNS, for tests.
    :raises ValueError: an option is bad.
    """

    def __init__(
        self,
        reactor: Any,
        name: str = "",
        scheme: str = "ws",
        resolver: str = "system",
        every: str = "30s",
        base: str = "/",
        *,
        ask: Ask | None = None,
    ) -> None:
        domain = parsed("name", name, domain_name, "_ws._tcp.chat.internal")
        self._form = Form(
            parsed("scheme", scheme, one_of("ws", "wss")), parsed("base", base, base_path)
        )
        servers = parsed("resolver", resolver, name_server)
        seconds = parsed("every", every, interval(LEAST_PAUSE, "1s"))
        asked = ask or Resolver(reactor, servers).ask
        self._question = Question(asked, reactor, domain, SRV, seconds, self._learn)

    @property
    def problem(self) -> str:
        """Why the records cannot be found; empty if they can."""
        return self._question.problem

    def start(self, update: Callable[[Sequence[str]], None]) -> None:
        """Begin to ask."""
        self._update = update
        self._question.start()

    def stop(self) -> None:
        """Ask no more."""
        self._question.stop()

    def _learn(self, answer: Answer) -> None:
        self._update(lines(targets(answer.records), self._form))


def targets(records: Sequence[Any]) -> list[Target]:
    """
    Return the targets in order, each host and port once.

    :param records: payloads of SRV records.
    :raises ValueError: a target or a port cannot be one.
    """
    found: dict[tuple[str, int], Target] = {}
    for target in sorted(_target(each) for each in records if each.target.name != NO_SERVICE):
        found.setdefault((target.host, target.port), target)
    return list(found.values())


def lines(found: Sequence[Target], form: Form) -> list[str]:
    """Write targets as lines of a pool's ``upstreams``."""
    first = found[0].priority if found else 0
    return [
        form.line(
            each.host,
            each.port,
            f"weight={each.weight}",
            *([] if each.priority == first else ["backup"]),
        )
        for each in found
    ]


def _target(record: Any) -> Target:
    # What DNS says is checked: a space in a name would begin an option of the upstream.
    try:
        host = domain_name(record.target.name.decode("ascii")).decode()
        port = a_port(str(record.port))
    except ValueError as error:
        raise ValueError(f"there is a record that cannot be used: {error}") from None
    return Target(record.priority, host, port, max(1, record.weight))
