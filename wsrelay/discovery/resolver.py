"""
Asks the system's name servers, or one that relay.ini names.

Like ``getaddrinfo``, but with the time to live of what is found, and with SRV records: the
hosts file comes first, then the name servers of resolv.conf, the next one when one is silent
or fails.  Unlike it, names are asked for as they are written: the search list of resolv.conf
is not used.
"""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.names.dns import AAAA, ENAME, OK, A, Message, Query, Record_A, Record_AAAA
from twisted.names.hosts import searchFileForAll
from twisted.python.filepath import FilePath

from wsrelay.discovery.exchange import ask_by_tcp, ask_by_udp
from wsrelay.discovery.options import DNS_PORT, Address, is_address

__all__ = ["Answer", "LookupFailed", "Resolver"]

PATIENCE: Final = (1.0, 3.0)
"""Seconds that each server is given for a datagram, in the first round and in the second."""

TCP_PATIENCE: Final = 5.0
"""Seconds for the same by TCP, connecting included."""

MOST_SERVERS: Final = 3  # as many as glibc takes from resolv.conf
_CODES: Final = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}


class LookupFailed(Exception):  # noqa: N818 - says what is so
    """No server has answered the question; the text says what the last one did."""


@frozen
class Answer:
    """
    What DNS says.

    :ivar records: of the type that was asked for; none if there is no such name, or if it
        has no such records.
    :ivar ttl: seconds until it has to be asked again; None: nobody says.
    """

    records: tuple[Any, ...] = ()
    ttl: float | None = None


@frozen(eq=False)
class Resolver:
    """
    Finds records.

    :param reactor: for its sockets and timers.
    :param servers: whom to ask; empty: the hosts file, then the servers of resolv.conf.
        Both are read at each question: they are short, and change.
    """

    reactor: Any
    servers: tuple[Address, ...] = ()
    resolv_conf: Path = Path("/etc/resolv.conf")
    hosts: Path = Path("/etc/hosts")

    def ask(self, name: bytes, kind: int) -> Deferred[Answer]:
        """
        Find the records of one type.

        :param kind: A, AAAA or SRV, as a number.
        :returns: fails with `LookupFailed` after `PATIENCE` at the latest, or with OSError
            if resolv.conf cannot be read.  It can be cancelled.
        """
        return Deferred.fromCoroutine(self._ask(name, kind))

    async def _ask(self, name: bytes, kind: int) -> Answer:
        if self.servers:
            return await self._ask_servers(self.servers, Query(name, kind))
        known = searchFileForAll(FilePath(str(self.hosts)), name)
        if known and kind in (A, AAAA):
            return Answer(tuple(_records(known, kind)))
        return await self._ask_servers(read_servers(self.resolv_conf), Query(name, kind))

    async def _ask_servers(self, servers: tuple[Address, ...], query: Query) -> Answer:
        trouble = ""
        for patience in PATIENCE:
            for server in servers:
                try:
                    message = await self._exchange(server, query, patience)
                except CancelledError:
                    raise
                except Exception as error:
                    trouble = f"name server {_text(server)} {_why(error)}"
                    continue
                if message.rCode in (OK, ENAME):
                    return _answer(message, query.type)
                code = _CODES.get(message.rCode, f"code {message.rCode}")
                trouble = f"name server {_text(server)} answered {code}"
        raise LookupFailed(trouble)

    async def _exchange(self, server: Address, query: Query, patience: float) -> Message:
        message = await self._within(patience, ask_by_udp(self.reactor, server, query))
        if message.trunc:
            message = await self._within(TCP_PATIENCE, ask_by_tcp(self.reactor, server, query))
        return message

    def _within(
        self, seconds: float, asking: Coroutine[Deferred[Any], Any, Message]
    ) -> Deferred[Message]:
        return Deferred.fromCoroutine(asking).addTimeout(seconds, self.reactor)


def read_servers(path: Path) -> tuple[Address, ...]:
    """
    Read the name servers of a resolv.conf; without any it is the one on this machine.

    :raises OSError: there is a file, and it cannot be read.
    """
    try:
        lines = path.read_bytes().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        lines = []
    words = [line.split() for line in lines]
    named = [each[1] for each in words if len(each) > 1 and each[0] == "nameserver"]
    found = [each for each in named if is_address(each)]
    return tuple((each, DNS_PORT) for each in found[:MOST_SERVERS] or ["127.0.0.1"])


def _records(addresses: list[str], kind: int) -> list[Any]:
    record, is_wanted = (Record_A, False) if kind == A else (Record_AAAA, True)
    # A scope ("%eth0") has no place in a record.
    return [record(each) for each in addresses if (":" in each) is is_wanted and "%" not in each]


def _answer(message: Message, kind: int) -> Answer:
    """Return what a message says; an alias's time to live counts like that of the records."""
    records = tuple(each.payload for each in message.answers if each.type == kind)
    return Answer(records, min(each.ttl for each in message.answers)) if records else Answer()


def _text(server: Address) -> str:
    host, port = server
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "does not answer"
    return f"cannot be asked: {getattr(error, 'strerror', None) or error or type(error).__name__}"
