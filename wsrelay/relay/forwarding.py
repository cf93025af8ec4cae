"""What an upstream is told of a client, and how it is addressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsrelay.config.model import RouteConfig, UpstreamConfig
from wsrelay.wire.address import client_address, is_trusted
from wsrelay.wire.forward import Forwarded
from wsrelay.wire.request import Request

if TYPE_CHECKING:
    from wsrelay.relay.client import ClientConnection


def who_is(client: ClientConnection, request: Request) -> tuple[Forwarded, str]:
    """
    Say who the client is: by its connection, or by a trusted proxy's word.

    :returns: what the upstream is told, and the client's address, empty on a unix socket.
    """
    headers, trusted = request.headers, client.listener.config.trusted_proxies
    peer, _ = client.peer
    address, chain = client_address(peer, headers.get_all("x-forwarded-for"), trusted)
    is_proxy = is_trusted(peer, trusted)
    proto = b"https" if client.listener.is_secure else b"http"
    host, port = request.host_header, client.local_port
    known = {"proto": proto, "host": host, "port": b"%d" % port if port is not None else None}
    if is_proxy:
        for word in known:
            said = headers.raw(f"x-forwarded-{word}")
            known[word] = said[0] if said else known[word]
    return (
        Forwarded(
            for_=chain,
            proto=known["proto"] or proto,
            host=known["host"] or host,
            port=known["port"],
            real_ip=address.encode() or None,
            trusted=is_proxy,
        ),
        address,
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
    if route.host_header == "client":
        return client_host
    if route.host_header != "upstream":
        return route.host_header.encode()
    return upstream.url.partition("://")[2].partition("/")[0].encode() or b"localhost"
