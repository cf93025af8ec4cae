"""How a Redis is connected to: by TCP, TLS or a unix socket."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint

from wsrelay.config.model import PoolConfig, RedisUrl
from wsrelay.relay.tls import upstream_tls

__all__ = ["CONNECT_TIMEOUT", "endpoint_of"]

CONNECT_TIMEOUT = 2.0
"""Seconds; a Redis is near, or of no use."""


def endpoint_of(url: RedisUrl, reactor: Any) -> IStreamClientEndpoint:
    """
    Return the endpoint of a Redis; certificates are judged as those of upstreams are.

    :raises ValueError: the file of its authorities cannot be used.
    """
    if url.path:
        return UNIXClientEndpoint(reactor, url.path, CONNECT_TIMEOUT)
    tls = _tls_of(url) if url.is_secure else None
    endpoint = HostnameEndpoint(reactor, url.host, url.port, CONNECT_TIMEOUT)
    return endpoint if tls is None else wrapClientTLS(tls, endpoint)


def _tls_of(url: RedisUrl) -> Any:
    return upstream_tls(PoolConfig("redis", tls_ca=url.ca, tls_verify=url.verify), url.host)
