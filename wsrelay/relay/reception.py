"""A client's request, once it is read: who answers it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from attrs import define, evolve

from wsrelay.config.model import RouteConfig
from wsrelay.http.exchange import Exchange
from wsrelay.http.local import LocalAnswer
from wsrelay.relay.admission import Admission, Policies
from wsrelay.relay.asked import Asked
from wsrelay.relay.ends import name_of
from wsrelay.relay.facts import Facts
from wsrelay.relay.forwarding import who_is
from wsrelay.relay.guards import Guards, Refusal
from wsrelay.relay.handshake import Handshake
from wsrelay.relay.opening import Opening
from wsrelay.relay.search import RETRY_AFTER, Search
from wsrelay.wire.body import has_body
from wsrelay.wire.forward import Forwarded
from wsrelay.wire.request import Offer, Request, check_handshake, connection_option

if TYPE_CHECKING:
    from wsrelay.relay.client import ClientConnection
    from wsrelay.relay.relay import Relay


def receive(relay: Relay, client: ClientConnection, request: Request) -> None:
    """
    Answer a request, or have a file, a redirect or an upstream answer it.

    :raises BadRequest: it is no valid handshake.
    """
    route = client.listener.routes.match(request.host, request.path)
    forwarded, address = who_is(client, request)
    client.facts = facts = _facts(client, request, route, address)
    may_upgrade = route is None or bool(route.pool)  # files and redirects know no websockets
    offer = check_handshake(request) if may_upgrade and request.wants_websocket else None
    if offer is None:
        facts.method = request.method
        if not relay.is_draining and not has_body(request):
            client.option = connection_option(request)
    if route is None:
        _refuse(relay, client, 404, "No route leads from this host and path.")
    elif relay.is_draining:
        _refuse(relay, client, 503, "The relay is stopping; connect again.", "draining")
    elif offer is None and not route.http:
        reason = "Only websocket handshakes are answered here; connect with a websocket."
        _refuse(relay, client, 426, reason)
    else:
        Reception(relay, client, request, offer, route, facts, forwarded).begin(address)


def _refuse(
    relay: Relay, client: ClientConnection, status: int, reason: str, refusal: str = ""
) -> None:
    relay.refused_early(client, status, reason, refusal)
    client.answer(status, reason, RETRY_AFTER if status == 503 else ())


@define(eq=False)
class Reception:
    """A request that a route takes: let in or not, then answered."""

    relay: Relay
    client: ClientConnection
    request: Request
    offer: Offer | None  # None: it is no websocket handshake
    route: RouteConfig
    facts: Facts
    forwarded: Forwarded

    def begin(self, address: str) -> None:
        """Ask the route's guards and policies, which it may have, and go on."""
        relay, client, name = self.relay, self.client, self.route.name
        self.facts.phases["request"] = relay.reactor.seconds() - client.started_at
        guards, policies = relay.guards.of(name), relay.policies.get(name)
        if guards is not None:
            if not self._passes(guards, address):
                return
            limit = None if relay.gate is None or self.offer is None else guards.limit(address)
            if relay.gate is not None and limit is not None:
                go_on = partial(self._go_on, policies)
                Asked(relay, client, limit, policies, go_on).begin(relay.gate)
                return
        self._go_on(policies)

    def _go_on(self, policies: Policies | None) -> None:
        if policies is not None:
            self._ask(policies)
        else:
            self._answer(self.forwarded)

    def _passes(self, guards: Guards, address: str) -> bool:
        """Ask the guards; a handshake that passes counts until it or its client is gone."""
        client, host, is_websocket = self.client, self.forwarded.host, self.offer is not None
        said = guards.objection(self.request, address, host or b"", is_websocket=is_websocket)
        place = guards.begin(address) if said is None and is_websocket else said
        if isinstance(place, Refusal):
            self.relay.refused_early(client, place.status, place.reason, place.refusal)
            client.answer(place.status, place.reason, place.headers)
            return False
        if place is not None:
            client.leave = place.release
        return True

    def _ask(self, policies: Policies) -> None:
        def admitted(headers: tuple[tuple[bytes, bytes], ...]) -> None:
            self._answer(evolve(self.forwarded, more=headers, unclaimed=policies.headers))

        Admission(
            self.relay,
            self.client,
            self.route,
            policies,
            self._handshake(self.forwarded),
            self.facts,
            admitted,
        ).begin()

    def _answer(self, forwarded: Forwarded) -> None:
        if not self.route.pool:
            LocalAnswer(self.relay, self.client, self.request, self.route, self.facts).begin()
        elif self.route.pool in self.relay.pools:
            self._search(forwarded)
        else:  # a reload, while the policies were asked
            reason = "The relay has changed; connect again."
            _refuse(self.relay, self.client, 503, reason, "no-upstream")

    def _search(self, forwarded: Forwarded) -> None:
        """Let an upstream of the route's pool answer."""
        relay, client, route = self.relay, self.client, self.route
        handshake = self._handshake(forwarded)
        pool = relay.pools[route.pool]
        about = (relay, client, self.request, route, pool, handshake, self.facts, forwarded)
        search: Search
        if self.offer is not None:
            search = opening = Opening(*about, self.offer)
            relay.openings.add(opening)
        else:
            search = exchange = Exchange(*about)
            relay.exchanges.add(exchange)
        client.left = search.client_left
        search.begin()

    def _handshake(self, forwarded: Forwarded) -> Handshake:
        request, offer = self.request, self.offer
        return Handshake(
            request.path,
            request.query,
            request.headers,
            (forwarded.real_ip or b"").decode(),
            request.host,
            self.route.name,
            () if offer is None else offer.subprotocols,
            request.method,
            offer is not None,
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
        address=address,
        route=route.name if route is not None else "",
        host=request.host,
        path=request.path,
        query=request.query,
        origin=headers.text(b"origin"),
        user_agent=headers.text(b"user-agent"),
    )
