"""
What a plugin author implements, and what is handed to a plugin.

Plugins are found with ``twisted.plugin.getPlugins`` in ``twisted.plugins``
dropins: one class that provides `IBalancer`, say, and one object that provides
`IBalancerPlugin` and makes it.  README.rst shows a whole one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from wsrelay.commons import Memory
    from wsrelay.wire.headers import Headers

__all__ = [
    "DOWN",
    "DROP",
    "LEARNS",
    "UP",
    "Admit",
    "CannotTell",
    "Close",
    "Deny",
    "Drop",
    "Expires",
    "IAccessPolicy",
    "IAccessPolicyPlugin",
    "IBalancer",
    "IBalancerPlugin",
    "IDiscovery",
    "IDiscoveryPlugin",
    "IHandshake",
    "ILearningBalancer",
    "IMessageFilter",
    "IMessageFilterPlugin",
    "IRecallingBalancer",
    "ISession",
    "ISessionFilter",
    "ISharingBalancer",
    "IStickyBalancer",
    "IUpstream",
]

LEARNS: Final = 4096
"""Most bytes of an answer's body that an `ILearningBalancer` is shown."""


UP: Final = "up"
"""The direction of a message from the client."""

DOWN: Final = "down"
"""The direction of a message from the upstream."""


class IHandshake(Interface):
    """
    A client's request, as balancers and policies see it.  Nobody changes it.

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


class ISharingBalancer(IBalancer):
    """A balancer that remembers sessions, together with the relay's other processes."""

    def share(make: Callable[[str, Callable[[], float], float, int], Memory]) -> None:
        """
        Remember in tables of *make*'s from now on.

        Called once, before anything else.

        :param make: makes a `wsrelay.commons.Memory`: from a name for it, the monotonic
            time, the seconds for which something is remembered after its last use, and the
            most that is.
        """


class IRecallingBalancer(IBalancer):
    """A balancer that knows where sessions are, and tells and asks other relays about them."""

    ttl: float = Attribute("for how many seconds a session is remembered after its last use")

    def tell_of(tell: Callable[[str, bytes], None]) -> None:
        """
        Tell of sessions from now on.

        :param tell: to be called with the key of each session that is learnt or used, and the
            mark of its upstream; see `wsrelay.commons.Memory`.
        """

    def missing(request: IHandshake) -> str:
        """
        Return the key of a session that may be known elsewhere; empty: there is nothing to ask.

        Called before `choose`.
        """

    def recall(key: str, mark: bytes) -> None:
        """Learn where a session is that another relay has told of."""


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


# policies


@frozen
class Deny:
    """
    What a policy answers to keep a client out.

    :param status: of the answer, 300 to 599.
    :param headers: more of them: ``("WWW-Authenticate", 'Basic realm="chat"')``; text is sent
        as UTF-8.
    :param body: a sentence, or bytes of whatever Content-Type *headers* say; empty: a
        sentence of the relay's.
    """

    status: int = 403
    headers: Sequence[tuple[str, str]] = ()
    body: str | bytes = ""


@frozen
class Admit:
    """
    What a policy answers to let a client in, and to say more about it.

    :param headers: for the upstream, sent as UTF-8, in place of what the client sent under
        these names.  A policy that may set a header names it in `IAccessPolicy` ``headers``.
    :param tags: of the session, for who publishes to it: ``user:42``.
    :param expires_at: when the session has to end, in seconds since the epoch; it is closed
        with 1008 then.  None: never.
    """

    headers: Sequence[tuple[str, str]] = field(default=(), kw_only=True)
    tags: Sequence[str] = field(default=(), kw_only=True)
    expires_at: float | None = field(default=None, kw_only=True)


class Expires(Admit):
    """What a policy answers to let a client in until *at*, in seconds since the epoch."""

    __slots__ = ()

    def __init__(self, at: float) -> None:
        super().__init__(expires_at=at)


class CannotTell(Exception):  # noqa: N818  it stands beside Admit and Deny
    """
    What a policy raises when what it depends on fails: a server that it asks, say.

    The client is answered with 500.  The text, a clause without a full stop, goes to the log.
    """


class IAccessPolicy(Interface):
    """
    Decides who may come in.

    wsrelay makes one for each line of a route's ``policies``.  They are asked one after the
    other, in that order, about each websocket handshake and each plain request, before an
    upstream is; the first that denies decides.  A policy may have an attribute
    ``headers``, the names of request headers that it can set: clients cannot send these
    upstream; and a method ``stop``, called when it is not asked any more.
    """

    def admit(request: IHandshake) -> Admit | Deny | Deferred[Admit | Deny | None] | None:
        """
        Decide about one request.

        :returns: None to let it in, or an `Admit` (`Expires` is one) or a `Deny`, or a
            Deferred of these, which is cancelled when the client leaves or the route's
            ``policy_timeout`` is over; then the client gets 504.
        :raises Exception: anything raised, and anything else returned, is logged and this
            one client is answered with 500; with its traceback unless it is `CannotTell`.
        """


