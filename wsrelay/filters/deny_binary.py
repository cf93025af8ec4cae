"""``filters = deny-binary``: text messages only."""

from __future__ import annotations

from zope.interface import implementer

from wsrelay.config.values import close_code
from wsrelay.filters.options import directions, parsed
from wsrelay.interfaces import Close, IMessageFilter, ISession

__all__ = ["DenyBinary"]


@implementer(IMessageFilter)
class DenyBinary:
    """
    Ends a session in which a binary message comes.

    :param direction: in which it is refused: ``up`` (from the client), ``down`` or ``both``.
    :param code: the close code; 1003 stands for a type of data that cannot be accepted.
    :raises ValueError: one of them is bad.
    """

    def __init__(self, reactor: object, direction: str = "both", code: str = "1003") -> None:
        self._directions = parsed("direction", direction, directions)
        code_number = parsed("code", code, close_code)
        self._close = Close(code_number, "binary messages are not accepted here")

    def message(
        self, session: ISession, direction: str, payload: bytes, is_binary: bool
    ) -> bytes | Close:
        """Let text pass."""
        return self._close if is_binary and direction in self._directions else payload
