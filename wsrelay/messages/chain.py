"""
The filters of one session, asked about each message one after the other.

What a filter does wrong is its own affair: it is logged, and ``on_error`` decides about the
message.  A session that ends is not decided about any more, whatever filters still answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import CoroutineType
from typing import Any, Final, Literal

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from wsrelay.interfaces import Close, Drop, IMessageFilter, ISession, ISessionFilter
from wsrelay.log import Logger
from wsrelay.messages.answers import answer_of
from wsrelay.messages.session import FilteredSession
from wsrelay.wire.close import INTERNAL_ERROR

__all__ = ["FAILED", "Chain"]

log = Logger()

Decided = Callable[[bytes | Drop | Close], None]

FAILED: Final = Close(INTERNAL_ERROR, "a filter failed")
"""What ``on_error = close`` decides."""

_OUTCOME: Final = {
    "close": "; the session is closed",
    "pass": "; the message is passed on as it was",
}


class Chain:
    """
    The filters of one session, asked one after the other; one message a direction at a time.

    :param filters: each with the name that relay.ini calls it, in the order of the file.
    :param timeout: seconds that each of them has for its answer about a message.
    :param on_error: what becomes of a message when one fails.
    """

    def __init__(
        self,
        filters: Sequence[tuple[str, IMessageFilter]],
        session: ISession,
        reactor: IReactorTime,
        timeout: float,
        on_error: Literal["close", "pass"],
    ) -> None:
        self.filters = tuple(filters)
        self.session = session
        self.reactor = reactor
        self.timeout = timeout
        self.on_error = on_error
        self._asked: dict[str, _Message] = {}  # by direction
        self._told: list[tuple[str, ISessionFilter]] = []  # of the beginning
        self._is_over = False

    def opened(self) -> None:
        """Tell those filters that want to know that the session begins; called once."""
        for name, each in self.filters:
            if self._is_over:
                return
            if ISessionFilter.providedBy(each):
                self._told.append((name, each))
                self._tell(name, each.opened)

    def take(self, direction: str, payload: bytes, is_binary: bool, decided: Decided) -> None:
        """
        Ask the filters about a message; not while the one before it is undecided.

        :param payload: a text's is valid UTF-8.
        :param decided: called exactly once, maybe before this returns, with the payload to
            pass on, `DROP` or a `Close` as it can be sent; never after `end`.  It must not
            raise.  It may call this for the next message, each one level deeper in the stack.
        """
        assert direction not in self._asked, f"a message {direction} is undecided"
        if not self._is_over:
            message = self._asked[direction] = _Message(
                self, direction, payload, is_binary, decided
            )
            message.go_on()

    def end(self) -> None:
        """
        Decide nothing any more, and tell the filters that were told of the beginning.

        What is waited for is cancelled, and filters reach the session no more.  Any number of
        times.
        """
        if self._is_over:
            return
        self._is_over = True
        for message in list(self._asked.values()):
            message.end()
        self._asked.clear()
        if isinstance(self.session, FilteredSession):
            self.session.end()
        for name, each in self._told:
            self._tell(name, each.ended)
        self._told.clear()

    # for its messages

    def forget(self, direction: str) -> None:
        """Take the next message in a direction."""
        self._asked.pop(direction, None)

    def fault(self, name: str, what: str, failure: Failure | None = None) -> None:
        """Log what a filter did wrong."""
        tell = log.error if failure is None else partial(log.failure, failure=failure)
        tell(
            "session {id}: filter {name} of route {route} {what}{outcome}",
            id=self.session.id,
            name=name,
            route=self.session.route,
            what=what,
            outcome=_OUTCOME[self.on_error],
        )

    def _tell(self, name: str, method: Callable[[ISession], None]) -> None:
        try:
            method(self.session)
        except Exception:
            log.failure(
                "session {id}: filter {name} of route {route} failed when it was told",
                id=self.session.id,
                name=name,
                route=self.session.route,
            )


@define(eq=False)
class _Message:
    """One message, and how far along the filters it is."""

    chain: Chain
    direction: str
    payload: bytes
    is_binary: bool
    decided: Decided
    _asked: int = field(default=0, init=False)
    _answer: Deferred[Any] | None = field(default=None, init=False)  # that is waited for
    _timer: IDelayedCall | None = field(default=None, init=False)
    _is_going: bool = field(default=False, init=False)
    _is_over: bool = field(default=False, init=False)

    def go_on(self) -> None:
        """Ask the filters that are left, until one takes its time or decides."""
        filters = self.chain.filters
        self._is_going = True  # an answer that is there at once goes on here, not one level deeper
        while not self._is_over and self._answer is None and self._asked < len(filters):
            name, each = filters[self._asked]
            self._asked += 1
            self._ask(name, each)
        self._is_going = False
        if not self._is_over and self._answer is None:
            self._decide(self.payload)

    def end(self) -> None:
        """Wait for nothing any more, and decide nothing."""
        self._is_over = True
        self._stop_waiting()

    def _ask(self, name: str, each: IMessageFilter) -> None:
        session = self.chain.session
        try:
            answer = each.message(session, self.direction, self.payload, self.is_binary)
        except Exception:
            self._failed(name, "failed", Failure())
            return
        if isinstance(answer, Deferred):
            self._await(name, answer)
        else:
            self._take(name, answer)

    def _await(self, name: str, answer: Deferred[Any]) -> None:
        self._answer = answer
        answer.addBoth(self._answered, answer, name)
        if self._is_over:  # the filter has ended the session, and nobody will ask
            self._stop_waiting()
        elif self._answer is answer:
            self._timer = self.chain.reactor.callLater(self.chain.timeout, self._too_late, name)

    def _answered(self, result: Any, answer: Deferred[Any], name: str) -> None:
        if self._answer is not answer:
            return  # too late, or cancelled
        self._answer = None
        self._stop_waiting()
        if isinstance(result, Failure):
            self._failed(name, "failed", result)
        else:
            self._take(name, result)
        if not self._is_going:
            self.go_on()

    def _too_late(self, name: str) -> None:
        self._timer = None
        self._stop_waiting()
        self._failed(name, f"did not answer within {self.chain.timeout:g} s")
        self.go_on()

    def _take(self, name: str, answer: object) -> None:
        if self._is_over:
            return
        try:
            checked = answer_of(answer, self.payload, is_binary=self.is_binary)
        except ValueError as error:
            if isinstance(answer, CoroutineType):
                answer.close()  # else Python warns that nobody awaited it
            self._failed(name, str(error))
            return
        if isinstance(checked, bytes):
            self.payload = checked
        else:
            self._decide(checked)

    def _failed(self, name: str, what: str, failure: Failure | None = None) -> None:
        """Close, or go on with the message as it was."""
        self.chain.fault(name, what, failure)
        if not self._is_over and self.chain.on_error == "close":
            self._decide(FAILED)

    def _decide(self, answer: bytes | Drop | Close) -> None:
        self._is_over = True
        self.chain.forget(self.direction)
        self.decided(answer)

    def _stop_waiting(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        answer, self._answer = self._answer, None
        if answer is not None:
            try:
                answer.cancel()
            except Exception:  # its canceller is the filter's
                log.failure("session {id}: an answer of a filter's", id=self.chain.session.id)
