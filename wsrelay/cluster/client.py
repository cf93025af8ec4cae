"""
A Redis that may be there or not.

While it is not, nobody waits for it: `Redis.is_up` says so at once.  It is up again when a
new connection has been made and has done what the relay needs.  Between the attempts are a
quarter of a second, then twice as much each time, five seconds at most.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from wsrelay.cluster.connection import Argument, Away, RedisConnection
from wsrelay.config.model import RedisUrl
from wsrelay.log import Logger
from wsrelay.observe.metrics import Histogram

__all__ = ["DEADLINE", "KINDS", "Meters", "Redis"]

log = Logger()

DEADLINE: Final = 0.25
"""Seconds that a handshake may have to wait for Redis, once; then it is taken for away."""

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 5.0
"""Seconds between two attempts to connect, a quarter more or less at random."""

STEADY: Final = 10.0
"""Seconds for which it has to be up until the next pause is the first one again."""

PING_EVERY: Final = 10.0
"""Seconds between two signs of life of a connection by which nothing else is sent."""

KINDS: Final = ("connect", "lost", "protocol", "refused", "slow")
"""What goes wrong; see `Away`."""

TRIP_BUCKETS: Final = (
    *(0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
)


@define(eq=False)
class Meters:
    """What is counted of all connections of a relay to its Redis."""

    up: bool = False
    relays: int = 1
    errors: Counter[str] = field(factory=lambda: Counter(dict.fromkeys(KINDS, 0)))
    seconds: Histogram = field(factory=lambda: Histogram(TRIP_BUCKETS))


class Make(Protocol):
    """Makes the protocol of a connection."""

    def __call__(
        self, reactor: Any, on_lost: Callable[[Away], None], on_trip: Callable[[float], None]
    ) -> RedisConnection:
        """Return it; who made it is told of its end, and of each answer."""


def _nothing() -> None:
    """Do nothing about a change."""


@define(eq=False)
class Redis:
    """
    Keeps one connection to a Redis.

    :param endpoint: by which *url* is connected to.
    :param prepare: called with each new connection, when the password is accepted; it is in
        use when what this returns has fired, and of no use if that fails.
    :param label: for the log: what the connection is for.
    :param pings: ask for a sign of life now and then, because nothing else is sent.
    :ivar is_up: commands may be sent.
    :ivar since: when that changed last, in seconds of the reactor's clock; *problem*: why
        Redis is away, empty while it is not.
    :ivar on_up: called when it has come up, *on_down* when it is away again.
    """

    reactor: Any
    url: RedisUrl
    endpoint: IStreamClientEndpoint
    prepare: Callable[[RedisConnection], Deferred[Any]]
    label: str = "Redis"
    meters: Meters = field(factory=Meters)
    make: Make = RedisConnection
    pings: bool = False
    on_up: Callable[[], None] = _nothing
    on_down: Callable[[], None] = _nothing
    is_up: bool = field(default=False, init=False)
    since: float = field(init=False)
    problem: str = field(default="it is not connected yet", init=False)
    _connection: RedisConnection | None = field(default=None, init=False)
    _connecting: Deferred[Any] | None = field(default=None, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _failures: int = field(default=0, init=False)
    _told: bool = field(default=False, init=False)  # the log, that it is away
    _running: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.since = self.reactor.seconds()

    def start(self) -> None:
        """Connect, and go on to; called once."""
        self._running = True
        self._connect()

    def stop(self) -> None:
        """Connect no more; what was told is still sent."""
        self._running = self.is_up = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def call(self, *command: Argument) -> Deferred[Any]:
        """Ask for something while it is up; fails with `Away`."""
        assert self._connection is not None
        return self._connection.call(*command)

    def tell(self, *command: Argument) -> None:
        """Say something that nobody needs an answer to; while it is away it is not said."""
        if self.is_up and self._connection is not None:
            self._connection.tell(*command)

    def renew(self, why: str) -> None:
        """End the connection, and make a new one."""
        if self._connection is not None:
            self._connection.fail("lost", why)

    def _connect(self) -> None:
        self._timer = None
        factory = Factory.forProtocol(self._make)
        factory.noisy = False
        connecting = maybeDeferred(self.endpoint.connect, factory)
        self._connecting = connecting
        connecting.addCallbacks(self._connected, self._not_connected)

    def _make(self) -> RedisConnection:
        return self.make(self.reactor, self._lost, self.meters.seconds.observe)

    def _connected(self, connection: RedisConnection) -> None:
        self._connecting, self._connection = None, connection
        prepared = Deferred.fromCoroutine(self._introduce(connection))
        prepared.addCallbacks(partial(self._use, connection), partial(self._unfit, connection))

    async def _introduce(self, connection: RedisConnection) -> None:
        url = self.url
        if url.password:
            who = (url.user, url.password) if url.user else (url.password,)
            await connection.call("AUTH", *who, is_secret=True)
        if url.database:
            await connection.call("SELECT", url.database)
        await self.prepare(connection)
        # Who is as late as that when nobody waits is not asked about clients at all.
        connection.allow(DEADLINE)
        await connection.call("PING")

    def _unfit(self, connection: RedisConnection, failure: Failure) -> None:
        if not failure.check(Away):  # then `_lost` knows already
            log.failure("{label} could not be prepared", failure, label=self.label)
            connection.fail("refused", "it could not be prepared; the log says why")

    def _use(self, connection: RedisConnection, _: object) -> None:
        if connection is not self._connection:  # it ended in the same turn
            return
        self._change(is_up=True)
        if self._told:
            self._told = False
            log.info("{label} at {where} is back", **self._about)
        else:
            log.info("{label} at {where} is there", **self._about)
        if self.pings:
            self._timer = self.reactor.callLater(PING_EVERY, self._ping)
        self.on_up()

    def _ping(self) -> None:
        self._timer = self.reactor.callLater(PING_EVERY, self._ping)
        self.tell("PING")

    def _not_connected(self, failure: Failure) -> None:
        self._connecting = None
        if self._running:
            self._lost(Away("connect", failure.getErrorMessage().rstrip(".")))

    def _lost(self, end: Away) -> None:
        self._connection = None
        self.meters.errors[end.kind] += 1
        was_up, lasted = self.is_up, self.reactor.seconds() - self.since
        self._failures = 0 if was_up and lasted >= STEADY else self._failures + 1
        self._change(is_up=False, problem=end.why)
        if not self._told:
            self._told = True
            log.warn(
                "{label} at {where} is away: {why}; this relay goes on with what it knows itself",
                why=end.why,
                **self._about,
            )
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._running:
            self._timer = self.reactor.callLater(self._pause(), self._connect)
        if was_up:
            self.on_down()

    def _change(self, *, is_up: bool, problem: str = "") -> None:
        """Note what is so now."""
        if is_up != self.is_up:
            self.since = self.reactor.seconds()
        self.is_up, self.problem = is_up, problem

    def _pause(self) -> float:
        pause: float = min(FIRST_PAUSE * 2 ** min(max(self._failures - 1, 0), 10), LONGEST_PAUSE)
        return pause * random.uniform(0.75, 1.25)

    @property
    def _about(self) -> dict[str, Any]:
        return {"label": self.label, "where": str(self.url)}
