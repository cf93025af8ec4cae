"""What is known of one client, for logs: filled in as it becomes known."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Protocol

from attrs import define, field, frozen
from typing_extensions import override

if TYPE_CHECKING:
    from wsrelay.relay.pump import Side
    from wsrelay.relay.session import Session


def new_id() -> str:
    """Make an id for a request: 16 hexadecimal digits."""
    return random.getrandbits(64).to_bytes(8, "big").hex()


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
    refusal: str = ""
    """The relay's reason to refuse the client, a word of `REFUSALS`; empty if it did not."""
    phases: dict[str, float] = field(factory=dict)
    """Seconds: ``request`` until it was read, for the ``policies``, in the ``queue``, to
    ``connect``, for the ``answer``; those that there were."""
    method: str = ""
    """Of a plain request; empty for a websocket handshake."""
    address: str = ""
    """The client's IP address, as trusted proxies report it; empty on a unix socket."""
    tags: frozenset[str] = frozenset()
    """What policies and filters call it by."""
    expires_at: float | None = None
    """When the session has to end, in seconds since the epoch; None: never."""


@frozen
class Exchanged:
    """What passed in a plain request and its answer, and how it ended."""

    bytes_up: int = 0
    """Of the request's body."""
    bytes_down: int = 0
    """Of the answer's body."""
    duration: float = 0.0
    """Seconds, from the request's first byte until the answer's last."""
    problem: str = ""
    """Why the answer was not whole; empty: it was."""


class Observer(Protocol):
    """Learns of every request's fate: one of the first four is told.  None may raise."""

    def session_opened(self, facts: Facts, session: Session) -> None:
        """Learn of a session that begins."""

    def session_ended(self, facts: Facts, session: Session) -> None:
        """Learn of its end; ``session.cause`` says why."""

    def exchanged(self, facts: Facts, what: Exchanged) -> None:
        """Learn of a plain request that was answered, when the answer is over."""

    def refused(self, facts: Facts, reason: str) -> None:
        """Learn of a client that got neither: ``facts.status`` and, if known, why."""

    def retried(self, pool: str) -> None:
        """Learn that another upstream is tried for a client."""

    def pinged(self, side: Side, seconds: float | None) -> None:
        """Learn how long a ping of the relay's and its pong took; None: too long."""

    def health_changed(self, pool: str, upstream: str, to: str) -> None:
        """Learn that an upstream's health is ``up`` or ``down`` now."""


class Nobody:
    """An observer that does nothing: the base of those who want to know little."""

    def session_opened(self, facts: Facts, session: Session) -> None:
        """Do nothing."""

    def session_ended(self, facts: Facts, session: Session) -> None:
        """Do nothing."""

    def exchanged(self, facts: Facts, what: Exchanged) -> None:
        """Do nothing."""

    def refused(self, facts: Facts, reason: str) -> None:
        """Do nothing."""

    def retried(self, pool: str) -> None:
        """Do nothing."""

    def pinged(self, side: Side, seconds: float | None) -> None:
        """Do nothing."""

    def health_changed(self, pool: str, upstream: str, to: str) -> None:
        """Do nothing."""


@define(eq=False)
class Several(Nobody):
    """Tells several observers, one after the other."""

    observers: tuple[Observer, ...]

    @override
    def session_opened(self, facts: Facts, session: Session) -> None:
        for each in self.observers:
            each.session_opened(facts, session)

    @override
    def session_ended(self, facts: Facts, session: Session) -> None:
        for each in self.observers:
            each.session_ended(facts, session)

    @override
    def exchanged(self, facts: Facts, what: Exchanged) -> None:
        for each in self.observers:
            each.exchanged(facts, what)

    @override
    def refused(self, facts: Facts, reason: str) -> None:
        for each in self.observers:
            each.refused(facts, reason)

    @override
    def retried(self, pool: str) -> None:
        for each in self.observers:
            each.retried(pool)

    @override
    def pinged(self, side: Side, seconds: float | None) -> None:
        for each in self.observers:
            each.pinged(side, seconds)

    @override
    def health_changed(self, pool: str, upstream: str, to: str) -> None:
        for each in self.observers:
            each.health_changed(pool, upstream, to)
