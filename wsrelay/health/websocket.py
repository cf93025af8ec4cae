"""The check that has a whole, short conversation: ``health_check = websocket``."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from secrets import token_bytes
from typing import Final

from twisted.python.failure import Failure
from typing_extensions import override

from wsrelay.health.base import Check, Done, Target
from wsrelay.relay.reasons import in_words
from wsrelay.wire.close import NORMAL
from wsrelay.wire.faults import Limits, Violation
from wsrelay.wire.frames import CLOSE, PING, PONG, Control, Event, Scanner, encode_frame
from wsrelay.wire.response import BadResponse, Response, check_switching

MAX_PONGS: Final = 16
"""Pings of the upstream that are answered; more than it needs to ask in so short a time."""


class WebSocketCheck(Check):
    """
    Opens a websocket, has a ping answered, and closes it.

    Whatever else the upstream sends meanwhile passes by and is not kept.
    """

    def __init__(self, target: Target, done: Done) -> None:
        self._key = b64encode(token_bytes(16))
        self._ping = token_bytes(8)
        self._pongs = 0
        self._has_closed = False
        # Nothing is held but the begin of a control frame.
        self._scanner = Scanner(masked=False, limits=Limits(whole_frames=0))
        self.head = self._make_head(target)
        super().__init__(target, done)

    def _make_head(self, target: Target) -> bytes:
        subprotocol = target.config.subprotocol
        offer = [f"Sec-WebSocket-Protocol: {subprotocol}".encode()] if subprotocol else []
        return target.request(
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: " + self._key,
            *offer,
        )

    # the opening

    @override
    def upstream_answered(self, response: Response, rest: bytes) -> None:
        if response.status != 101:
            self.conclude(False, f"answered {response.status} instead of 101")
            return
        wanted = self.target.config.subprotocol
        try:
            check_switching(response, self._key, [wanted] if wanted else [], [])
        except BadResponse as error:
            self.fail(f"broke the opening handshake: {error.reason}")
            return
        if wanted and not response.headers.values(b"sec-websocket-protocol"):
            self.conclude(False, f"did not choose the subprotocol {wanted}")
            return
        self.connection.receive = self._receive
        self.connection.lost = self._lost
        if self.target.config.ping:
            self.awaited = "answer the ping"
            self._send(PING, self._ping)
        else:
            self._close()
        self._receive(rest)

    # the conversation

    def _receive(self, data: bytes) -> None:
        for event in self._events(data):
            if isinstance(event, Violation):
                self.fail(f"broke the websocket protocol: {event.reason}")
                return
            if isinstance(event, Control):
                self._take_control(event.frame[0] & 0x0F, event.frame[2:])

    def _events(self, data: bytes) -> Iterator[Event]:
        yield from self._scanner.feed(data)
        while self._scanner.backlog:
            yield from self._scanner.feed(b"")

    def _take_control(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            self._take_close(payload)
        elif self._has_closed:
            return
        elif opcode == PONG and payload == self._ping and self.target.config.ping:
            self._close()
        elif opcode == PING and self._pongs < MAX_PONGS:
            self._pongs += 1
            self._send(PONG, payload)

    def _take_close(self, payload: bytes) -> None:
        code = int.from_bytes(payload[:2], "big") if payload else None
        how = "closed without a code" if code is None else f"closed with {code}"
        if not self._has_closed:
            self.conclude(False, f"{how} instead of answering the ping")
        elif code != NORMAL:
            self.conclude(False, f"{how} instead of {NORMAL}")
        else:
            ping = ", answered the ping" if self.target.config.ping else ""
            self.conclude(True, f"opened{ping} and closed")

    def _close(self) -> None:
        self._has_closed = True
        self.awaited = "answer the close frame"
        self._send(CLOSE, NORMAL.to_bytes(2, "big"))

    def _send(self, opcode: int, payload: bytes) -> None:
        self.connection.transport.write(encode_frame(opcode, payload, token_bytes(4)))

    def _lost(self, reason: Failure) -> None:
        self.fail(f"did not {self.awaited}: {in_words(reason)}")
