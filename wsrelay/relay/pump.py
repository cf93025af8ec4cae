"""
What moves a session's bytes: the interface that every pump shares.

A pump passes data frames from socket to socket without decoding them and hands up
only what somebody has to think about: control frames, violations, a leg that ended.
`wsrelay.relay.python_pump` is the one that runs everywhere, `wsrelay.relay.native_pump`
the fast one, for plain sockets on Linux.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, Protocol

from attrs import frozen
from twisted.internet.interfaces import IReactorTime, ITransport

from wsrelay.wire.faults import Limits, Violation


class Side(Enum):
    """Which leg of a session, or which peer, is meant."""

    CLIENT = "client"
    UPSTREAM = "upstream"

    __hash__ = object.__hash__  # Enum's own is written in Python, and hashes the name

    other: Side
    """The side across the session."""


Side.CLIENT.other, Side.UPSTREAM.other = Side.UPSTREAM, Side.CLIENT


class PumpOwner(Protocol):
    """
    What a pump tells the session that owns it.

    All calls come in the reactor's thread and in the order of the wire: whatever is sent
    during `control_received` goes out behind what stood before that frame.
    """

    def control_received(self, side: Side, frame: bytes) -> None:
        """Take a whole control frame from *side*, as it came."""

    def violated(self, side: Side, violation: Violation) -> None:
        """Learn that *side* broke the protocol or a limit; the rest from it is discarded."""

    def pump_failed(self) -> None:
        """Learn, inside an exception handler, that the pump cannot go on."""

    def leg_lost(self, side: Side) -> None:
        """Learn that *side*'s transport has ended, for whatever reason.  Comes once a leg."""

    def leg_slow(self, side: Side) -> None:
        """Learn, once a leg, that *side* takes nothing, `PumpOptions.slow` seconds long."""

    def close(self, code: int, reason: str, why: str) -> None:
        """End the session, as what looks into its messages wants; see `Session.close`."""


@frozen(cache_hash=True)
class PumpOptions:
    """
    How one session's bytes are checked.

    *bits* are the reserved bits that the negotiated extensions use; *up* limits what
    the client sends, *down* what the upstream sends, though nothing limits the upstream's pace.
    *slow*: seconds for which a leg may take nothing while something waits for it (None:
    for ever); it is noticed up to a quarter of that later.
    """

    bits: int
    up: Limits
    down: Limits
    slow: float | None = None


class Totals(NamedTuple):
    """
    All that a pump has counted; see the methods of `Pump` by these names.

    *pauses* of a leg: how often it was not read any more because something could not be
    written, which as a rule means that the other leg took no more.  *buffered*: bytes that
    the relay keeps of both directions at the moment, be they unsent or the beginning of a
    frame.  *throttles*: how often a part of what was read from the client had to wait, because
    it came faster than it may; that is no pause.
    """

    client_messages: int
    client_binary_messages: int
    client_payload: int
    client_received: int
    client_sent: int
    client_pauses: int
    upstream_messages: int
    upstream_binary_messages: int
    upstream_payload: int
    upstream_received: int
    upstream_sent: int
    upstream_pauses: int
    buffered: int
    throttles: int = 0


class Pump(Protocol):
    """
    The bytes of one session.

    A leg's numbers count from the pump's start: see `messages`, `payload`, `received`
    and `sent`.  Calls for a leg whose transport has ended do nothing.
    """

    def start(self, head: bytes, from_client: bytes, from_upstream: bytes) -> None:
        """
        Begin: send the client *head*, the 101, which counts for nothing; then pass on.

        *from_client* arrived behind the request, *from_upstream* behind the 101.
        """

    def received_from(self, side: Side) -> Callable[[bytes], None]:
        """Return what the owner of *side*'s transport calls with each read."""

    def lost(self, side: Side) -> None:
        """Learn that *side*'s transport has ended."""

    def send(self, side: Side, frame: bytes) -> None:
        """Send a control frame to *side*, as soon as no data frame is under way to it."""

    def finish(self, side: Side) -> None:
        """
        Pass no more data to *side*; what the other side still sends is discarded.

        Called right after `send` of a close frame, and like it takes effect at the
        next frame boundary.
        """

    def inject(self, side: Side, payload: bytes, is_binary: bool) -> bool:
        """
        Send a data message of the relay's own to *side*, as soon as no message is under way to it.

        A text is UTF-8.  It counts for `sent` and for `last_data`, and for nothing else.

        :returns: False if it was not taken: `finish`, `shut` or `abort` was called for
            *side* or its transport has ended, or too much of what was taken before still
            waits.  What waits for the end of a message is dropped by `finish`.
        """

    def is_cut(self, side: Side) -> bool:
        """Tell whether *side* was left inside a frame whose sender is gone for good."""

    def shut(self, side: Side) -> None:
        """End *side*'s transport once all is written; it is read, and discarded, until it ends."""

    def abort(self, side: Side) -> None:
        """End *side*'s transport at once."""

    def messages(self, side: Side) -> int:
        """Count complete data messages from *side*."""

    def binary_messages(self, side: Side) -> int:
        """Count those of `messages` that are binary; the others are text."""

    def payload(self, side: Side) -> int:
        """Count payload bytes of data frames from *side*, as they were on the wire."""

    def received(self, side: Side) -> int:
        """Count all bytes read from *side*."""

    def sent(self, side: Side) -> int:
        """Count all bytes given to *side*'s transport."""

    def is_paused(self, side: Side) -> bool:
        """Tell whether *side* is not read: something cannot be written, or came too fast."""

    def is_waiting(self, side: Side) -> bool:
        """Tell whether something for *side* has to wait, *side* being full or inside a frame."""

    def stalls(self, side: Side) -> int:
        """Count how often `is_waiting` became true."""

    def totals(self) -> Totals:
        """
        Return all the numbers of both legs at once, for whoever sums them up.

        They stand after the end, too; only what was buffered is gone then.
        """

    def last_data(self) -> float:
        """Say when a data frame last moved, either way, in the reactor's seconds."""


class PumpFactory(Protocol):
    """Makes the pump of one session."""

    def __call__(
        self,
        owner: PumpOwner,
        client: ITransport,
        upstream: ITransport,
        options: PumpOptions,
        reactor: IReactorTime,
    ) -> Pump:
        """Join two transports; nothing moves before `Pump.start`."""
