"""
One question to one name server, by UDP or by TCP.

Twisted's own DNS client writes two lines to the log for each datagram, which nothing turns
off: tens of thousands a day where a name is asked for every few seconds.  Here is a socket
of its own for each question; the messages are Twisted's.
"""

# ruff: noqa: N802  (camelCase here is Twisted's: these are called by the reactor)

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IAddress, IReadDescriptor
from twisted.internet.protocol import Factory, connectionDone
from twisted.names.dns import Message, Query, randomSource
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from wsrelay.discovery.options import Address

__all__ = ["ask_by_tcp", "ask_by_udp"]

_LARGEST_DATAGRAM = 65535


class _Question:
    """A question, and how its answer is told from whatever else arrives."""

    def __init__(self, query: Query) -> None:
        self._message = Message(id=randomSource(), recDes=1)
        self._message.queries = [query]
        self.data = self._message.toStr()

    def answer_in(self, data: bytes) -> Message | None:
        """Return the answer that *data* is, or None if it is none to this question."""
        message = Message()
        try:
            message.fromStr(data)
        except (EOFError, ValueError):
            return None
        is_ours = message.answer and message.id == self._message.id
        # Twisted takes what ends in the middle of its records for one with fewer of them.
        is_whole = message.trunc or len(message.answers) == int.from_bytes(data[6:8])
        is_about_it = message.queries == self._message.queries
        return message if is_ours and is_whole and is_about_it else None


@implementer(IReadDescriptor)
class _Datagrams:
    """
    A UDP socket that asks one server.

    It is connected: the kernel lets nobody else answer, chooses a port that is hard to
    guess, and says at once when nothing listens there.
    """

    def __init__(self, reactor: Any, server: Address, question: _Question) -> None:
        self.answer: Deferred[Message] = Deferred()
        self._reactor = reactor
        self._question = question
        family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.connect(server)
            self._socket.send(question.data)
        except OSError:
            self._socket.close()
            raise
        reactor.addReader(self)

    def close(self) -> None:
        """Ask no more."""
        self._reactor.removeReader(self)
        self._socket.close()

    def logPrefix(self) -> str:
        """Return what Twisted calls it in its log."""
        return "DNS"

    def fileno(self) -> int:
        """Return the socket's descriptor; -1 once it is closed."""
        return self._socket.fileno()

    def doRead(self) -> None:
        """Take a datagram."""
        try:
            message = self._question.answer_in(self._socket.recv(_LARGEST_DATAGRAM))
        except BlockingIOError:  # its checksum was wrong
            return
        except OSError as error:  # the same, where it is heard of by reading
            self._end(error)
            return
        if message is not None:
            self._end(message)

    def connectionLost(self, reason: Failure) -> None:
        """Learn that the reactor has dropped the socket: nothing listens there, say."""
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._end(OSError(error, os.strerror(error)) if error else reason)

    def _end(self, outcome: Message | OSError | Failure) -> None:
        self._reactor.removeReader(self)
        if self.answer.called:
            return
        if isinstance(outcome, Message):
            self.answer.callback(outcome)
        else:
            self.answer.errback(outcome)


class _Stream(Int16StringReceiver):
    """A TCP connection that asks one server; RFC 1035 section 4.2.2."""

    def __init__(self, question: _Question) -> None:
        self.answer: Deferred[Message] = Deferred()
        self._question = question

    @override
    def connectionMade(self) -> None:
        self.sendString(self._question.data)

    @override
    def stringReceived(self, string: bytes) -> None:
        message = self._question.answer_in(string)
        if message is not None and not self.answer.called:
            self.answer.callback(message)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.answer.called:
            self.answer.errback(reason)


class _Streams(Factory):
    """Makes the one connection, without a word in the log."""

    noisy = False

    def __init__(self, question: _Question) -> None:
        self._question = question

    @override
    def buildProtocol(self, addr: IAddress | None) -> _Stream:
        return _Stream(self._question)


async def ask_by_udp(reactor: Any, server: Address, query: Query) -> Message:
    """
    Ask a server; waits without limit, until it is cancelled.

    :raises OSError: the server cannot be reached.
    """
    datagrams = _Datagrams(reactor, server, _Question(query))
    try:
        return await datagrams.answer
    finally:
        datagrams.close()


async def ask_by_tcp(reactor: Any, server: Address, query: Query) -> Message:
    """
    Ask a server; waits without limit, until it is cancelled.

    :raises Exception: the server cannot be reached, or hangs up.
    """
    kind = TCP6ClientEndpoint if ":" in server[0] else TCP4ClientEndpoint
    stream: Any = await kind(reactor, *server).connect(_Streams(_Question(query)))
    try:
        answer: Message = await stream.answer
        return answer
    finally:
        stream.transport.abortConnection()
