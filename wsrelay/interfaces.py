"""
What a plugin author implements, and what is handed to a plugin.

Plugins are found with ``twisted.plugin.getPlugins`` in ``twisted.plugins``
dropins: one class that provides `IBalancer`, say, and one object that provides
`IBalancerPlugin` and makes it.  README.rst shows a whole one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from wsrelay.wire.headers import Headers

__all__ = [
    "LEARNS",
    "IBalancer",
    "IBalancerPlugin",
    "IDiscovery",
    "IDiscoveryPlugin",
    "IHandshake",
    "ILearningBalancer",
    "IStickyBalancer",
    "IUpstream",
]

LEARNS: Final = 4096
"""Most bytes of an answer's body that an `ILearningBalancer` is shown."""


class IHandshake(Interface):
    """
    A client's request, as a balancer sees it.  Nobody changes it.

    It opens a websocket, or is a plain HTTP request: every request of a connection that
    is kept alive is one of its own.

    Text is what the client sent, decoded as ISO-8859-1, so that any byte
    survives; nothing is percent-decoded.
    """

    method: str = Attribute("the request's method as sent; 'GET' of a websocket handshake")
    is_websocket: bool = Attribute("whether it asks for a websocket; False of plain HTTP")
    path: str = Attribute("the request path, without the query")
    query: str = Attribute("the query without its '?'; empty when there is none")
    headers: Headers = Attribute("the client's headers; names in any case")
    cookies: Mapping[str, str] = Attribute("cookie name -> value, the first of each name")
    client_address: str = Attribute(
        "the client's IP address, as trusted proxies report it; empty on a unix socket"
    )
    host: str = Attribute("the Host header, lower case, without the port")
    route: str = Attribute("the name of the route that matched")
    subprotocols: tuple[str, ...] = Attribute("offered subprotocols, in order")


class IUpstream(Interface):
    """One server of a pool, with what the relay knows of it at this moment."""

    name: str = Attribute("its name in the pool")
    url: str = Attribute("ws://…, wss://… or unix:/path")
    weight: int = Attribute("its share relative to the others, at least 1")
    active: int = Attribute("live sessions and handshakes under way")
    max_connections: int | None = Attribute("most sessions at once; None: no limit")
    state: str = Attribute("what the operator wants: 'ready', 'drain' or 'down'")
    health: str = Attribute("what was observed: 'up', 'down' or 'unknown'")
    rtt: float | None = Attribute("seconds of the last ping and pong, or None")
    backup: bool = Attribute("True: used only when no other upstream may be")


class IBalancer(Interface):
    """
    Chooses an upstream for each new client.

    wsrelay makes one balancer for each pool and calls it in the reactor's thread.
    """

    def choose(
        request: IHandshake, upstreams: Sequence[IUpstream]
    ) -> IUpstream | Deferred[IUpstream | None] | None:
        """
        Choose one of *upstreams*.

        When the chosen upstream refuses the connection, wsrelay calls again with
        that upstream taken out, so a balancer never has to retry.

        :param upstreams: a tuple of those that may take the client now: up, not
            draining, below their connection limit, in configuration order.
            Never empty.
        :returns: one of *upstreams*; None to refuse the client with 503; or a
            Deferred of either, which is cancelled when the client leaves or the
            route's ``upstream_handshake_timeout`` is over.
        :raises Exception: anything raised, and anything else returned, is
            logged and this one client is answered with 500.
        """

    def upstreams_changed(upstreams: Sequence[IUpstream]) -> None:
        """
        Learn all upstreams of the pool, those that are down included.

        Called once before the first `choose`, and whenever the set or a weight
        changes.  What it raises is logged; the balancer stays in use.
        """


class IStickyBalancer(IBalancer):
    """A balancer that knows for some requests where they belong."""

    def find(request: IHandshake, upstreams: Sequence[IUpstream]) -> IUpstream | None:
        """
        Return the one of *upstreams* that a request belongs to, or None.

        Asked before `choose` in a pool with ``slow_start``, with all that may take the
        request, so that an upstream which gets few new clients still gets its own; after
        None `choose` is asked.  It must answer at once; errors are treated as those of
        `choose`.
        """


class ILearningBalancer(IBalancer):
    """A balancer that learns from the answers to plain HTTP requests."""

    def wants_answer(request: IHandshake) -> bool:
        """
        Say whether `answered` is to be called for a plain HTTP request.

        Asked once for each whose answer has begun; False costs nothing.  What it raises
        is logged and counts as False.
        """

    def answered(
        request: IHandshake, upstream: IUpstream, status: int, headers: Headers, body: bytes
    ) -> None:
        """
        Learn how an answer begins; called once, before the client has the whole of it.

        What it raises is logged and harms nothing.

        :param headers: the answer's headers.
        :param body: the first bytes of its body, at most `LEARNS`, without the transfer
            coding; a ``Content-Encoding`` is not undone.
        """


class IBalancerPlugin(Interface):
    """Makes balancers of one kind: what relay.ini calls ``balancer = name``."""

    name: str = Attribute("what relay.ini calls it")
    options: Mapping[str, str] = Attribute("option name -> one line of help")

    def create(options: Mapping[str, str], reactor: object) -> IBalancer:
        """
        Make a balancer for one pool.

        :param options: what stood behind the name in relay.ini; only names
            that `options` lists ever arrive here.
        :param reactor: for timers (``IReactorTime``).
        :raises ValueError: an option is bad; the text is shown to the operator
            with file and line.
        """


class IDiscovery(Interface):
    """
    Finds the upstreams of one pool, and goes on finding them.

    It may have an attribute ``problem``, a text: what keeps it from looking, empty when
    nothing does.  The relay shows it to the operator.
    """

    def start(update: Callable[[Sequence[str]], None]) -> None:
        """
        Begin to look; called once, in the reactor's thread, when the relay runs.

        :param update: to be called in the reactor's thread with all upstreams
            there are now, each written as in a pool's ``upstreams``:
            ``ws://10.0.0.1:9000 weight=2``.  Call it whenever the answer may
            have changed; the same answer again costs nothing.  An answer with
            a bad line in it, or with none at all, is logged and not used.  A
            source that fails calls nothing: what it said last stays.
        """

    def stop() -> None:
        """Look no more; *update* is not called after this.  What it raises is logged."""


class IDiscoveryPlugin(Interface):
    """Makes discoveries of one kind: what relay.ini calls ``discover = name``."""

    name: str = Attribute("what relay.ini calls it")
    options: Mapping[str, str] = Attribute("option name -> one line of help")

    def create(options: Mapping[str, str], reactor: object) -> IDiscovery:
        """
        Make a discovery for one pool; it does nothing before its `start`.

        :param options: what stood behind the name in relay.ini; only names that
            `options` lists ever arrive here.  ``path`` is an absolute file name.
        :param reactor: for timers and sockets; None in a plain check of a file.
        :raises ValueError: an option is bad; the text is shown to the operator
            with file and line.
        """
