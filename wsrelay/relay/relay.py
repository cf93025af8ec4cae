"""The relay: its pools and routes, the clients it has, and the sessions it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from attrs import define, field
from twisted.python.failure import Failure

from wsrelay.config.model import ListenerConfig, RelayConfig, RouteConfig
from wsrelay.log import Logger
from wsrelay.pools.choosing import make_pool
from wsrelay.pools.pool import Lease, Pool, Upstream
from wsrelay.relay.client import ClientConnection, Listener, name_of
from wsrelay.relay.facts import Facts, Observer
from wsrelay.relay.forwarding import who_is
from wsrelay.relay.handshake import RETRY_AFTER, Handshake, Opening
from wsrelay.relay.pump import PumpFactory, PumpOptions, Side
from wsrelay.relay.python_pump import PythonPump
from wsrelay.relay.routing import RouteTable
from wsrelay.relay.session import Session
from wsrelay.relay.upstream import Dialer, UpstreamConnection
from wsrelay.wire.forward import Forwarded, client_response_head
from wsrelay.wire.frames import ANY_BITS, DEFLATE_BITS, Limits
from wsrelay.wire.request import Offer, Request, check_handshake
from wsrelay.wire.response import Response

log = Logger()


@define(eq=False)
class Relay:
    """
    Everything that one relay.ini makes, but for the listening sockets.

    :raises ValueError: a balancer or a TLS file cannot be used; the configuration's
        checks have said so before, with a line.
    """

    config: RelayConfig
    reactor: Any
    observer: Observer
    make_pump: PumpFactory = PythonPump
    pools: dict[str, Pool] = field(init=False)
    dialers: dict[Upstream, Dialer] = field(init=False)
    connections: set[ClientConnection] = field(factory=set, init=False)
    openings: set[Opening] = field(factory=set, init=False)
    sessions: dict[str, Session] = field(factory=dict, init=False)
    is_draining: bool = field(default=False, init=False)
    on_empty: Callable[[], None] | None = field(default=None, init=False)
    """Called whenever the last session is over."""

    def __attrs_post_init__(self) -> None:
        self.pools = {each.name: make_pool(each, self.reactor) for each in self.config.pools}
        self.dialers = {
            upstream: Dialer(self.reactor, upstream.config, pool.config)
            for pool in self.pools.values()
            for upstream in pool.upstreams
        }

    def make_listener(self, config: ListenerConfig) -> Listener:
        """Make the factory of one listener's connections."""
        return Listener(self, config, RouteTable(_routes_of(self.config.routes, config.name)))

    # a client's request

    def handle(self, client: ClientConnection, request: Request) -> None:
        """
        Find out who answers a request.

        :raises BadRequest: it is no valid handshake.
        """
        route = client.listener.routes.match(request.host, request.path)
        forwarded, address = who_is(client, request)
        client.facts = facts = _facts(client, request, route, address)
        offer = check_handshake(request) if request.wants_websocket else None
        if route is None:
            self._answer(client, 404, "No route leads from this host and path.")
        elif offer is None:
            reason = "Only websocket handshakes are answered here; connect with a websocket."
            self._answer(client, 426, reason)
        elif self.is_draining:
            self._answer(client, 503, "The relay is stopping; connect again.")
        else:
            opening = self._opening(client, request, offer, route, forwarded, facts)
            self.openings.add(opening)
            client.left = opening.client_left
            opening.begin()

    def _opening(
        self,
        client: ClientConnection,
        request: Request,
        offer: Offer,
        route: RouteConfig,
        forwarded: Forwarded,
        facts: Facts,
    ) -> Opening:
        handshake = Handshake(
            request.path,
            request.query,
            request.headers,
            (forwarded.real_ip or b"").decode(),
            request.host,
            route.name,
            offer.subprotocols,
        )

        pool = self.pools[route.pool]
        return Opening(self, client, request, offer, route, pool, handshake, facts, forwarded)

    # what became of it

    def open_session(
        self,
        opening: Opening,
        response: Response,
        agreed: tuple[str, ...],
        connection: UpstreamConnection,
        lease: Lease,
        rest: bytes,
    ) -> None:
        """Answer the client with the upstream's 101, and join the two."""
        client, route = opening.client, opening.route
        facts = self._complete(opening, 101)
        facts.subprotocol = response.headers.text(b"sec-websocket-protocol")
        extensions = response.headers.values(b"sec-websocket-extensions")
        facts.extensions = b", ".join(extensions).decode("latin-1")

        def ended(session: Session) -> None:
            lease.release()
            del self.sessions[session.id]
            try:
                self.observer.session_ended(facts, session)
            finally:
                if not self.sessions and self.on_empty is not None:
                    self.on_empty()

        session = Session(client.id, route, lease.upstream, self.reactor, ended)
        session.join(
            self.make_pump, client.transport, connection.transport, _options(route, agreed)
        )
        self.sessions[session.id] = session
        for each, side in ((client, Side.CLIENT), (connection, Side.UPSTREAM)):
            each.receive = session.pump.received_from(side)
            each.lost = _loser(session, side)
        try:
            self.observer.session_opened(facts)
            session.start(client_response_head(response), client.take_early(), rest)
        except Exception:
            log.failure("session {id}: could not be started", id=session.id)
            session.abort()

    def refused(self, opening: Opening, status: int, reason: str) -> None:
        """Note that an opening ended without a session."""
        self.observer.refused(self._complete(opening, status), reason)

    def refused_early(self, client: ClientConnection, status: int, reason: str) -> None:
        """Note that a client was refused before an upstream was looked for."""
        name = client.listener.config.name
        facts = client.facts or Facts(client.id, name, name_of(*client.peer))
        self._conclude(facts, client, status)
        self.observer.refused(facts, reason)

    def _answer(self, client: ClientConnection, status: int, reason: str) -> None:
        self.refused_early(client, status, reason)
        client.answer(status, reason, RETRY_AFTER if status == 503 else ())

    def _complete(self, opening: Opening, status: int) -> Facts:
        self.openings.discard(opening)
        facts = opening.facts
        facts.attempts = opening.attempts
        facts.pool = opening.pool.name
        facts.upstream = opening.upstream.name if opening.upstream is not None else ""
        self._conclude(facts, opening.client, status)
        return facts

    def _conclude(self, facts: Facts, client: ClientConnection, status: int) -> None:
        facts.status = status
        facts.handshake_ms = (self.reactor.seconds() - client.started_at) * 1000


def _routes_of(routes: Iterable[RouteConfig], listener: str) -> list[RouteConfig]:
    return [route for route in routes if not route.listeners or listener in route.listeners]


def _loser(session: Session, side: Side) -> Callable[[Failure], None]:
    pump = session.pump
    return lambda reason: pump.lost(side)


@lru_cache  # all sessions of a route share them
def _options(route: RouteConfig, agreed: tuple[str, ...]) -> PumpOptions:
    bits = 0
    if agreed:
        bits = DEFLATE_BITS if agreed == ("permessage-deflate",) else ANY_BITS
    return PumpOptions(
        bits,
        Limits(route.whole_frames, route.max_frame_size, route.max_message_size_up),
        Limits(route.whole_frames, route.max_frame_size, route.max_message_size_down),
    )


def _facts(
    client: ClientConnection, request: Request, route: RouteConfig | None, address: str
) -> Facts:
    headers = request.headers
    peer, port = client.peer
    name = name_of(peer, port) if address == (peer or "") else address
    return Facts(
        client.id,
        client.listener.config.name,
        name,
        route=route.name if route is not None else "",
        host=request.host,
        path=request.path,
        query=request.query,
        origin=headers.text(b"origin"),
        user_agent=headers.text(b"user-agent"),
    )
