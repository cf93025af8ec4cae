"""The check that only connects: ``health_check = tcp``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHandshakeListener
from typing_extensions import override
from zope.interface import implementer

from wsrelay.health.base import Check
from wsrelay.relay.upstream import UpstreamConnection


@implementer(IHandshakeListener)
class Knock(UpstreamConnection):
    """
    A connection of which nothing is wanted but that it comes about.

    *connected* is called when it has; for TLS, when hands are shaken.
    """

    def __init__(self, connected: Callable[[], None], is_secure: bool, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._connected = connected
        self._is_secure = is_secure

    @override
    def connectionMade(self) -> None:
        super().connectionMade()
        if not self._is_secure:
            self._connected()

    def handshakeCompleted(self) -> None:  # noqa: N802  called by Twisted
        """Be connected: the certificate was looked at, too."""
        self._connected()


class TCPCheck(Check):
    """Connects; to a ``wss://`` upstream with TLS."""

    awaited = "finish the TLS handshake"

    @override
    def make_connection(self) -> UpstreamConnection:
        timeout = self.target.config.timeout
        is_secure = self.target.upstream.scheme == "wss"
        return Knock(
            self._connected,
            is_secure,
            self.target.id,
            self.target.reactor,
            self,
            b"",
            timeout,
            timeout,
        )

    def _connected(self) -> None:
        self.conclude(True, "connected")
