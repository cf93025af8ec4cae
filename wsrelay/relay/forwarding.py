"""What an upstream is told of a client, and how it is addressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from wsrelay.config.model import RouteConfig, UpstreamConfig
from wsrelay.messages.compression import offer_of
from wsrelay.relay.tls_transport import certificate_of
from wsrelay.wire.address import client_address, is_trusted, request_id
from wsrelay.wire.forward import Forwarded, upstream_head
from wsrelay.wire.request import Request

if TYPE_CHECKING:
    from wsrelay.relay.client import ClientConnection


def who_is(client: ClientConnection, request: Request) -> tuple[Forwarded, str]:
    """
    Say who the client is: by its connection, or by a trusted proxy's word.

    :returns: what the upstream is told, and the client's address, empty on a unix socket.
    """
    trusted = client.listener.config.trusted_proxies
    peer, _ = client.peer
    said = request.headers.get_all("x-forwarded-for") if trusted else ()
    address, chain = client_address(peer, said, trusted)
    local = client.local
    proto = b"https" if client.is_secure else b"http"
    port = b"%d" % local[1] if local is not None else None
    real_ip = address.encode() or None
    known = Forwarded(chain, proto, request.host_header or None, port, real_ip, trusted=False)
    if client.listener.config.client_certificate != "off":
        verify, subject = certificate_of(client.transport)
        known = evolve(known, client_verify=verify, client_subject=subject)
    return (_as_told(known, request) if is_trusted(peer, trusted) else known), address


def _as_told(known: Forwarded, request: Request) -> Forwarded:
    """Put what a trusted proxy says in the place of what is seen from here."""

    def said(word: bytes, otherwise: bytes | None) -> bytes | None:
        values = request.headers.values(b"x-forwarded-" + word)
        return values[0] if values else otherwise

    return evolve(
        known,
        proto=said(b"proto", None) or known.proto,
        host=said(b"host", None) or known.host,
        port=said(b"port", known.port),
        trusted=True,
    )


def head_for(
    upstream: UpstreamConfig,
    request: Request,
    route: RouteConfig,
    forwarded: Forwarded,
    id: str,
    *,
    upgrades: bool,
) -> bytes:
    """
    Return the head of the request for one upstream.

    :param id: for X-Request-ID, unless the client sent one.
    :param upgrades: it is a websocket handshake.
    """
    return upstream_head(
        request,
        target=upstream_target(request.target, route, upstream),
        host=upstream_host(request.host_header, route, upstream),
        forwarded=forwarded,
        request_id=request_id(request.headers.text(b"x-request-id"), id).encode(),
        set_header=route.set_header,
        remove_header=route.remove_header,
        upgrades=upgrades,
        extensions=offer_of(route) if upgrades else None,
    )


def upstream_target(target: bytes, route: RouteConfig, upstream: UpstreamConfig) -> bytes:
    """Return the request target for *upstream*: its base path, then the client's."""
    if route.strip_prefix:
        target = target[len(route.path.value.encode("latin-1")) :]
        if not target.startswith(b"/"):
            target = b"/" + target
    return upstream.base_path.encode() + target


def upstream_host(client_host: bytes, route: RouteConfig, upstream: UpstreamConfig) -> bytes:
    """Return Host for *upstream*, as ``host_header`` says."""
    if route.host_header == "client" and client_host:  # HTTP/1.0 may have none
        return client_host
    if route.host_header not in ("client", "upstream"):
        return route.host_header.encode()
    return upstream.authority.encode()
