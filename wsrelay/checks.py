"""What only the running system can say about a configuration: plugins, endpoints, TLS files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.endpoints import serverFromString

from wsrelay.config.checks import Checks
from wsrelay.config.model import PoolConfig
from wsrelay.plugins import check_balancer
from wsrelay.relay.tls import listener_tls, upstream_tls


def make_checks() -> Checks:
    """Make the checks for `wsrelay.config.load`; the reactor is installed by this."""
    return Checks(
        balancer=check_balancer,
        endpoint=_check_endpoint,
        listener_tls=_check_listener_tls,
        upstream_tls=_check_upstream_tls,
    )


def _check_endpoint(description: str) -> None:
    from twisted.internet import reactor  # installing one earlier would choose it for twistd

    whole: Any = reactor
    try:
        serverFromString(whole, description)
    except Exception as error:  # a parser of a plugin may raise anything
        raise ValueError(
            f"{description!r} is no Twisted server endpoint ({error}); "
            "write for example tcp:8080 or unix:/run/wsrelay.sock"
        ) from error


def _check_listener_tls(certificate: Path, key: Path, min_tls: str) -> None:
    listener_tls(certificate, key, min_tls)


def _check_upstream_tls(pool: PoolConfig) -> None:
    for upstream in pool.upstreams:
        if upstream.scheme == "wss":
            upstream_tls(pool, upstream.host)
