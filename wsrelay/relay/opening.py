"""
One client's opening handshake: asked of upstreams first, answered with what one said.

A valid 101 makes a session; any other answer is the client's answer, head and body as
they came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from attrs import define, field
from typing_extensions import override

from wsrelay.interfaces import IMessageFilter
from wsrelay.messages.compression import Compression, agree, names_in, offer_of
from wsrelay.relay.answer import Answer
from wsrelay.relay.filters import filters_of
from wsrelay.relay.search import Search
from wsrelay.wire.body import ChunkedBody, response_body
from wsrelay.wire.request import Offer
from wsrelay.wire.response import BadResponse, Response, check_switching


@define(eq=False)
class Opening(Search):
    """
    Finds the answer to one client's handshake.

    Tells the relay once what became of the client: `Relay.open_session` or
    `Relay.refused`; nothing, when `cancel` comes first.
    """

    upgrades: ClassVar[bool] = True

    offer: Offer
    compression: Compression | None = field(default=None, init=False)
    """What the relay itself has agreed on with both; None: they agree end to end."""
    filters: Sequence[tuple[str, IMessageFilter]] = field(default=(), init=False)
    """Those of the session to come, each with its name."""

    @property
    def _extensions(self) -> Sequence[str]:
        """The names of those that the upstream was offered."""
        offer = offer_of(self.route)
        return self.offer.extensions if offer is None else names_in(offer)

    @property
    @override
    def _answer_timeout(self) -> float | None:
        return self.route.upstream_handshake_timeout

    @override
    def _take_answer(self, response: Response, rest: bytes) -> None:
        take = self._take_101 if response.status == 101 else self._take_refusal
        take(response, rest)

    def _take_101(self, response: Response, rest: bytes) -> None:
        assert self.upstream is not None
        assert self._connection is not None
        assert self._lease is not None
        try:
            agreed = check_switching(
                response, self.offer.key, self.offer.subprotocols, self._extensions
            )
            if self.route.mode == "messages":
                self.compression = agree(self.route, self.request.headers, response.headers)
        except BadResponse as error:
            self._broken(error.reason)
            return
        self.filters = filters_of(self.route, self.relay.filters, self.relay.reactor)
        self._upstream_works(self.upstream)
        self._lease.opened()
        self.relay.open_session(self, response, agreed, self._connection, self._lease, rest)
        self._connection = self._lease = None  # the session's from here on

    def _take_refusal(self, response: Response, rest: bytes) -> None:
        assert self.upstream is not None
        assert self._connection is not None
        try:
            reader = response_body(response)
        except BadResponse as error:
            self._broken(error.reason)
            return
        self._upstream_works(self.upstream)
        self.relay.refused(self, response.status, "")
        answer = Answer(
            self.relay.reactor,
            self.route.upstream_handshake_timeout,
            self._connection,
            self.client,
            reader,
            lambda problem: self.cancel(),
            in_chunks=isinstance(reader, ChunkedBody),
        )
        answer.begin(response, rest)
