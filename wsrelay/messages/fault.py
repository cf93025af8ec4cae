"""How what Autobahn and zlib find wrong with a message comes out of their midst."""

from __future__ import annotations

from wsrelay.wire.faults import Violation


class Broken(Exception):  # noqa: N818  what the message is
    """
    A message that cannot be passed on, and nothing behind it.

    :ivar violation: what its sender is told.
    """

    def __init__(self, violation: Violation) -> None:
        super().__init__(violation.reason)
        self.violation = violation
