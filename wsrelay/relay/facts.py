"""What is known of one client, for logs: filled in as it becomes known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import define

if TYPE_CHECKING:
    from wsrelay.relay.session import Session


@define(eq=False)
class Facts:
    """
    One client and its handshake.

    Text only, so that a session that lasts for days does not keep its request alive.
    """

    id: str
    listener: str
    client: str  # address:port, as far as known
    route: str = ""
    pool: str = ""
    upstream: str = ""
    host: str = ""
    path: str = ""
    query: str = ""
    origin: str = ""
    user_agent: str = ""
    subprotocol: str = ""
    extensions: str = ""
    status: int = 0
    attempts: int = 0
    handshake_ms: float = 0.0


class Observer(Protocol):
    """Learns of every client's fate; each call comes once a client, none may raise."""

    def session_opened(self, facts: Facts) -> None:
        """Learn of a session that began."""

    def session_ended(self, facts: Facts, session: Session) -> None:
        """Learn of its end; ``session.cause`` says why."""

    def refused(self, facts: Facts, reason: str) -> None:
        """Learn of a client that got no session: ``facts.status`` and, if known, why."""
