"""
Everything ``twistd wsrelay --demo`` needs besides the relay itself.

The relay that stands between a browser and all of it is made by the caller, from
`Demo.upstream_urls`, `Demo.page_upstream` and `Demo.relay_url`: the page comes from the
relay's port, as the websockets do.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import IService, MultiService
from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.internet.interfaces import IProtocolFactory

from wsrelay.demo.page import make_site
from wsrelay.demo.room import Room
from wsrelay.demo.upstreams import NAMES, UpstreamFactory

__all__ = ["DASHBOARD_PORT", "RELAY_PORT", "Demo", "free_port", "make_demo"]

RELAY_PORT = 8080
"""Where the relay of the demo listens, unless somebody else does."""

DASHBOARD_PORT = 8081
"""Where the relay's dashboard is, unless somebody else is."""

_LOOPBACK = "127.0.0.1"
_BACKLOG = 128


@frozen
class Demo:
    """The demo, ready to start."""

    service: IService
    """The upstreams and the page; stopping it leaves open sessions to the relay."""

    upstream_urls: Mapping[str, str]
    """Name to ``ws://127.0.0.1:port``, in the order of the page's cards."""

    page_upstream: str
    """``ws://127.0.0.1:port`` of the page's server, for plain requests."""

    relay_url: str
    """Where the page expects the relay."""

    page_url: str
    """What to open in a browser: the relay leads to the page."""


def make_demo(
    reactor: Any,
    relay_port: int = RELAY_PORT,
    upstream_ports: Sequence[int] = (0, 0, 0),
) -> Demo:
    """
    Make the demo's upstreams and page, on loopback only.

    Their sockets listen when this returns, so the URLs are final and nobody can
    take a port in between; connections are accepted once the service has started.

    :param relay_port: where the caller will make the relay listen.
    :param upstream_ports: one for each upstream; 0 for any free port.
    :raises ValueError: there are more or fewer ports than upstreams.
    :raises OSError: a port is taken; see `free_port`.
    """
    ports = dict(zip(NAMES, upstream_ports, strict=True))
    relay = f"{_LOOPBACK}:{relay_port}"
    room = Room(NAMES)
    parent = MultiService()
    upstream_urls = {}
    for name, wanted in ports.items():
        port = _listen(reactor, UpstreamFactory(reactor, name, room), wanted, parent)
        upstream_urls[name] = f"ws://{_LOOPBACK}:{port}"
    port = _listen(reactor, make_site(f"ws://{relay}", NAMES), 0, parent)
    page_upstream = f"ws://{_LOOPBACK}:{port}"
    return Demo(parent, upstream_urls, page_upstream, f"ws://{relay}", f"http://{relay}/")


def free_port(preferred: int) -> int:
    """Return *preferred* if nobody listens there on loopback, otherwise a free port."""
    try:
        with _listening_socket(preferred) as found:
            return _port_of(found)
    except OSError:
        with _listening_socket(0) as found:
            return _port_of(found)


def _listen(reactor: Any, factory: IProtocolFactory, port: int, parent: MultiService) -> int:
    """Add a service for *factory* to *parent* and return the port it has."""
    listening = _listening_socket(port)
    port = _port_of(listening)
    listening.setblocking(False)
    endpoint = AdoptedStreamServerEndpoint(reactor, listening.detach(), socket.AF_INET)
    StreamServerEndpointService(endpoint, factory).setServiceParent(parent)
    return port


def _listening_socket(port: int) -> socket.socket:
    # Only listening makes a port ours: two sockets with SO_REUSEADDR may both be bound to it.
    return socket.create_server((_LOOPBACK, port), backlog=_BACKLOG)


def _port_of(bound: socket.socket) -> int:
    port: int = bound.getsockname()[1]
    return port
