"""
The two Autobahn protocols of a session.

Autobahn owns the conversation on each leg: the state of the connection, ping, pong and
close frames.  It is handed whole control frames only; data frames pass it by, in the
pump.  The frames that it sends go to the session, and from there between two data frames.

Autobahn's own timers are all off: they follow a global clock and whole seconds, and the
session has timers of its own.
"""

# ruff: noqa: N802, N803, N815  (camelCase here is Autobahn's: it calls or reads all of it)

from __future__ import annotations

import random
from typing import Any, ClassVar, Final, Protocol

from autobahn.twisted.websocket import WebSocketClientProtocol, WebSocketServerProtocol
from autobahn.websocket.protocol import FrameHeader, WebSocketProtocol
from typing_extensions import override

from wsrelay.relay.pump import Side
from wsrelay.wire.close import INVALID_PAYLOAD, PROTOCOL_ERROR, is_valid_code
from wsrelay.wire.faults import Violation
from wsrelay.wire.frames import CLOSE, PING, PONG, encode_frame, xor

_HEADERS: Final = {opcode: FrameHeader(opcode, True, 0, 0, "") for opcode in (CLOSE, PING, PONG)}
"""What Autobahn looks up of a control frame whose payload is complete: the opcode."""


class LegOwner(Protocol):
    """What a leg tells its session."""

    def ping_received(self, side: Side, payload: bytes) -> None:
        """Take a ping from *side*."""

    def pong_received(self, side: Side, payload: bytes) -> None:
        """Take a pong from *side*."""

    def close_received(self, side: Side, code: int | None, reason: bytes) -> None:
        """Take a valid close frame from *side*; None: it had no code."""

    def violated(self, side: Side, violation: Violation) -> None:
        """Learn that *side* sent a control frame that may not be."""

    def frame_to_send(self, side: Side, frame: bytes) -> None:
        """Send a whole control frame to *side*."""


class _Factory:
    """Stands where Autobahn looks for a factory: one a class, not one a connection."""

    proxy: ClassVar[None] = None

    def __init__(self, is_server: bool) -> None:
        self.isServer = is_server
        self.countConnections = 0  # Autobahn adds to it; the relay counts elsewhere


class _Leg:
    """
    What both legs do alike; mixed in before Autobahn's class.

    Autobahn's options are class attributes and ``CONFIG_ATTRS`` is empty: copying them to
    each connection, and formatting them for a debug log, was a third of a handshake's price.
    The state that Autobahn gives a connection is on the class, too: see `_share_state`.
    """

    CONFIG_ATTRS = ()
    logOctets = False
    logFrames = False
    trackTimings = False
    applyMask = False  # through CFFI it takes longer than a short frame is worth
    failByDrop = False
    openHandshakeTimeout = 0
    closeHandshakeTimeout = 0
    autoPingInterval = 0
    autoPingRestartOnAnyTraffic = False
    maxFramePayloadSize = 0
    maxMessagePayloadSize = 0
    requireMaskedClientFrames = True
    maskServerFrames = False
    acceptMaskedServerFrames = False
    maskClientFrames = True

    side: ClassVar[Side]
    owner: LegOwner
    state: int
    control_frame_data: list[bytes]

    def __init__(self) -> None:
        """Make a leg that is not open yet; Autobahn's own constructor has nothing for it."""

    def open(self, owner: LegOwner) -> None:
        """
        Begin the conversation: both opening handshakes are over.

        :param owner: the session, told of every control frame.
        """
        self.owner = owner
        self.state = WebSocketProtocol.STATE_OPEN

    def dataReceived(self, data: bytes) -> None:
        """
        Read a whole control frame, whose header the pump has checked.

        Autobahn's own method takes bytes as they come, and formats them for a debug log.
        """
        if self.state == WebSocketProtocol.STATE_CLOSED:
            return
        payload = xor(data[6:], data[2:6]) if self.side is Side.CLIENT else data[2:]
        self.current_frame = _HEADERS[data[0] & 15]
        self.control_frame_data = [payload]
        self.processControlFrame()  # type: ignore[attr-defined]

    def sendFrame(self, opcode: int, payload: bytes = b"") -> None:
        """Send what Autobahn decided to; its own method formats it for a debug log, too."""
        mask = random.getrandbits(32).to_bytes(4, "big") if self.side is Side.UPSTREAM else b""
        self.owner.frame_to_send(self.side, encode_frame(opcode, payload, mask))

    def say_close(self, code: int | None, reason: bytes) -> None:
        """Send a close frame, unless one was sent before."""
        # sendClose() would refuse 1001 to 2999.
        self.sendCloseFrame(code, reason or None)  # type: ignore[attr-defined]

    def end(self) -> None:
        """Write nothing more, and let go of the owner: the transport has ended."""
        self.state = WebSocketProtocol.STATE_CLOSED
        del self.owner  # a circle, which would have to wait for the garbage collector

    def onPing(self, payload: bytes) -> None:
        """Hand a ping to the session, which answers it or relays it."""
        self.owner.ping_received(self.side, payload)

    def onPong(self, payload: bytes) -> None:
        """Hand a pong to the session."""
        self.owner.pong_received(self.side, payload)

    def onCloseFrame(self, code: int | None, reasonRaw: bytes | None) -> bool:
        """
        Hand a valid close frame to the session, which forwards and answers it.

        Autobahn's own method answers at once, and does not know code 1014.
        """
        reason = reasonRaw or b""
        if code is not None and not is_valid_code(code):
            self.owner.violated(self.side, Violation(PROTOCOL_ERROR, f"invalid close code {code}"))
        elif not _is_utf8(reason):
            problem = Violation(INVALID_PAYLOAD, "close reason is not UTF-8")
            self.owner.violated(self.side, problem)
        else:
            self.owner.close_received(self.side, code, reason)
        return True

    def _fail_connection(self, code: int = 1001, reason: str = "going away") -> None:
        """Report what Autobahn found; the pump's own checks come before it."""
        self.owner.violated(self.side, Violation(code, reason))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class ClientLeg(_Leg, WebSocketServerProtocol):  # type: ignore[misc]
    """The leg to the client, to which Autobahn is the server."""

    side = Side.CLIENT
    factory = _Factory(is_server=True)


class UpstreamLeg(_Leg, WebSocketClientProtocol):  # type: ignore[misc]
    """The leg to the upstream, to which Autobahn is the client."""

    side = Side.UPSTREAM
    factory = _Factory(is_server=False)

    @override
    def startHandshake(self) -> None:
        """Do nothing: `wsrelay.relay.upstream` has shaken hands already."""


def _share_state(leg_class: type[_Leg]) -> None:
    """
    Put the state that Autobahn gives each new connection on the class instead.

    A leg then holds only what it changes, which is little: it saves 4 KiB a leg, and a
    tenth of a handshake.  What can be changed in place, such as counters of traffic, is
    shared by all legs; none of it decides anything for control frames.
    """
    template: Any = leg_class()
    WebSocketProtocol.__init__(template)
    template.transport = None
    template._connectionMade()
    template.websocket_version = 13
    template.inside_message = False
    template.current_frame = None
    for name, value in vars(template).items():
        setattr(leg_class, name, value)


_share_state(ClientLeg)
_share_state(UpstreamLeg)
