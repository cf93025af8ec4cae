"""The relay: its pools and routes, the clients it has, and the sessions it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from attrs import define, field
from twisted.python.failure import Failure

from wsrelay.commons import ALONE, Commons
from wsrelay.config.model import ListenerConfig, PoolConfig, RelayConfig
from wsrelay.descriptors import Descriptors
from wsrelay.http.exchange import Exchange
from wsrelay.http.exchanges import Exchanges
from wsrelay.http.local import LocalAnswer
from wsrelay.log import Logger
from wsrelay.messages.pump import message_pumps
from wsrelay.pools.choosing import announce, make_pool
from wsrelay.pools.pool import Lease, MemberChanges, Pool, Upstream
from wsrelay.pools.rounds import Rounds
from wsrelay.pools.upstream import Change
from wsrelay.relay.admission import Admission, Policies, make_all_policies
from wsrelay.relay.asked import Asked
from wsrelay.relay.client import ClientConnection
from wsrelay.relay.dialer import Dialer, NoWay
from wsrelay.relay.doors import Doors
from wsrelay.relay.drains import Drains
from wsrelay.relay.ends import name_of
from wsrelay.relay.facts import Exchanged, Facts, Observer
from wsrelay.relay.filters import Filters, chain_for, make_filters
from wsrelay.relay.gate import Gate
from wsrelay.relay.guards import GuardBook
from wsrelay.relay.limits import bits_of, options_of
from wsrelay.relay.listener import Listener
from wsrelay.relay.opening import Opening
from wsrelay.relay.pump import PumpFactory, Side
from wsrelay.relay.python_pump import PythonPump
from wsrelay.relay.reception import receive
from wsrelay.relay.routing import RouteTable
from wsrelay.relay.search import Search
from wsrelay.relay.session import Session
from wsrelay.relay.tags import Tags
from wsrelay.relay.upstream import UpstreamConnection
from wsrelay.wire.forward import switching_head
from wsrelay.wire.request import Request
from wsrelay.wire.response import Response

log = Logger()


class Arriving(Protocol):
    """A connection that has not sent its PROXY header yet."""

    listener: Listener

    def abort(self) -> None:
        """End it, because the relay ends."""


def nobody_cares(pool: Pool) -> None:
    """Do nothing about a pool that has changed."""


@define(eq=False)
class Relay:
    """
    Everything that one relay.ini makes, but for the listening sockets.

    :raises ValueError: a plugin or a TLS file cannot be used; the configuration's
        checks have said so before, with a line.
    """

    config: RelayConfig
    reactor: Any
    observer: Observer
    make_pump: PumpFactory = PythonPump
    commons: Commons = ALONE
    pools: dict[str, Pool] = field(factory=dict, init=False)
    dialers: dict[Upstream, Dialer | NoWay] = field(factory=dict, init=False)
    rounds: Rounds = field(init=False)
    drains: Drains = field(init=False)
    doors: Doors = field(init=False)
    descriptors: Descriptors = field(init=False)
    listeners: dict[str, Listener] = field(factory=dict, init=False)
    connections: set[ClientConnection] = field(factory=set, init=False)
    arriving: set[Arriving] = field(factory=set, init=False)
    guards: GuardBook = field(init=False)
    policies: dict[str, Policies] = field(factory=dict, init=False)
    """Those of the routes that have any, by the routes' names."""
    filters: dict[str, Filters] = field(factory=dict, init=False)
    """Those of the routes that have any, by the routes' names; see `filters_of`."""
    gate: Gate | None = field(default=None, init=False)
    """Where other relays are asked about clients; None: this one is alone."""
    admissions: set[Admission | Asked] = field(factory=set, init=False)
    openings: set[Opening] = field(factory=set, init=False)
    exchanges: Exchanges = field(init=False)
    sessions: dict[str, Session] = field(factory=dict, init=False)
    tags: Tags = field(factory=Tags, init=False)
    is_draining: bool = field(default=False, init=False)
    is_part: bool = field(default=False, init=False)
    """It is one of several processes, and another one says what concerns all."""
    on_members: Callable[[Pool], None] = field(default=nobody_cares, init=False)
    """Called when the upstreams of a pool have changed."""

    def __attrs_post_init__(self) -> None:
        self.rounds = Rounds(self.reactor)
        self.drains = Drains(self)
        self.doors = Doors(self)
        self.descriptors = Descriptors(
            self.reactor, self.doors.descriptors, self.close_idle_upstreams
        )
        self.exchanges = Exchanges(self.reactor)
        self.guards = GuardBook(self.config.routes, self.reactor.seconds, self.commons)
        self.filters = make_filters(self.config, self.reactor)
        self.policies = make_all_policies(self.config, self.reactor)
        for config in self.config.pools:
            pool = make_pool(config, self.reactor, self.commons)
            self.add_pool(pool, self.make_dialers(config, pool.upstreams))

    def make_listener(self, config: ListenerConfig) -> Listener:
        """Make the factory of one listener's connections."""
        listener = Listener(self, config, routes_for(config.name, self.config))
        self.listeners[config.name] = listener
        return listener

    # its pools

    def make_dialers(
        self, config: PoolConfig, upstreams: Iterable[Upstream]
    ) -> dict[Upstream, Dialer]:
        """
        Make what connects to each of *upstreams*.

        :raises ValueError: a TLS file of the pool cannot be used.
        """
        return {each: Dialer(self.reactor, each.config, config) for each in upstreams}

    def add_pool(self, pool: Pool, dialers: Mapping[Upstream, Dialer]) -> None:
        """Take a pool in, with what connects to each of its upstreams."""
        self.pools[pool.name] = pool
        self.dialers.update(dialers)
        pool.on_health = self._health_changed

    def remove_pool(self, pool: Pool) -> None:
        """Let a pool go; its sessions end as its ``on_removed`` says."""
        del self.pools[pool.name]
        for source in ("file", "discovery", "api"):
            self.members_changed(pool, pool.set_members(source, ()))
        for search in [each for each in self.searches if each.pool is pool and each.is_waiting]:
            search.refuse(503, "The relay has changed; connect again.", "no-upstream")

    def members_changed(self, pool: Pool, changes: MemberChanges) -> None:
        """
        Act on what became of a pool's upstreams.

        Called by whoever changed them, in the same turn of the reactor.
        """
        if not changes:
            return
        for upstream in changes.added:
            self.drains.stop(upstream)  # it was gone, and is back
            upstream.begin_slowly()
            self._need_dialer(pool, upstream)
        for upstream in changes.removed:
            if dialer := self.dialers.pop(upstream, None):
                dialer.idle.close()
            self.drains.lose(pool, upstream, pool.config.on_removed, "removed")
        announce(pool)
        self.on_members(pool)
        pool.call_waiting(again=True)

    def _need_dialer(self, pool: Pool, upstream: Upstream) -> None:
        if upstream in self.dialers:
            return
        try:
            self.dialers.update(self.make_dialers(pool.config, [upstream]))
        except ValueError as error:
            log.error(
                "upstream {pool}/{upstream} cannot be connected to: {why}",
                pool=pool.name,
                upstream=upstream.name,
                why=error,
            )
            self.dialers[upstream] = NoWay(self.reactor, error)

    def _health_changed(self, pool: Pool, upstream: Upstream, change: Change) -> None:
        was_down = len(upstream.history) > 1
        is_news = change.to == "down" or was_down  # not the first sign of life
        if is_news and not self.is_part:
            tell = log.warn if change.to == "down" else log.info
            tell(
                "upstream {pool}/{upstream} is {health}: {why}",
                pool=pool.name,
                upstream=upstream.name,
                health=change.to,
                why=change.why,
            )
        self.observer.health_changed(pool.name, upstream.name, change.to)
        if change.to == "down":
            self.drains.lose(pool, upstream, pool.config.on_down, "down")
        else:
            self.drains.stop(upstream, "drain", "removed")  # but not what somebody wants

    # a client's request

    def handle(self, client: ClientConnection, request: Request) -> None:
        """
        Find out who answers a request.

        :raises BadRequest: it is no valid handshake.
        """
        receive(self, client, request)

    @property
    def searches(self) -> list[Search]:
        """Return all requests that are to be answered by upstreams, handshakes first."""
        return [*self.openings, *(each for each in self.exchanges if isinstance(each, Exchange))]

    def close_idle(self) -> None:
        """End the connections, of clients and to upstreams, that wait for a request."""
        for client in list(self.connections):
            client.hang_up()
        self.close_idle_upstreams()

    def close_idle_upstreams(self) -> None:
        """End the connections to upstreams that wait for a request."""
        for dialer in self.dialers.values():
            dialer.idle.close()

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
        compression = opening.compression
        extensions = None if compression is None else compression.answer
        said = response.headers.values(b"sec-websocket-extensions")
        facts.extensions = (b", ".join(said) if extensions is None else extensions).decode(
            "latin-1"
        )

        def ended(session: Session) -> None:
            del self.sessions[session.id]
            self.tags.ended(session)
            lease.release()
            client.give_back()
            try:
                self.observer.session_ended(facts, session)
            finally:
                self.drains.session_ended(session)

        session = Session(facts, route, lease.upstream, self.reactor, self.observer, ended)
        make_pump = self.make_pump
        if compression is not None:
            chain = chain_for(session, opening.filters, self.tags)
            make_pump = message_pumps(route, compression, chain)
        session.join(
            make_pump,
            client.transport,
            connection.transport,
            options_of(route, bits_of(agreed)),
        )
        self.sessions[session.id] = session
        self.tags.opened(session)
        for each, side in ((client, Side.CLIENT), (connection, Side.UPSTREAM)):
            each.receive = session.pump.received_from(side)
            each.lost = _loser(session, side)
        try:
            self.observer.session_opened(facts, session)
            facts.phases.clear()  # a session may last for days
            cookies = self.cookies_of(opening, lease.upstream)
            head = switching_head(response, cookies, extensions)
            session.start(head, client.take_early(), rest)
            self.drains.session_opened(session)
        except Exception:
            log.failure("session {id}: could not be started", id=session.id)
            session.abort()

    def cookies_of(self, search: Search, upstream: Upstream) -> Sequence[tuple[bytes, bytes]]:
        """Return the Set-Cookie that keeps a client with its upstream, where the pool is sticky."""
        sticky = search.pool.sticky
        if sticky is None:
            return ()
        is_secure = search.forwarded.proto == b"https"
        cookie = sticky.set_for(search.handshake.cookies, upstream, is_secure=is_secure)
        return () if cookie is None else ((b"Set-Cookie", cookie),)

    def begins_to_answer(self, exchange: Exchange, status: int) -> None:
        """Note that an upstream answers a plain request; the body follows."""
        self._complete(exchange, status)

    def begins_locally(self, answer: LocalAnswer, status: int) -> None:
        """Note that a file or a redirect is the answer to a plain request."""
        self.exchanges.add(answer)
        self._conclude(answer.facts, answer.client, status)

    def exchanged(self, exchange: Exchange | LocalAnswer, what: Exchanged) -> None:
        """Note that the answer to a plain request is over."""
        try:
            self.observer.exchanged(exchange.facts, what)
        finally:
            self._exchange_ended(exchange)

    def refused(self, search: Search, status: int, reason: str) -> None:
        """Note that a search ended without a session or an upstream's answer."""
        facts = self._complete(search, status)
        try:
            self.observer.refused(facts, reason)
        finally:
            if isinstance(search, Exchange):
                self._exchange_ended(search)

    def _exchange_ended(self, exchange: Exchange | LocalAnswer) -> None:
        self.exchanges.end(exchange)
        self.drains.request_ended()

    def refused_early(
        self, client: ClientConnection, status: int, reason: str, refusal: str = ""
    ) -> None:
        """
        Note that a client was refused before an upstream was looked for.

        :param refusal: see `Facts.refusal`; empty: what the status says.
        """
        name = client.listener.config.name
        facts = client.facts or Facts(client.id, name, name_of(*client.peer))
        facts.refusal = refusal or _REFUSALS.get(status, "malformed")
        self._conclude(facts, client, status)
        self.observer.refused(facts, reason)

    def _complete(self, search: Search, status: int) -> Facts:
        if isinstance(search, Opening):
            self.openings.discard(search)
        facts = search.facts
        facts.attempts = search.attempts
        facts.pool = search.pool.name
        facts.upstream = search.upstream.name if search.upstream is not None else ""
        self._conclude(facts, search.client, status)
        return facts

    def _conclude(self, facts: Facts, client: ClientConnection, status: int) -> None:
        facts.status = status
        facts.handshake_ms = (self.reactor.seconds() - client.started_at) * 1000


_REFUSALS: Final = {404: "no-route", 408: "too-slow", 426: "plain-http", 431: "header-too-large"}


def routes_for(listener: str, config: RelayConfig) -> RouteTable:
    """Make the table of a listener's routes."""
    return RouteTable(
        [each for each in config.routes if not each.listeners or listener in each.listeners]
    )


def _loser(session: Session, side: Side) -> Callable[[Failure], None]:
    pump = session.pump
    return lambda reason: pump.lost(side)
