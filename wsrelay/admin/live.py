"""What dashboards are told every second, each over a websocket."""

# ruff: noqa: N802  (camelCase here is Autobahn's and Twisted's: they call all of it)

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, ITransport
from typing_extensions import override
from zope.interface import directlyProvides, implementer

from wsrelay.admin.control import Control, Refused
from wsrelay.admin.news import FILTERS, LATEST, Filter, Late, News
from wsrelay.log import Logger
from wsrelay.wire.close import GOING_AWAY, INTERNAL_ERROR, encode_reason

__all__ = ["Live"]

log = Logger()

PERIOD: Final = 1.0
"""Seconds between two pushes."""

MOST_VIEWERS: Final = 32
"""Dashboards at a time."""

SLOWEST: Final = 30.0
"""Seconds after which who takes nothing is dropped."""

CLOSING: Final = 5.0
"""Seconds for a close frame to be answered."""

LONGEST: Final = 4096
"""Bytes of a message from a dashboard."""

POLICY_VIOLATION: Final = 1008


class Live:
    """
    All dashboards.

    :param may_stay: whether a request with these headers would still be let in.
    """

    def __init__(
        self, control: Control, reactor: Any, may_stay: Callable[[Mapping[str, str]], bool]
    ) -> None:
        self._control = control
        self._may_stay = may_stay
        self._timer: IDelayedCall | None = None
        self._viewers: dict[Viewer, None] = {}
        self._newcomers: list[Viewer] = []
        self._round: Deferred[None] | None = None
        self._is_stopped = False
        self.reactor = reactor
        self.resource: Any = WebSocketResource(_Factory(self))

    @property
    def is_full(self) -> bool:
        """Whether no dashboard more may come."""
        return len(self._viewers) >= MOST_VIEWERS or self._is_stopped

    def start(self) -> None:
        """Let dashboards come."""
        self._is_stopped = False

    def stop(self) -> None:
        """Close all; those that do not answer are the caller's to end."""
        self._is_stopped = True
        for viewer in list(self._viewers):
            viewer.close(GOING_AWAY, "The service stops.")

    def joined(self, viewer: Viewer) -> None:
        """Tell a new dashboard everything, and from now on what is new."""
        self._viewers[viewer] = None
        self._newcomers.append(viewer)
        self._begin_round([])
        if self._timer is None:
            self._timer = self.reactor.callLater(PERIOD, self._tick)

    def left(self, viewer: Viewer) -> None:
        """Forget a dashboard whose connection has ended."""
        self._viewers.pop(viewer, None)
        if self._viewers:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._round is not None:
            self._round.cancel()

    def _tick(self) -> None:
        self._timer = self.reactor.callLater(PERIOD, self._tick)
        for viewer in list(self._viewers):
            if not self._may_stay(viewer.http_headers):
                viewer.close(POLICY_VIOLATION, "The login has ended.")
            viewer.check(self.reactor.seconds())
        self._begin_round(list(self._viewers))

    def _begin_round(self, viewers: list[Viewer]) -> None:
        """Tell these and all newcomers; one round after the other, however long each takes."""
        if self._round is not None:
            return
        viewers += [each for each in self._newcomers if each not in viewers]
        self._newcomers.clear()
        ended: Deferred[None] = Deferred.fromCoroutine(self._push(viewers))
        if not ended.called:
            self._round = ended
        ended.addErrback(lambda failure: failure.trap(CancelledError)).addBoth(self._end_round)

    def _end_round(self, _: object) -> None:
        self._round = None
        if self._newcomers:
            self._begin_round([])

    async def _push(self, viewers: list[Viewer]) -> None:
        news = News(self._control, self.reactor)
        try:
            for viewer in viewers:
                if viewer.takes_more:
                    await self._tell(viewer, news)
        except CancelledError:  # nobody looks any more
            raise
        except Late:
            log.warn("admin: dashboards get no news: no answer in {seconds:g} s", seconds=LATEST)
        except Exception:
            log.failure("admin: the dashboards could not be told what is new")
            for viewer in viewers:
                viewer.close(INTERNAL_ERROR, "The relay failed; its log says how.")

    async def _tell(self, viewer: Viewer, news: News) -> None:
        try:
            message = await news.message(viewer.filter, viewer.seen)
        except Refused as error:
            viewer.close(POLICY_VIOLATION, error.message)
            return
        if viewer.takes_more:  # it may have left meanwhile
            viewer.seen = message.last
            viewer.tell(message.payload)


