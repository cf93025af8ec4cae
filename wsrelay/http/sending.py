"""Sending a file to a client, no faster than the client takes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from zope.interface import implementer

from wsrelay.http.answers import FileAnswer, Span

PIECE: Final = 64 * 1024
"""Most bytes that are read at once."""

BURST: Final = 4
"""Most pieces in one turn of the reactor, if the transport does not say that it is enough."""

PATIENCE: Final = 60.0
"""Seconds that a client may take for what the transport holds, 128 KiB and a head at most."""


class _Broken(Exception):  # noqa: N818 - the file is, not the relay
    """The file does not hold what the head promised; the text says why."""


@implementer(IPushProducer)
@define(eq=False)
class FileSender:
    """
    Sends the body of one `FileAnswer`, behind a head that its owner wrote.

    The owner is told the end once, unless it calls `stop`, or the transport calls
    `stopProducing`, which it does when its connection is gone: the owner hears of that
    by itself.  However it ends, the file is closed, and the transport has no producer.

    :param done: called when all of the body was written; perhaps before `start` returns.
    :param broken: called instead with the reason, when that cannot be: the file became
        shorter, or could not be read, or the client takes nothing.  The head promised a
        length, so only the connection's abrupt end can tell the client.
    :param patience: seconds that the client may take nothing.
    :ivar sent: bytes that were written so far.
    """

    _answer: FileAnswer
    _transport: Any  # TCP, unix or TLS
    _reactor: Any
    _done: Callable[[], object]
    _broken: Callable[[str], object]
    _patience: float = PATIENCE
    sent: int = field(init=False, default=0)
    _pieces: Iterator[bytes] = field(init=False)
    _is_over: bool = field(init=False, default=False)
    _is_paused: bool = field(init=False, default=False)
    _timer: IDelayedCall | None = field(init=False, default=None)

    def start(self) -> None:
        """Begin, once."""
        self._pieces = _read(self._answer)
        self._transport.registerProducer(self, True)
        self._go_on()

    def stop(self) -> None:
        """Send no more, and tell nobody: the client is gone.  Any number of times."""
        self._finish()

    def pauseProducing(self) -> None:  # noqa: N802  called by the transport
        """Wait: the client takes no more for now."""
        if not self._is_over:
            self._is_paused = True
            self._wait(self._patience, self._too_slow)

    def resumeProducing(self) -> None:  # noqa: N802  called by the transport
        """Go on: the client has taken what was written."""
        self._is_paused = False
        self._go_on()

    def stopProducing(self) -> None:  # noqa: N802  called by the transport
        """Send no more: the connection is gone."""
        self._close()

    def _go_on(self) -> None:
        for _ in range(BURST):
            if self._is_over or self._is_paused:
                return
            try:
                piece = next(self._pieces, None)
            except _Broken as problem:
                self._break(str(problem))
                return
            if piece is None:
                self._finish()
                self._done()
                return
            self.sent += len(piece)
            self._transport.write(piece)
        if not self._is_over and not self._is_paused:
            # A transport that never pauses drops what it is given; it is about to say so.
            self._wait(0, self._go_on)

    def _too_slow(self) -> None:
        self._break(f"the client took nothing for {self._patience:g} seconds")

    def _break(self, why: str) -> None:
        self._finish()
        self._broken(why)

    def _finish(self) -> None:
        if not self._is_over:
            self._close()
            self._transport.unregisterProducer()

    def _close(self) -> None:
        self._is_over = True
        self._stop_timer()
        self._answer.close()

    def _wait(self, seconds: float, then: Callable[[], object]) -> None:
        self._stop_timer()
        self._timer = self._reactor.callLater(seconds, then)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


def _read(answer: FileAnswer) -> Iterator[bytes]:
    """Read the body, a piece at a time; the file's own position does not matter."""
    for each in answer.pieces:
        if isinstance(each, bytes):
            yield each
        elif answer.file is not None:
            yield from _read_span(answer.file.fileno(), each)


def _read_span(number: int, span: Span) -> Iterator[bytes]:
    offset, end = span.offset, span.offset + span.length
    while offset < end:
        try:
            data = os.pread(number, min(PIECE, end - offset), offset)
        except OSError as error:
            raise _Broken(f"the file could not be read ({error.strerror})") from error
        if not data:
            raise _Broken("the file became shorter while it was sent")
        yield data
        offset += len(data)
