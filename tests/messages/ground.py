"""Sessions in memory whose pump passes whole messages."""

from __future__ import annotations

from twisted.internet.task import Clock

from tests.relay.support import PythonGround
from wsrelay.messages.pump import MessagePump


class MessageGround(PythonGround):
    """Transports in memory, for the pump of ``mode = messages``."""

    def __init__(self, clock: Clock) -> None:
        self.make_pump = MessagePump