@implementer(IPushProducer)
class Viewer(WebSocketServerProtocol):
    """
    One dashboard.

    As its transport's producer it learns when that takes no more; until it does, the
    dashboard is told nothing, and not read either: its pings would have to be answered.
    """

    factory: _Factory
    transport: Any
    filter: Filter = ()
    seen = 0
    _stuck_since: float | None = None
    _closing_since: float | None = None

    @property
    def takes_more(self) -> bool:
        """Whether it may be told something now."""
        return self.state == self.STATE_OPEN and self._stuck_since is None

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake, unless it has begun; `check` sees to its end."""
        self.sendCloseFrame(code, encode_reason(reason))

    def tell(self, payload: bytes) -> None:
        """Send a text message, which Autobahn would bound as it does those that come."""
        self.sendFrame(opcode=1, payload=payload)

    def check(self, now: float) -> None:
        """Drop the connection when it is stuck, or closes, for too long."""
        if self.state != self.STATE_OPEN and self._closing_since is None:
            self._closing_since = now
        if self._stuck_since is not None and now - self._stuck_since >= SLOWEST:
            self._drop("it reads too slowly")
        elif self._closing_since is not None and now - self._closing_since >= CLOSING:
            self._drop("it does not answer a close frame")

    @override
    def connectionMade(self) -> None:
        # Of TLS Autobahn wants to know more than can be asked for through the door.
        directlyProvides(self.transport, ITransport)
        super().connectionMade()

    @override
    def onOpen(self) -> None:
        self.transport.unregisterProducer()  # it was the HTTP channel
        self.transport.registerProducer(self, True)
        self.factory.live.joined(self)

    @override
    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.state != self.STATE_OPEN:
            return
        try:
            self.filter = read_filter(payload)
        except ValueError as error:
            self.close(POLICY_VIOLATION, str(error))

    @override
    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.live.left(self)

    def pauseProducing(self) -> None:
        """Wait, called by the transport when too much waits to be sent."""
        self._stuck_since = self.factory.live.reactor.seconds()
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Go on, called by the transport when everything was sent."""
        self._stuck_since = None
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Do nothing: the connection is over and `onClose` follows."""

    def _drop(self, why: str) -> None:
        log.info("admin: dashboard {peer} is dropped: {why}", peer=self.peer, why=why)
        self.wasNotCleanReason = why
        self.dropConnection(abort=True)


class _Factory(WebSocketServerFactory):
    """Makes viewers; Autobahn's timers are off, they would follow another clock."""

    noisy = False
    protocol = Viewer  # type: ignore[assignment]

    def __init__(self, live: Live) -> None:
        super().__init__(server="wsrelay", reactor=live.reactor)
        self.live = live
        self.setProtocolOptions(
            webStatus=False,
            versions=[13],
            maxFramePayloadSize=LONGEST,
            maxMessagePayloadSize=LONGEST,
            failByDrop=False,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
        )


def read_filter(payload: bytes) -> Filter:
    """
    Read ``{"filter": {"pool": "chat"}}``.

    :raises ValueError: it is something else.
    """
    expected = f'Expected {{"filter": {{KEY: TEXT}}}}; keys: {", ".join(FILTERS)}.'
    try:
        message = json.loads(payload)
        (_,) = message
        wanted = message["filter"].items()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(expected) from error
    if not all(key in FILTERS and isinstance(value, str) for key, value in wanted):
        raise ValueError(expected)
    return tuple(sorted(wanted))
