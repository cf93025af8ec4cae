"""The guards of routes: ``allow``, ``deny``, ``origins``, and the limits of each client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import ceil
from typing import Final

from attrs import define, field, frozen

from wsrelay.commons import ALONE, Buckets, Commons, Counts, Place
from wsrelay.config.model import Rate, RouteConfig
from wsrelay.guards.keys import address_of, key_of
from wsrelay.guards.networks import Networks
from wsrelay.guards.origins import Origins
from wsrelay.relay.gate import Limit
from wsrelay.wire.request import Request

__all__ = ["CONNECTIONS", "GuardBook", "Guards", "Refusal", "too_early"]

WHEN_FULL: Final = 5
"""Seconds after which a client that has too many connections may try again."""


@frozen
class Refusal:
    """Why a client may not pass, and what it is told."""

    status: int
    refusal: str
    """See `wsrelay.relay.facts.Facts.refusal`."""
    reason: str
    """A sentence for the client, and for the log."""
    retry_after: int | None = None
    """Seconds; None: it is of no use."""

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Return those that go with the answer."""
        if self.retry_after is None:
            return ()
        return ((b"Retry-After", b"%d" % self.retry_after),)


_ADDRESS: Final = Refusal(403, "address", "Your address may not connect here.")
_ORIGIN: Final = Refusal(
    403,
    "origin",
    "Pages of this origin may not connect here; whoever runs this relay can allow it (origins).",
)
_NO_ORIGIN: Final = Refusal(
    403,
    "origin",
    "Without an Origin nobody may connect here; whoever runs this relay can allow it (origins).",
)
CONNECTIONS: Final = Refusal(
    429,
    "too-many-connections",
    "There are too many connections from your address; close one, or try again later.",
    WHEN_FULL,
)


def has_any(route: RouteConfig) -> bool:
    """Say whether a route has guards."""
    return bool(
        route.allow
        or route.deny
        or route.origins
        or route.connections_per_ip
        or route.handshakes_per_ip
    )


@define(eq=False)
class Guards:
    """
    The guards of one route.

    A reload gives it new limits (`follow`); what it has counted stays.  Sessions are counted
    while ``connections_per_ip`` is set: those that begin without it are not, for as long as
    they live.

    :ivar seconds: the clock.
    """

    route: RouteConfig
    seconds: Callable[[], float]
    commons: Commons = ALONE
    counts: Counts = field(init=False)
    _networks: Networks | None = field(default=None, init=False)
    _origins: Origins | None = field(default=None, init=False)
    _buckets: Buckets | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.counts = self.commons.counts(self.route.name)
        self._know_networks()
        self._know_origins()
        self._know_rate()

    def follow(self, route: RouteConfig) -> None:
        """Do from now on what the route says after a reload; only what differs is made anew."""
        old, self.route = self.route, route
        if (old.allow, old.deny) != (route.allow, route.deny):
            self._know_networks()
        if old.origins != route.origins:
            self._know_origins()
        if old.handshakes_per_ip != route.handshakes_per_ip:
            self._know_rate()

    def objection(
        self, request: Request, address: str, host: bytes, *, is_websocket: bool
    ) -> Refusal | None:
        """
        Say why a request may not pass; None: it may.

        Rates are for handshakes only.  One that does not come too early has taken its turn
        (``handshakes_per_ip``), whatever becomes of it; `begin` is next.

        :param address: the client's, as `wsrelay.relay.forwarding.who_is` tells it; empty: it
            came through a unix socket, and is in no network and has no limits.
        :param host: what the client asked for, by Host or as a trusted proxy tells it.
        :param is_websocket: it is a handshake.
        """
        client = address_of(address)
        if self._networks is not None and not self._networks.permit(client):
            return _ADDRESS
        if self._origins is not None:
            said = request.headers.values(b"origin")
            if not self._origins.permit(said, host, is_websocket=is_websocket):
                return _ORIGIN if said else _NO_ORIGIN
        if client is None or not is_websocket or self._buckets is None:
            return None
        wait = self._buckets.take(key_of(client, self.route.ipv6_prefix), self.seconds())
        return too_early(ceil(wait)) if wait else None

    def begin(self, address: str) -> Place | Refusal | None:
        """
        Count a handshake that nothing was said against, and the session that comes of it.

        :param address: see `objection`.
        :returns: what is released when the handshake is refused or given up, or its session
            has ended; why there is none: the client has too many; None: nothing is counted.
        """
        client, most = address_of(address), self.route.connections_per_ip
        if client is None or most is None:
            return None
        place = self.counts.take(key_of(client, self.route.ipv6_prefix), most)
        return CONNECTIONS if place is None else place

    def limit(self, address: str) -> Limit | None:
        """Return what relays that share count of a client; None: nothing."""
        client, most, rate = (
            address_of(address),
            self.route.connections_per_ip,
            self.route.handshakes_per_ip,
        )
        if client is None or (most is None and rate is None):
            return None
        key = key_of(client, self.route.ipv6_prefix)
        shared = None if rate is None else (rate.per_second, _size(rate))
        return Limit(self.route.name, key, most, shared)

    def _know_networks(self) -> None:
        allow, deny = self.route.allow, self.route.deny
        self._networks = Networks(allow, deny) if allow or deny else None

    def _know_origins(self) -> None:
        self._origins = Origins(self.route.origins) if self.route.origins else None

    def _know_rate(self) -> None:
        rate = self.route.handshakes_per_ip
        if rate is None:
            self._buckets = None
        elif self._buckets is None:
            self._buckets = self.commons.buckets(self.route.name, rate.per_second, _size(rate))
        else:
            self._buckets.change(rate.per_second, _size(rate))


def _size(rate: Rate) -> float:
    """Return how many may come at once."""
    return rate.burst if rate.burst is not None else max(rate.per_second, 1.0)


def too_early(seconds: int) -> Refusal:
    """Return what a client is told that may come in so many seconds."""
    wait = "1 second" if seconds == 1 else f"{seconds} seconds"
    reason = f"Your address connects too often; try again in {wait}."
    return Refusal(429, "too-many-handshakes", reason, seconds)


class GuardBook:
    """
    The guards of all routes that have any, by the routes' names.

    A route that goes, or loses its guards, and comes back finds the sessions counted that
    have lived on.
    """

    def __init__(
        self,
        routes: Iterable[RouteConfig],
        seconds: Callable[[], float],
        commons: Commons = ALONE,
    ) -> None:
        self._seconds = seconds
        self._commons = commons
        self._known: dict[str, Guards] = {}  # those that are out of use, too
        self._used: dict[str, Guards] = {}
        self.follow(routes)

    def of(self, route: str) -> Guards | None:
        """Return the guards of a route, or None if it has none."""
        return self._used.get(route)

    def follow(self, routes: Iterable[RouteConfig]) -> None:
        """Do from now on what a configuration says."""
        guarded = {each.name: each for each in routes if has_any(each)}
        for name, route in guarded.items():
            if known := self._known.get(name):
                known.follow(route)
            else:
                self._known[name] = Guards(route, self._seconds, self._commons)
        self._known = {
            name: each for name, each in self._known.items() if name in guarded or each.counts
        }
        self._used = {name: self._known[name] for name in guarded}
