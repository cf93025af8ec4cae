"""One leg of the Python pump: what is read from it, what is written to it, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from wsrelay.relay.published import MAX_PUBLISHED
from wsrelay.relay.pump import PumpOwner, Side
from wsrelay.relay.transports import end_gently, is_reset, unsent
from wsrelay.wire.faults import Violation
from wsrelay.wire.frames import Boundary, Control, Event, MessageEnd, Scanner

if TYPE_CHECKING:
    from wsrelay.relay.slowness import Slowness

MAX_COLLECTED: Final = 4096
"""Bytes of a write that is not copied to go out together with others."""

WATCH: Final = 5.0
"""Seconds between two looks at a leg that is not being read."""

MAX_WAITING: Final = 16 * 1024
"""Bytes of the relay's own frames that may wait for a leg before it is no longer read."""


@implementer(IPushProducer)
@define(eq=False)
class PythonLeg:
    """
    One transport of the pair.

    As the producer of its own transport it learns when that takes no more; then the
    far leg is not read until it does.
    """

    side: Side
    transport: Any  # ITransport plus what TCP, unix and TLS transports add to it
    scanner: Scanner
    owner: PumpOwner
    reactor: IReactorTime
    far: PythonLeg = field(init=False)
    received: int = 0
    sent: int = 0
    stalls: int = 0
    pauses: int = 0
    throttles: int = 0
    last_data: float = 0.0
    blocked: bool = False  # the transport takes no more
    paused: bool = False  # the transport is not being read
    stopped: bool = False  # because what it sends has nowhere to go
    finished: bool = False  # nothing of the far leg's data goes here any more
    ending: bool = False  # to be ended as soon as nothing waits for a boundary
    detached: bool = False  # its transport is ending
    gone: bool = False
    corked: bool = False  # small writes are collected
    collected: bytearray = field(factory=bytearray)
    waiting: bytearray = field(factory=bytearray)  # frames for the next boundary
    published: bytearray = field(factory=bytearray)  # messages for the next end of one
    untaken: int = 0  # bytes of such messages that this leg did not take yet
    answers: int = 0  # bytes of the relay's own frames that this leg did not take yet
    slowness: Slowness | None = None
    _turn: IDelayedCall | None = None
    _watch: IDelayedCall | None = None

    # what comes from this leg

    def receive(self, data: bytes) -> None:
        """Take what was read from this leg's transport."""
        self.received += len(data)
        events = self.scanner.feed(data)
        if len(events) == 1 and type(events[0]) is bytes:  # nearly always
            self.last_data = self.reactor.seconds()
            self.far.pass_on(events[0])
        else:
            self._handle(events)

    def _feed(self, data: bytes) -> list[Event]:
        return self.scanner.feed(data)

    def _handle(self, events: list[Event]) -> None:
        """Do what the scanner found, with the writes of both legs in few pieces."""
        self.corked = self.far.corked = True
        try:
            for event in events:
                self._handle_one(event)
        finally:
            self.uncork()
            self.far.uncork()
        if self.has_more or self.paused:
            self.update_reading()

    def _handle_one(self, event: Event) -> None:
        if type(event) is bytes:
            self.last_data = self.reactor.seconds()
            self.far.pass_on(event)
        elif type(event) is Control:
            self.owner.control_received(self.side, event.frame)
        elif type(event) is Boundary:
            self.far.at_boundary()
        elif type(event) is MessageEnd:
            self.far.at_message_end()
        elif type(event) is Violation:
            self.owner.violated(self.side, event)

    def _go_on(self) -> None:
        """Handle more of what was read already, one turn of the reactor later."""
        self._turn = None
        if not self.may_go_on:
            return
        try:
            self._handle(self._feed(b""))
        except Exception:
            self.owner.pump_failed()

    # what goes to this leg

    @property
    def takes_data(self) -> bool:
        """
        Whether the far leg's data still goes here.

        A close frame that waits for a boundary must not stop the frame before it.
        """
        return not self.finished or bool(self.waiting)

    @property
    def mid_frame(self) -> bool:
        """Whether this leg has got a part of a frame."""
        return self.far.scanner.mid_frame and self.takes_data

    def pass_on(self, data: bytes) -> None:
        """Write the far leg's data."""
        if not self.finished or self.waiting:  # takes_data, without a call for each frame
            self._write(data)

    def send(self, frame: bytes) -> None:
        """Write a frame of the relay's own, now or at the next boundary."""
        if self.mid_frame:
            if not self.waiting:
                self.stalls += 1
            self.waiting += frame
        else:
            self._write(frame)
        if self.waiting or self.blocked:
            self.answers += len(frame)
            self.update_reading()

    def at_boundary(self) -> None:
        """Write what waited for the far leg's frame to end."""
        if not self.waiting:
            return
        frames = bytes(self.waiting)
        self.waiting.clear()
        self.answers = 0
        self._write(frames)
        self.update_reading()
        self.far.update_reading()
        if self.ending:
            self.shut()

    def inject(self, frame: bytes) -> bool:
        """Write a message of the relay's own, now or at the next end of one, or do not."""
        if self.finished or self.ending or self.detached or self.gone:
            return False
        if not (self.published or self.blocked or self.corked):
            self.untaken = 0
        if self.untaken and self.untaken + len(frame) > MAX_PUBLISHED:
            return False
        self.untaken += len(frame)
        # The scanner may be ahead of what has been passed on so far.
        if self.corked or self.far.scanner.mid_message:
            self.published += frame
            self.far.scanner.marks_end = True
        else:
            self._write_message(frame)
        return True

    def at_message_end(self) -> None:
        """Write what waited for the far leg's message to end."""
        if self.published:
            messages = bytes(self.published)
            self.published.clear()
            self.far.scanner.marks_end = False
            self._write_message(messages)

    def _write_message(self, data: bytes) -> None:
        self.last_data = self.reactor.seconds()
        self._write(data)

    def _write(self, data: bytes) -> None:
        self.sent += len(data)
        if not self.corked:
            self.transport.write(data)
        elif len(data) < MAX_COLLECTED:
            self.collected += data
        else:
            self._write_collected()
            self.transport.write(data)

    def uncork(self) -> None:
        """Write what was collected."""
        self.corked = False
        self._write_collected()
        if self.published and not self.far.scanner.mid_message:
            self.at_message_end()

    def _write_collected(self) -> None:
        if self.collected:
            data = bytes(self.collected)
            self.collected.clear()
            self.transport.write(data)

    # numbers

    def totals(self) -> tuple[int, int, int, int, int, int]:
        """Return this leg's part of `Totals`."""
        scanner = self.scanner
        return (
            *(scanner.messages, scanner.binary_messages, scanner.payload),
            *(self.received, self.sent, self.pauses),
        )

    @property
    def buffered(self) -> int:
        """Bytes that wait, for this leg or of what came from it."""
        if self.gone:
            return 0
        waiting = len(self.collected) + len(self.waiting) + len(self.published)
        return self.scanner.held + waiting + unsent(self.transport)

    # flow control

    @property
    def may_be_read(self) -> bool:
        """Whether what this leg sends has somewhere to go."""
        return not self.gone and not (
            (self.far.blocked and self.far.takes_data) or self.answers > MAX_WAITING
        )

    @property
    def may_go_on(self) -> bool:
        """Whether more of what was read already may be handled."""
        return self.may_be_read

    @property
    def has_more(self) -> bool:
        """Whether there is more of what was read already."""
        return self.scanner.backlog

    @property
    def _pause(self) -> float:
        """Seconds until it goes on with what was read already."""
        return 0.0

    def update_reading(self) -> None:
        """Read this leg, or do not."""
        stopped = not self.gone and not self.may_be_read
        self.pauses += stopped and not self.stopped
        self.stopped = stopped
        has_more = self.has_more
        paused = not self.gone and (has_more or stopped)
        if has_more and self._turn is None and self.may_go_on:
            self._turn = self.reactor.callLater(self._pause, self._go_on)
        if paused == self.paused:
            return
        self.paused = paused
        if paused:
            self.transport.pauseProducing()
            self._watch = self.reactor.callLater(WATCH, self._look)
        else:
            cancel(self._watch)
            if not self.gone:
                self.transport.resumeProducing()

    def _look(self) -> None:
        """See whether a leg that is not being read has been reset meanwhile."""
        if is_reset(self.transport):
            self.abort()
        else:
            self._watch = self.reactor.callLater(WATCH, self._look)

    def pauseProducing(self) -> None:  # noqa: N802  called by the transport
        """Wait: this leg takes no more for now."""
        self.blocked = True
        self.stalls += 1
        if self.slowness is not None:
            self.slowness.begin()
        self.far.update_reading()

    def resumeProducing(self) -> None:  # noqa: N802  called by the transport
        """Go on: this leg has taken what was written."""
        # A TLS transport that is closing meanwhile would forget to, waiting for its producer.
        self.transport.unregisterProducer()
        self.transport.registerProducer(self, True)
        self._unblock()
        if not self.waiting:
            self.answers = 0
        if not self.published:
            self.untaken = 0
        self.far.update_reading()
        self.update_reading()

    def stopProducing(self) -> None:  # noqa: N802  called by the transport
        """Do nothing: the transport's owner reports that it ended."""

    # the end

    def shut(self) -> None:
        """End the transport gently, reading on so that its end is seen."""
        self.ending = bool(self.waiting)
        if not self.ending:
            self._detach()
            end_gently(self.transport)

    def abort(self) -> None:
        """End the transport at once."""
        self._detach()
        self.transport.abortConnection()

    def lost(self) -> None:
        """Tell that the transport has ended, after what it still had to say."""
        while self.scanner.backlog:
            self._handle(self._feed(b""))
        self._leave()

    def _leave(self) -> None:
        """Let go, and tell so."""
        self._let_go()
        self.owner.leg_lost(self.side)

    def _let_go(self) -> None:
        self.gone = True
        self._unblock()
        cancel(self._turn)
        self.update_reading()
        self.far.update_reading()

    def _unblock(self) -> None:
        self.blocked = False
        if self.slowness is not None:
            self.slowness.end()

    def _detach(self) -> None:
        """Stop pausing and being paused."""
        self.detached = True
        self.published.clear()
        self._write_collected()
        self.transport.unregisterProducer()
        self._unblock()
        self.answers = 0
        self.update_reading()
        self.far.update_reading()


def cancel(timer: IDelayedCall | None) -> None:
    """Stop a timer, if there is one and it is not over."""
    if timer is not None and timer.active():
        timer.cancel()