class IAccessPolicyPlugin(Interface):
    """Makes policies of one kind: what relay.ini calls ``policies = name``."""

    name: str = Attribute("what relay.ini calls it")
    options: Mapping[str, str] = Attribute("option name -> one line of help")

    def create(options: Mapping[str, str], reactor: object) -> IAccessPolicy:
        """
        Make a policy for one route.

        :param options: what stood behind the name in relay.ini; only names that `options`
            lists ever arrive here.  ``path``, ``file`` and what ends in ``_file`` are
            absolute file names.
        :param reactor: for timers and sockets; None in a plain check of a file.
        :raises ValueError: an option is bad; the text is shown to the operator
            with file and line.
        """


# filters


class Drop(Enum):
    """The type of `DROP`."""

    DROP = "drop"


DROP: Final = Drop.DROP
"""What a filter returns for a message that goes no further."""


@frozen
class Close:
    """
    What a filter returns to end the session: both peers get this close frame.

    :param code: as RFC 6455 section 7.4 allows it on the wire.
    :param reason: at most 123 bytes as UTF-8; what is longer is cut.
    """

    code: int = 1008
    reason: str = ""


class ISession(Interface):
    """
    A session, as a filter sees it.

    Its methods may be called at any time in the reactor's thread, while a filter is asked
    about a message and after the session's end, too; then they do nothing.  What cannot be
    sent raises ValueError.
    """

    id: str = Attribute("16 hexadecimal digits, as in the log")
    route: str = Attribute("the name of the route")
    pool: str = Attribute("the name of the pool")
    upstream: str = Attribute("the name of the upstream")
    client_address: str = Attribute(
        "the client's IP address, as trusted proxies report it; empty on a unix socket"
    )
    host: str = Attribute("the Host header, lower case, without the port")
    path: str = Attribute("the request path, without the query")
    query: str = Attribute("the query without its '?'; empty when there is none")
    subprotocol: str = Attribute("what the upstream chose; empty when there is none")
    tags: frozenset[str] = Attribute("what policies and filters have tagged it with")
    data: dict[Any, Any] = Attribute("whatever filters want to keep; a dict of its own")

    def send(direction: str, payload: bytes | str, is_binary: bool = False) -> None:
        """
        Send a message of the filter's own; no filter sees it.

        It goes out at once, before a message that a filter is being asked about; or not at
        all, if more than 1 MiB waits already for a peer that takes nothing.

        :param direction: `UP` (to the upstream) or `DOWN` (to the client).
        :param payload: a str is sent as UTF-8; the bytes of a text message have to be UTF-8.
        """

    def close(code: int = 1008, reason: str = "") -> None:
        """End the session, as a returned `Close` does."""

    def tag(name: str) -> None:
        """Tag it, with any text, for who publishes to all sessions with a tag."""

    def untag(name: str) -> None:
        """Remove a tag, if it is there."""


class IMessageFilter(Interface):
    """
    Sees whole messages; wsrelay makes one for each line of a route's ``filters``.

    Filters are asked one after the other, in that order, in both directions.
    """

    def message(
        session: ISession, direction: str, payload: bytes, is_binary: bool
    ) -> bytes | str | Drop | Close | Deferred[bytes | str | Drop | Close]:
        """
        Decide what becomes of a message.

        The next message in the same direction waits until the answer is there; those in the
        other direction do not.

        :param direction: `UP` or `DOWN`.
        :param payload: as the filter before it left it; a text message's is valid UTF-8.
        :returns: the payload to pass on, changed or not (it stays text or binary; a str is
            sent as UTF-8); `DROP`; a `Close`; or a Deferred of one, which is cancelled when
            the session ends or the route's ``filter_timeout`` is over.
        :raises Exception: anything raised, anything else returned (None, too) and a timeout
            are logged; then the route's ``on_error`` decides: ``close`` ends the session with
            1011, and with ``pass`` the message goes on to the next filter as it was before
            this one.
        """


class ISessionFilter(IMessageFilter):
    """
    A filter that learns of sessions' beginnings and ends.  What it raises is logged.

    A filter that holds a timer or a connection begins it with its first session and ends it
    with its last: nobody tells it when a reload has put another in its place, for the sessions
    that live keep the filter that they have.
    """

    def opened(session: ISession) -> None:
        """Learn of a session before its first message; called once."""

    def ended(session: ISession) -> None:
        """Learn that there are no more messages; called once after `opened`, whatever that did."""


class IMessageFilterPlugin(Interface):
    """Makes filters of one kind: what relay.ini calls ``filters = name``."""

    name: str = Attribute("what relay.ini calls it")
    options: Mapping[str, str] = Attribute("option name -> one line of help")

    def create(options: Mapping[str, str], reactor: object) -> IMessageFilter:
        """
        Make a filter for one route; see `IAccessPolicyPlugin` for options and errors.

        It may be dropped at once, when a file is only checked, so it begins nothing yet.

        :param reactor: for timers (``IReactorTime``); None in a plain check of a file.
        """
