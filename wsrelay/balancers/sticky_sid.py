"""
``balancer = sticky-sid``: each Engine.IO or SockJS session to the upstream that has it.

A Socket.IO client that polls makes many requests, and all must reach the process that made
its session.  The session's id is drawn by that process and comes first in the body of the
answer to the first request; so it is read there.  A SockJS client draws its id itself.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from zope.interface import implementer

from wsrelay.balancers.hash import nearest
from wsrelay.balancers.least_connections import LeastConnections
from wsrelay.commons import MARK_SIZE, Memory, OwnMemory
from wsrelay.interfaces import (
    LEARNS,
    IHandshake,
    ILearningBalancer,
    IRecallingBalancer,
    ISharingBalancer,
    IStickyBalancer,
    IUpstream,
)

if TYPE_CHECKING:
    from wsrelay.wire.headers import Headers

__all__ = ["StickySid"]

LONGEST_ID: Final = 256
"""Letters; what is longer is no session id, so that the tables stay small."""

_DURATION = re.compile(r"([0-9]{1,9})(s|m|h)")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_SIZE = re.compile(r"[1-9][0-9]{0,8}")
_PARAM = re.compile(r"[A-Za-z0-9_.-]+")
# JSON, bare (Engine.IO 4), behind a length (Engine.IO 3) or within a script (its JSONP).
_SID = re.compile(rb'\\?"sid\\?"\s*:\s*\\?"([^"\\]+)')
_ENCODINGS = {"gzip", "x-gzip", "deflate"}
# …/server/session/transport, as sockjs-client makes it; its websocket is one request only.
_SOCKJS = re.compile(
    r"/[^/.]+/([^/.]+)/(?:xhr|xhr_send|xhr_streaming|eventsource|htmlfile|jsonp|jsonp_send)/?\Z"
)


@implementer(ILearningBalancer, IRecallingBalancer, ISharingBalancer, IStickyBalancer)
class StickySid:
    """
    Learns from answers where sessions are, and sends what belongs to one there.

    A request without a session id goes where the fewest connections are.  One whose id is
    not known (the relay was restarted, say) or whose upstream may not take it is placed by a
    hash of the id, so that all requests of a session agree, and the place is remembered, so
    that they go on to agree when other upstreams come and go.  Such places have a table of
    their own: made-up ids cannot push out what was learnt.

    :param seconds: the monotonic time, in seconds.
    :param ttl: how long a session is remembered after its last request: ``90s``, ``2m``, ``1h``.
    :param size: the most sessions that are remembered.
    :param param: the query parameter with the session id.
    :raises ValueError: an option is bad.
    """

    def __init__(
        self,
        seconds: Callable[[], float],
        ttl: str = "2m",
        size: str = "100000",
        param: str = "sid",
    ) -> None:
        if not _PARAM.fullmatch(param):
            raise ValueError(f"param={param}: expected a name of letters, digits, '_', '.' or '-'")
        time, most = _duration(ttl), _number(size)
        self._param = param
        self.ttl = time
        self._bounds = seconds, time, most
        self._tell: Callable[[str, bytes], None] | None = None
        self._learnt: Memory = OwnMemory(*self._bounds)
        self._placed: Memory = OwnMemory(*self._bounds)
        self._least = LeastConnections()

    def share(self, make: Callable[..., Memory]) -> None:
        """Remember together with other processes; called once, before anything is asked."""
        self._learnt = make("learnt", *self._bounds)
        self._placed = make("placed", *self._bounds)

    def tell_of(self, tell: Callable[[str, bytes], None]) -> None:
        """Tell of each session that is learnt from an answer, and of its requests."""
        self._tell = tell

    def missing(self, request: IHandshake) -> str:
        """Return the id of an Engine.IO session that is in no table; a SockJS one is hashed."""
        key = self._sid(request)
        if len(key) > LONGEST_ID or self._learnt.get(key) or self._placed.get(key):
            return ""
        return key

    def recall(self, key: str, mark: bytes) -> None:
        """Learn where a session is that another relay has learnt of."""
        self._learnt.put(key, mark)

    def find(self, request: IHandshake, upstreams: Sequence[IUpstream]) -> IUpstream | None:
        """Return the upstream of the request's session if it is one of *upstreams*."""
        return self._recall(self._key(request), upstreams)

    def choose(self, request: IHandshake, upstreams: Sequence[IUpstream]) -> IUpstream:
        """Return the upstream of the session; for a new session, the least busy one."""
        key = self._key(request)
        if not key:
            return self._least.choose(request, upstreams)
        known = self._recall(key, upstreams)
        if known is not None:
            return known
        chosen = nearest(key, upstreams)
        self._remember(key, chosen)
        return chosen

    def upstreams_changed(self, upstreams: Sequence[IUpstream]) -> None:
        """Forget the sessions of those that left the pool."""
        self._least.upstreams_changed(upstreams)
        marks = {_mark(each) for each in upstreams}
        self._learnt.keep(marks)
        self._placed.keep(marks)

    def wants_answer(self, request: IHandshake) -> bool:
        """Say whether the request opens an Engine.IO session by polling."""
        if request.method != "GET" or request.is_websocket or "EIO=" not in request.query:
            return False
        return self._value(request, "transport") == "polling" and not self._sid(request)

    def answered(
        self,
        request: IHandshake,
        upstream: IUpstream,
        status: int,
        headers: Headers,
        body: bytes,
    ) -> None:
        """Learn the id of the session that *upstream* has opened."""
        found = _SID.search(_decoded(headers, body)) if status == 200 else None
        if found and len(found[1]) <= LONGEST_ID:
            self._learn(found[1].decode("latin-1"), upstream)

    def _recall(self, key: str, upstreams: Sequence[IUpstream]) -> IUpstream | None:
        mark = self._learnt.get(key) or self._placed.get(key)
        if mark is None:
            return None
        known = next((each for each in upstreams if _mark(each) == mark), None)
        if known is not None:
            self._remember(key, known)
        return known

    def _remember(self, key: str, upstream: IUpstream) -> None:
        if self._learnt.get(key):
            self._learn(key, upstream)
        else:
            self._placed.put(key, _mark(upstream))

    def _learn(self, key: str, upstream: IUpstream) -> None:
        mark = _mark(upstream)
        self._learnt.put(key, mark)
        if self._tell is not None:
            self._tell(key, mark)

    def _key(self, request: IHandshake) -> str:
        """Return what names the request's session; empty when it has none."""
        key = self._sid(request)
        if not key and (match := _SOCKJS.search(request.path)):
            key = f"/{match[1]}"  # no Engine.IO id has a slash
        return key if len(key) <= LONGEST_ID else ""

    def _sid(self, request: IHandshake) -> str:
        return self._value(request, self._param)

    def _value(self, request: IHandshake, name: str) -> str:
        """Return the first value of a query parameter; empty when there is none."""
        start = f"{name}="
        for pair in request.query.split("&"):
            if pair.startswith(start):
                return unquote(pair.removeprefix(start), "latin-1")
        return ""


@lru_cache(maxsize=1024)
def _mark_of(name: str, url: str) -> bytes:
    return blake2b(f"{name}\0{url}".encode(), digest_size=MARK_SIZE).digest()


def _mark(upstream: IUpstream) -> bytes:
    """Return what stands for an upstream in every process."""
    return _mark_of(upstream.name, upstream.url)


def _decoded(headers: Headers, body: bytes) -> bytes:
    """Undo a ``Content-Encoding`` that Engine.IO uses, as far as *body* goes."""
    if (headers.get("content-encoding") or "").strip().lower() not in _ENCODINGS:
        return body
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, LEARNS)
    except zlib.error:
        return b""


def _duration(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None or not int(match[1]):
        raise ValueError(f"ttl={text}: expected a time like 90s, 2m or 1h")
    return int(match[1]) * _SECONDS[match[2]]


def _number(text: str) -> int:
    if not _SIZE.fullmatch(text):
        raise ValueError(f"size={text}: expected a number of sessions, 1 or more")
    return int(text)
