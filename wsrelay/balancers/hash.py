"""``balancer = hash``: the same client, room or user to the same upstream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from math import inf, log

from zope.interface import implementer

from wsrelay.interfaces import IHandshake, IStickyBalancer, IUpstream

__all__ = ["Hash", "nearest"]

KEYS = "key=ip, key=path, key=header:NAME, key=cookie:NAME or key=query:NAME"


def _query_value(name: str, request: IHandshake) -> str:
    """Return the first value of *name*, as it was sent; empty when there is none."""
    start = f"{name}="
    for pair in request.query.split("&"):
        if pair.startswith(start):
            return pair.removeprefix(start)
    return ""


PLAIN: dict[str, Callable[[IHandshake], str]] = {
    "ip": lambda request: request.client_address,
    "path": lambda request: request.path,
}
NAMED: dict[str, Callable[[str, IHandshake], str | None]] = {
    "header": lambda name, request: request.headers.get(name),
    "cookie": lambda name, request: request.cookies.get(name),
    "query": _query_value,
}


@implementer(IStickyBalancer)
class Hash:
    """
    Consistent hashing with bounded load.

    Every key has its own order of the upstreams, by a hash of key and
    upstream's name together (weighted rendezvous hashing): the same in every
    process and after every restart.  The key goes to the first in its order
    that has room for it.  When one of N upstreams leaves, only its keys
    move, about one in N, and they spread over all the others; when it comes
    back, so do they.

    An upstream has room while its live sessions stay within *load_factor*
    times its fair share, by weight, of all sessions on the upstreams on offer,
    the new one included.  So while there are few sessions, keys leave
    their first upstream early; where a key must never be split, say
    ``load_factor=off``.  The bound is for new websockets only: a plain request, and the
    upgrade of a session that began with polling (its query has ``sid``, or ``id``), are
    parts of something that is one upstream's, and go where their key says.

    A request without the key (no such header, or an empty one) is hashed
    by the client's address.

    :param key: ``ip``, ``path``, ``header:NAME``, ``cookie:NAME`` or
        ``query:NAME``, the last compared as sent, without percent-decoding.
    :param load_factor: a number from 1 up, or ``off``.
    :raises ValueError: either is bad.
    """

    def __init__(self, key: str = "", load_factor: str = "1.25") -> None:
        self._key_of = _key_function(key)
        self._load_factor = _load_factor(load_factor)

    def choose(self, request: IHandshake, upstreams: Sequence[IUpstream]) -> IUpstream:
        """Return the first in the key's order that has room, or where the request belongs."""
        if (known := self.find(request, upstreams)) is not None:
            return known
        sessions = sum([each.active for each in upstreams]) + 1
        share = self._load_factor * sessions / sum([each.weight for each in upstreams])
        roomy = [each for each in upstreams if each.active < share * each.weight]
        # Rounding of huge numbers may leave nobody any room.
        return nearest(self._key(request), roomy or upstreams)

    def find(self, request: IHandshake, upstreams: Sequence[IUpstream]) -> IUpstream | None:
        """Return the first in the key's order, for a request that is a part of something."""
        return nearest(self._key(request), upstreams) if _is_part_of_more(request) else None

    def _key(self, request: IHandshake) -> str:
        return self._key_of(request) or request.client_address

    def upstreams_changed(self, upstreams: Sequence[IUpstream]) -> None:
        """Need nothing: this balancer keeps no state."""


def _is_part_of_more(request: IHandshake) -> bool:
    """Tell whether others of the same client belong to a request: polling, and its upgrade."""
    if not request.is_websocket:
        return True
    return any(_query_value(name, request) for name in ("sid", "id"))  # Engine.IO, SignalR


def nearest(key: str, upstreams: Sequence[IUpstream]) -> IUpstream:
    """Return the first of *upstreams* in the key's order; see `Hash`."""
    state = blake2b(key.encode("utf-8", "surrogatepass") + b"\0", digest_size=8)
    nearest, least = upstreams[0], inf
    for upstream in upstreams:
        draw = state.copy()
        draw.update(upstream.name.encode())
        # An exponential draw with the weight as its rate: each one's is the smallest
        # with a probability in proportion to its weight.
        distance = -log((int.from_bytes(draw.digest()) + 1) / 2**64) / upstream.weight
        if distance < least:
            nearest, least = upstream, distance
    return nearest


def _key_function(key: str) -> Callable[[IHandshake], str | None]:
    """Return what finds the key's value in a request."""
    kind, _, name = key.partition(":")
    if key in PLAIN:
        return PLAIN[key]
    if kind in NAMED and name:
        return partial(NAMED[kind], name)
    found = f"key={key} is none of them" if key else "key is missing"
    raise ValueError(f"{found}: say {KEYS}")


def _load_factor(text: str) -> float:
    if text == "off":
        return inf
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    # "not >=", so that a NaN is refused too.
    if not factor >= 1:
        raise ValueError(f"load_factor={text}: expected a number of 1 or more, or off")
    return factor
