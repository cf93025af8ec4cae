"""A handshake about which other relays are asked, when this one has nothing against it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.python.failure import Failure

from wsrelay.log import Logger
from wsrelay.relay.gate import Gate, Limit
from wsrelay.relay.guards import CONNECTIONS, too_early
from wsrelay.relay.search import RETRY_AFTER
from wsrelay.relay.transports import nobody

if TYPE_CHECKING:
    from wsrelay.relay.admission import Policies
    from wsrelay.relay.client import ClientConnection
    from wsrelay.relay.relay import Relay

log = Logger()


@define(eq=False)
class Asked:
    """
    Waits for what the other relays say; it is among `Relay.admissions` so long.

    Either *go_on* is called once, or the client is refused, or it leaves.

    :param policies: what *go_on* asks next; a reload that changes them refuses the client.
    """

    relay: Relay
    client: ClientConnection
    limit: Limit
    policies: Policies | None
    go_on: Callable[[], None]
    _over: bool = field(default=False, init=False)

    def begin(self, gate: Gate) -> None:
        """Ask; called once, when the session is counted here."""
        if self.limit.most is not None:
            self.client.leave = gate.hold(self.limit, self.client.leave)
        answer = gate.ask(self.limit)
        if answer is None:
            self.go_on()
            return
        self.relay.admissions.add(self)
        self.client.left = self._client_left
        answer.addCallback(self._answered)
        answer.addErrback(self._broke)

    def refuse(
        self,
        status: int,
        reason: str,
        refusal: str,
        headers: Sequence[tuple[bytes, bytes]] = RETRY_AFTER,
    ) -> None:
        """
        Answer the client without letting it in.

        :param refusal: see `Facts.refusal`.
        """
        self._end()
        self.relay.refused_early(self.client, status, reason, refusal)
        self.client.answer(status, reason, headers)

    def _answered(self, seconds: float) -> None:
        if self._over:
            return
        if seconds:
            said = CONNECTIONS if seconds < 0 else too_early(ceil(seconds))
            self.refuse(said.status, said.reason, said.refusal, said.headers)
        else:
            self._end()
            self.go_on()

    def _client_left(self) -> None:
        self._end()
        reason = "The client left before it was answered."
        self.relay.refused_early(self.client, 499, reason, "client-left")

    def _broke(self, failure: Failure) -> None:
        log.failure("session {id}: could not go on", failure, id=self.client.id)
        self._end()
        self.client.abort()

    def _end(self) -> None:
        self._over = True
        self.client.left = nobody
        self.relay.admissions.discard(self)
