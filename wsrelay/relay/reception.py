"""A client's request, once it is read: who answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsrelay.config.model import RouteConfig
from wsrelay.http.exchange import Exchange
from wsrelay.http.local import LocalAnswer
from wsrelay.relay.ends import name_of
from wsrelay.relay.facts import Facts
from wsrelay.relay.forwarding import who_is
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
    elif not route.pool:
        LocalAnswer(relay, client, request, route, facts).begin()
    else:
        _search(relay, client, request, offer, route, forwarded, facts)


def _refuse(
    relay: Relay, client: ClientConnection, status: int, reason: str, refusal: str = ""
) -> None:
    relay.refused_early(client, status, reason, refusal)
    client.answer(status, reason, RETRY_AFTER if status == 503 else ())


def _search(
    relay: Relay,
    client: ClientConnection,
    request: Request,
    offer: Offer | None,
    route: RouteConfig,
    forwarded: Forwarded,
    facts: Facts,
) -> None:
    """Let an upstream of the route's pool answer."""
    handshake = Handshake(
        request.path,
        request.query,
        request.headers,
        (forwarded.real_ip or b"").decode(),
        request.host,
        route.name,
        () if offer is None else offer.subprotocols,
        request.method,
        offer is not None,
    )
    pool = relay.pools[route.pool]
    about = (relay, client, request, route, pool, handshake, facts, forwarded)
    search: Search
    if offer is not None:
        search = opening = Opening(*about, offer)
        relay.openings.add(opening)
    else:
        search = exchange = Exchange(*about)
        relay.exchanges.add(exchange)
    client.left = search.client_left
    search.begin()


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
