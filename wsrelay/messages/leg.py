"""One leg of the pump for whole messages: what is read from it, and what is written to it."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall
from typing_extensions import override

from wsrelay.interfaces import DOWN, UP, Close, Drop
from wsrelay.messages.fault import Broken
from wsrelay.messages.filters import Filters
from wsrelay.messages.outgoing import PIECE, Outgoing, masked
from wsrelay.messages.protocols import ClientMessages, Message, UpstreamMessages
from wsrelay.relay.published import MAX_PUBLISHED
from wsrelay.relay.pump import Side
from wsrelay.relay.python_leg import MAX_WAITING, PythonLeg, cancel
from wsrelay.relay.transports import unsent
from wsrelay.wire.faults import Violation
from wsrelay.wire.frames import Boundary, Control, Event

DIRECTION: Final = {Side.CLIENT: UP, Side.UPSTREAM: DOWN}
"""Where the messages of a leg go, as filters call it."""

TURN: Final = 64
"""Messages that one leg may pass on in one turn of the reactor; those that are long count for
more, one for each `UNIT` of them."""

UNIT: Final = 16 * 1024
"""Bytes."""


@define(eq=False)
class MessageLeg(PythonLeg):
    """
    One transport of the pair, as a `PythonLeg` is, read and written in whole messages.

    What was read waits in the order of the wire: behind a message that a filter is asked
    about, and while the far leg takes no more.  It is read on meanwhile until something has to
    wait, so that a loss is noticed at once, and a message that is decided about soon costs no
    pause.

    :ivar patience: seconds for which the end of this leg is not told while what it had sent
        still has to wait.
    """

    far: MessageLeg = field(init=False)
    messages: ClientMessages | UpstreamMessages = field(init=False)
    filters: Filters | None = None
    patience: float = 0.0
    _events: deque[Event] = field(factory=deque)
    _outgoing: deque[Outgoing] = field(factory=deque)
    _asked: Message | None = None  # what the filters are asked about
    _working: bool = False
    _is_broken: bool = False  # what comes is discarded
    _loss_untold: bool = False
    _last_words: IDelayedCall | None = None

    # what comes from this leg

    @override
    def receive(self, data: bytes) -> None:
        self.received += len(data)
        self._handle(self._feed(data))

    @override
    def _handle(self, events: list[Event]) -> None:
        if not self._is_broken:
            # Where a frame ends says nothing here: messages go out whole.
            self._events.extend([each for each in events if type(each) is not Boundary])
        self._work()

    def _work(self) -> None:
        """Handle what was read as far as it goes, with the writes of both legs in few pieces."""
        if self._working:
            return
        self._working = self.corked = self.far.corked = True
        left = TURN
        try:
            while left > 0 and (self._events or self.messages.has_data) and self.may_go_on:
                left -= self._step()
        finally:
            self._working = False
            self.uncork()
            self.far.uncork()
        if self._loss_untold and not self._has_events and not self._is_asking:
            self._tell_loss()
        if self.has_more or self.paused:
            self.update_reading()

    def _step(self) -> int:
        """Handle one event, or one message; say what it was worth."""
        if self.messages.has_data:
            return self._read_message()
        event = self._events.popleft()
        if type(event) is bytes:
            if self.far.takes_data:
                self.last_data = self.reactor.seconds()
                self.messages.feed(event)
        elif type(event) is Control:
            self.owner.control_received(self.side, event.frame)
        elif type(event) is Violation:
            self._break(event)
        return 0

    def _read_message(self) -> int:
        if not self.far.takes_data:
            self.messages.clear()
            return 0
        try:
            message = self.messages.next_message()
        except Broken as error:
            self._break(error.violation)
            return 1
        if message is None:
            return 1
        if self.filters is None:
            self.far.say(*message)
        else:
            self._asked = message
            self.filters.take(DIRECTION[self.side], *message, partial(self._decided, message))
        return 1 + len(message.payload) // UNIT

    def _decided(self, message: Message, decision: bytes | Drop | Close) -> None:
        """Do what the filters say about a message, now or later; called by them."""
        if self._asked is not message:
            return  # it was given up
        self._asked = None
        try:
            if isinstance(decision, bytes):
                self.far.say(decision, message.is_binary)
            elif isinstance(decision, Close):
                self.owner.close(decision.code, decision.reason, "filter")
            self._work()
        except Exception:
            self.owner.pump_failed()

    def _break(self, violation: Violation) -> None:
        self._discard()
        self.owner.violated(self.side, violation)

    def _discard(self) -> None:
        """Discard what came and what comes."""
        self._is_broken = True
        self._events.clear()
        self.messages.clear()

    @override
    def _go_on(self) -> None:
        self._turn = None
        if not self.may_go_on:
            return
        try:
            more = self.scanner.backlog and not self._events
            self._handle(self._feed(b"") if more else [])
        except Exception:
            self.owner.pump_failed()

    # what goes to this leg

    @property
    @override
    def takes_data(self) -> bool:
        return not self.finished and not self.gone

    @property
    @override
    def mid_frame(self) -> bool:
        return False  # what follows a frame waits behind it, see `_write`

    def say(self, payload: bytes, is_binary: bool) -> None:
        """Send a message."""
        if self.takes_data:
            self.messages.say(payload, is_binary)

    @property
    def takes_more(self) -> bool:
        """Whether a message of the relay's own may be sent, though it may have to wait."""
        return self.takes_data and not (self.blocked and self._unwritten > MAX_PUBLISHED)

    def write_frame(self, head: bytes, payload: bytes, mask: bytes) -> None:
        """Write a frame, of which the transport is given only as much as it takes."""
        if len(payload) <= PIECE and not self._outgoing:
            self._write(head + (masked(payload, mask) if mask else payload))
        else:
            self._outgoing.append(Outgoing(head, payload, mask))
            self._pour()

    @override
    def _write(self, data: bytes) -> None:
        if self._outgoing:
            self._outgoing.append(Outgoing(data, b"", b""))
        else:
            super()._write(data)

    def _pour(self) -> None:
        """Write on, until the transport takes no more."""
        while self._outgoing and not self.blocked:
            frame = self._outgoing[0]
            if frame.payload:  # it takes as long as its receiver wants, and that is not idle
                self.last_data = self.reactor.seconds()
            super()._write(frame.next())
            if not frame.left:
                self._outgoing.popleft()

    # numbers

    @property
    def _unwritten(self) -> int:
        return sum(frame.left for frame in self._outgoing) + unsent(self.transport)

    @property
    @override
    def buffered(self) -> int:
        asked = 0 if self._asked is None else len(self._asked.payload)
        events = sum(len(event) for event in self._events if isinstance(event, bytes))
        outgoing = sum(frame.left for frame in self._outgoing)
        return super().buffered + asked + events + outgoing + self.messages.held

    # flow control

    @property
    def _is_asking(self) -> bool:
        return self._asked is not None and self.far.takes_data

    @property
    def _has_events(self) -> bool:
        return bool(self._events) or self.messages.has_data or self.scanner.backlog

    @property
    @override
    def may_go_on(self) -> bool:
        if not self.far.takes_data:
            return True  # it is discarded
        return self._asked is None and not self.far.blocked and self.answers <= MAX_WAITING

    @property
    @override
    def has_more(self) -> bool:
        return self._loss_untold or (not self._is_broken and self._has_events)

    @override
    def resumeProducing(self) -> None:
        self._unblock()
        self._pour()
        if not self.blocked:
            super().resumeProducing()

    # the end

    @override
    def abort(self) -> None:
        self._outgoing.clear()
        super().abort()

    def hurry(self) -> None:
        """Wait no longer with the end of a transport that has ended."""
        if self._last_words is not None and self._loss_untold:
            self._last_words.reset(0)

    @override
    def _detach(self) -> None:
        self.finished = True
        super()._detach()
        self._pour()
        self._write_collected()

    @override
    def lost(self) -> None:
        """
        Tell that the transport has ended, after what it still had to say.

        That may have to wait for a filter, or for the far leg to take more.
        """
        self._outgoing.clear()
        cancel(self._turn)
        self._turn = None
        self._loss_untold = True
        self._let_go()
        self._work()
        if self._loss_untold:
            self._last_words = self.reactor.callLater(self.patience, self._give_up)

    def _give_up(self) -> None:
        """Do without what is still to be said."""
        self._asked = None
        self._discard()
        try:
            self._tell_loss()
        except Exception:
            self.owner.pump_failed()

    def _tell_loss(self) -> None:
        self._loss_untold = False
        cancel(self._last_words)
        cancel(self._turn)
        self._turn = None  # a paced leg would bring it forward
        self.messages.let_go()
        self.owner.leg_lost(self.side)
