"""
One connection to a Redis: commands out, answers in, in order.

RESP (https://redis.io/docs/latest/develop/reference/protocol-spec/) is written and read by
hiredis, the parser of Redis' own makers.  What is left is the order of the answers, and that
none is waited for longer than a deadline.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

__all__ = ["Argument", "Away", "RedisConnection", "Subscribed"]

Argument = bytes | str | int

GREETING: Final = 2.0
"""Seconds that each answer may take until the connection is in use, TLS included."""


class Away(Exception):  # noqa: N818  says what is so
    """
    Redis did not do what it was asked to, and the connection is over.

    :param kind: ``slow``, ``lost``, ``connect``, ``refused`` (an error for an answer) or
        ``protocol``.
    :param why: a part of a sentence, for the operator; nothing secret.
    """

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind
        self.why = why


@define
class _Asked:
    """A command that is not answered yet."""

    at: float
    answer: Deferred[Any] | None  # None: nobody waits for it
    is_secret: bool = False


@define(eq=False)
class RedisConnection(Protocol):
    """
    Sends commands and gets answers.

    The first thing that goes wrong ends it, whatever it is: an answer that is late, an error
    for an answer, bytes that are no answer.  Whoever waits gets `Away`, and *on_lost* is
    called once, when it was the connection's end.

    :param deadline: seconds within which everything is answered.
    :param on_trip: told how many seconds each answer took.
    """

    transport: Any = field(init=False)  # TCP, TLS or unix
    reactor: Any
    on_lost: Callable[[Away], None]
    on_trip: Callable[[float], None]
    deadline: float = GREETING
    _reader: Any = field(factory=hiredis.Reader, init=False)
    _pending: deque[_Asked] = field(factory=deque, init=False)
    _watch: IDelayedCall | None = field(default=None, init=False)
    _end: Away | None = field(default=None, init=False)

    def call(self, *command: Argument, is_secret: bool = False) -> Deferred[Any]:
        """
        Send a command; fires with the answer, or fails with `Away`.  It may be cancelled.

        :param is_secret: an error for an answer is told without what it says, which may be
            what was sent.
        """
        answer: Deferred[Any] = Deferred()
        if self._end is not None:
            answer.errback(self._end)
        else:
            self._send(command, _Asked(self.reactor.seconds(), answer, is_secret))
        return answer

    def tell(self, *command: Argument) -> None:
        """Send a command whose answer nobody waits for; an error ends the connection, too."""
        if self._end is None:
            self._send(command, _Asked(self.reactor.seconds(), None))

    def allow(self, seconds: float) -> None:
        """Wait so long for answers from now on, to what was asked already, too."""
        self.deadline = seconds
        if self._watch is not None:
            self._watch.cancel()
            self._look()

    def fail(self, kind: str, why: str) -> None:
        """End the connection at once."""
        if self._end is None:
            self._over(Away(kind, why))
            self.transport.abortConnection()

    def close(self) -> None:
        """End the connection when all is sent; nobody is told."""
        self.on_lost = _nobody
        if self._end is None:
            self._over(Away("lost", "the connection is closed"))
            self.transport.loseConnection()

    def _send(self, command: tuple[Argument, ...], asked: _Asked) -> None:
        self._pending.append(asked)
        self.transport.write(_packed(command))
        if self._watch is None:
            self._watch = self.reactor.callLater(self.deadline, self._look)

    def _look(self) -> None:
        """Look whether the oldest command is late; one timer for all of them."""
        self._watch = None
        if not self._pending:
            return
        left = self._pending[0].at + self.deadline - self.reactor.seconds()
        if left > 0:
            self._watch = self.reactor.callLater(left, self._look)
        else:
            # Perhaps it is this process that was late, and the answer is there to be read.
            self._watch = self.reactor.callLater(0, self._look_again, self._pending[0])

    def _look_again(self, oldest: _Asked) -> None:
        self._watch = None
        if self._pending and self._pending[0] is oldest:
            self.fail("slow", f"it did not answer within {self.deadline:g} s")
        else:
            self._look()

    @override
    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            # Else what is told waits for the acknowledgement of what was told before.
            self.transport.setTcpNoDelay(True)

    @override
    def dataReceived(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while self._end is None and (reply := self._reader.gets()) is not False:
                self._take(reply)
        except hiredis.HiredisError as error:
            self.fail("protocol", f"it speaks no RESP: {error}")

    def _take(self, reply: Any) -> None:
        if not self._pending:
            self.fail("protocol", "it answered what nobody asked")
            return
        asked = self._pending.popleft()
        if isinstance(reply, hiredis.ReplyError):
            what = str(reply)
            self._pending.appendleft(asked)  # it learns of the end, as all do
            self.fail("refused", f"it says {what.split(' ')[0] if asked.is_secret else what}")
            return
        self.on_trip(self.reactor.seconds() - asked.at)
        if asked.answer is not None and not asked.answer.called:
            asked.answer.callback(reply)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._end is None:
            self._over(Away("lost", f"the connection was lost: {_words(reason)}"))

    def _over(self, end: Away) -> None:
        self._end = end
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        pending, self._pending = self._pending, deque()
        for each in pending:
            if each.answer is not None and not each.answer.called:
                each.answer.errback(end)
        on_lost, self.on_lost = self.on_lost, _nobody
        on_lost(end)


@define(eq=False)
class Subscribed(RedisConnection):
    """
    A connection that is told what is published, between the answers.

    :param on_message: called with each message; what it raises ends the connection.
    """

    on_message: Callable[[bytes], None] = field(kw_only=True)

    @override
    def _take(self, reply: Any) -> None:
        if isinstance(reply, list) and len(reply) == 3 and reply[0] == b"message":
            self.on_message(reply[2])
        else:
            super()._take(reply)


_packed: Final = cast(Callable[[tuple[Argument, ...]], bytes], hiredis.pack_command)
"""It takes a tuple of any length, whatever its annotation says."""


def _words(reason: Failure) -> str:
    return reason.getErrorMessage().rstrip(".")


def _nobody(_end: Away) -> None:
    """Be told of an end that was expected."""
