"""
Calls between two processes of one relay, with answers and with file descriptors.

Messages are pickles.  Both ends are processes of the same user that run the same program, one
of which has started the other; nobody else can write to the pair of sockets between them.
"""

from __future__ import annotations

import pickle
import socket
from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import partial
from typing import Any, Final

from attrs import define
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from wsrelay.log import Logger
from wsrelay.workers.stream import Frame, Stream, close_all

__all__ = ["PING", "CallTimeout", "Channel", "ChannelLost", "RemoteError", "pair"]

log = Logger()

PING: Final = "ping"
"""A call that the channel answers itself: the other process' reactor runs."""


class ChannelLost(Exception):  # noqa: N818  the name of what it is
    """The other process is gone, or has closed its end; whether a call was carried out is open."""


class CallTimeout(Exception):  # noqa: N818  the name of what it is
    """There was no answer in time; whether the call is being carried out is open."""


class RemoteError(Exception):
    """
    A call has raised something at the other side, which is in the log there.

    The text begins with the name of its type.
    """


class _Kind(IntEnum):
    CALL = 1
    TELL = 2
    ANSWER = 3
    ERROR = 4


@define(eq=False)
class _Call:
    answer: Deferred[Any]
    timer: IDelayedCall | None = None


class Channel:
    """
    One end of the connection between two processes.

    Calls and tells are handled in the order in which they were made, each when `on_call` has
    returned for the one before; answers come when they are there.

    `on_call(name, arguments, descriptors)` returns the answer, or a Deferred of it; what it
    raises goes back.  The *descriptors* are the channel's: it closes them when the answer is
    there, so whoever keeps one makes a copy (``os.dup``; ``adoptStreamPort``,
    ``socket.fromfd`` and ``mmap`` do so themselves), and nobody else closes them.

    An exception whose class has a true attribute ``travels`` goes over as itself: it has to
    be one that can be pickled.  Of all others the text does, as `RemoteError`.

    :param sock: one of `pair`; it is the channel's from now on.
    :param label: what is at the other end, for messages: "worker 1".
    """

    def __init__(self, reactor: Any, sock: socket.socket, label: str) -> None:
        self.label = label
        self.on_call: Callable[[str, tuple[Any, ...], tuple[int, ...]], Any] = _answer_nothing
        self.on_lost: Callable[[], object] = lambda: None
        self._reactor = reactor
        self._calls: dict[int, _Call] = {}
        self._last = 0
        self._stream = Stream(reactor, sock, self._take, self._ended)

    @property
    def is_open(self) -> bool:
        """Whether anything can still come or go."""
        return self._stream.is_open

    def call(
        self,
        name: str,
        *arguments: Any,
        descriptors: Sequence[int] = (),
        timeout: float | None = 10.0,
    ) -> Deferred[Any]:
        """
        Ask the other side for something.

        :param arguments: anything that can be pickled.
        :param descriptors: copies of them go along; the caller may close its own at once.
        :param timeout: seconds; None: as long as the channel is there.
        :returns: the answer; or fails with `CallTimeout`, `ChannelLost`, `RemoteError`, an
            exception that travels, or what is wrong with the arguments.
        """
        if not self.is_open:
            return fail(self._lost())
        number = self._last = self._last % 0xFFFFFFFF + 1
        try:
            payload = _packed((name, arguments))
            self._stream.send(_Kind.CALL, number, payload, descriptors)
        except Exception:
            return fail(Failure())

        def cancelled(_: Deferred[Any]) -> None:
            self._forget(number)

        call = _Call(Deferred(cancelled))
        if timeout is not None:
            call.timer = self._reactor.callLater(timeout, self._too_late, number, name, timeout)
        self._calls[number] = call
        return call.answer

    def tell(self, name: str, *arguments: Any) -> None:
        """
        Let the other side know something; lost when it is gone, or goes before it has read it.

        :raises Exception: the arguments cannot be pickled.
        """
        self._stream.send(_Kind.TELL, 0, _packed((name, arguments)))

    def close(self) -> None:
        """End it; what waits for an answer fails, and `on_lost` is called.  Any number of times."""
        if self.is_open:
            self._stream.close()
            self._ended("")

    # what was asked here

    def _forget(self, number: int) -> _Call | None:
        call = self._calls.pop(number, None)
        if call is not None and call.timer is not None and call.timer.active():
            call.timer.cancel()
        return call

    def _too_late(self, number: int, name: str, timeout: float) -> None:
        if call := self._forget(number):
            text = f"{self.label} has not answered {name!r} in {timeout:g} s"
            call.answer.errback(CallTimeout(text))

    def _lost(self) -> ChannelLost:
        return ChannelLost(f"{self.label} is gone")

    def _ended(self, why: str) -> None:
        if why:
            log.error("the connection to {label} is closed: {why}", label=self.label, why=why)
        for number in list(self._calls):
            if call := self._forget(number):
                call.answer.errback(self._lost())
        self.on_lost()

    # what arrives

    def _take(self, frame: Frame) -> None:
        try:
            kind, content = _Kind(frame.kind), pickle.loads(frame.payload)
            name, arguments = content if kind in (_Kind.CALL, _Kind.TELL) else ("", content)
        except Exception:
            close_all(frame.descriptors)
            log.failure("a message from {label} cannot be read", label=self.label)
            return self.close()
        if kind in (_Kind.ANSWER, _Kind.ERROR):
            close_all(frame.descriptors)
            if call := self._forget(frame.number):  # or it is too late
                (call.answer.callback if kind is _Kind.ANSWER else call.answer.errback)(arguments)
            return
        done = self._handle(name, arguments, frame.descriptors)
        if kind is _Kind.CALL:
            done.addCallback(partial(self._answer, frame.number))
            done.addErrback(partial(self._refuse, frame.number, name))
        else:
            done.addErrback(partial(self._log_failure, name))

    def _handle(self, name: str, arguments: Any, descriptors: tuple[int, ...]) -> Deferred[Any]:
        def close(result: Any) -> Any:
            close_all(descriptors)
            return result

        if name == PING:
            return maybeDeferred(lambda: None).addBoth(close)
        return maybeDeferred(self.on_call, name, arguments, descriptors).addBoth(close)

    def _answer(self, number: int, result: Any) -> None:
        self._stream.send(_Kind.ANSWER, number, _packed(result))

    def _refuse(self, number: int, name: str, failure: Failure) -> None:
        error: Any = failure.value
        if not getattr(error, "travels", False):
            self._log_failure(name, failure)
            error = RemoteError(f"{type(error).__name__}: {error}")
        self._stream.send(_Kind.ERROR, number, _packed(error))

    def _log_failure(self, name: str, failure: Failure) -> None:
        log.failure(
            "{label} has asked for {name!r}, and that failed",
            failure,
            label=self.label,
            name=name,
        )


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets, one for each process; no child inherits them by chance."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


def _packed(content: Any) -> bytes:
    return pickle.dumps(content, pickle.HIGHEST_PROTOCOL)


def _answer_nothing(name: str, arguments: tuple[Any, ...], descriptors: tuple[int, ...]) -> Any:
    raise LookupError(f"nobody answers {name!r} here")
