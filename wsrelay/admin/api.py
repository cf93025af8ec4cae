"""The routes: what is asked of the relay, and how its words become an answer."""

from __future__ import annotations

from importlib import resources
from typing import Any, Final, TypeVar

from twisted.internet.interfaces import IReactorTime

from wsrelay.admin.control import Control, Refused, Soon
from wsrelay.admin.live import Live
from wsrelay.admin.login import Logins
from wsrelay.admin.messages import (
    Answer,
    Call,
    HandOver,
    error_answer,
    html_answer,
    json_answer,
    text_answer,
)
from wsrelay.admin.news import FILTERS
from wsrelay.admin.reading import read_body, read_number, read_publication, read_query
from wsrelay.admin.routing import Entry, Route
from wsrelay.admin.waiting import settled, within
from wsrelay.config.values import close_code, integer, rate_of
from wsrelay.page import content_security_policy
from wsrelay.wire.close import MAX_REASON

__all__ = ["Api", "make_routes"]

LISTED: Final = 1000
"""Sessions in an answer, unless ``limit`` says otherwise."""

MOST_LISTED: Final = 10_000
"""The largest ``limit``: the relay does nothing else while it writes them."""

PATIENCE: Final = 60.0
"""Seconds after which nobody is kept waiting for a reload, or for a message to be sent."""

SOON: Final = 10.0
"""The same for everything else; other processes of the relay are asked for less."""

STATES: Final = ("ready", "drain", "down")
MOST_WEIGHT: Final = 65_535

T = TypeVar("T")


def make_routes(control: Control, logins: Logins | None, live: Live, reactor: Any) -> list[Route]:
    """Make the table of all routes, in the order of docs/api.rst."""
    api = Api(control, live, reactor)
    upstream = "/api/pools/{pool}/upstreams/{name}"
    return [
        Route("GET", "/", api.dashboard),
        Route("GET", "/live", api.live),
        Route("GET", "/healthz", api.healthz, Entry.PROBE),
        Route("GET", "/readyz", api.readyz, Entry.PROBE),
        Route("GET", "/status.json", api.status),
        Route("GET", "/metrics", api.metrics),
        Route("GET", "/api/sessions", api.sessions),
        Route("GET", "/api/sessions/{id}", api.session),
        Route("DELETE", "/api/sessions/{id}", api.close_session),
        Route("GET", "/api/cluster", api.cluster),
        Route("GET", "/api/pools", api.pools),
        Route("POST", "/api/pools/{pool}/upstreams", api.add_upstream),
        Route("PATCH", upstream, api.change_upstream),
        Route("DELETE", upstream, api.remove_upstream),
        Route("POST", "/api/pools/{pool}/rebalance", api.rebalance),
        Route("POST", "/api/pools/{pool}/drain", api.drain),
        Route("POST", "/api/pools/{pool}/ready", api.ready),
        Route("POST", "/api/publish", api.publish),
        Route("POST", "/api/drain", api.drain),
        Route("POST", "/api/ready", api.ready),
        Route("POST", "/api/reload", api.reload),
        *_login_routes(logins),
    ]


def _login_routes(logins: Logins | None) -> list[Route]:
    if logins is None:
        return []
    return [
        Route("POST", "/login", logins.log_in, Entry.VISITOR),
        Route("POST", "/logout", logins.log_out, Entry.VISITOR),
    ]


class Api:
    """
    The actions.  Each raises `Refused` for what cannot be.

    :param reactor: for how long a reload, say, may take.
    """

    def __init__(self, control: Control, live: Live, reactor: IReactorTime) -> None:
        self._control = control
        self._live = live
        self._reactor = reactor
        self._html = resources.files("wsrelay.admin").joinpath("dashboard.html").read_text("utf-8")
        self._policy = content_security_policy(self._html)

    # what there is

    def dashboard(self, call: Call) -> Answer:
        """``GET /``."""
        return html_answer(200, self._html, self._policy)

    def live(self, call: Call) -> Answer | HandOver:
        """``GET /live``: a websocket."""
        if "websocket" not in call.header("upgrade").lower() or call.method != "GET":
            headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
            return error_answer(426, "This is a websocket.", headers=headers)
        if self._live.is_full:
            raise Refused(503, "There are too many dashboards already; close one.")
        return HandOver(self._live.resource)

    def healthz(self, call: Call) -> Answer:
        """``GET /healthz``: it runs, or nobody would say so."""
        return text_answer(200, b"ok")

    def readyz(self, call: Call) -> Answer:
        """``GET /readyz``."""
        why_not = self._control.not_ready()
        return text_answer(503 if why_not else 200, (why_not or "ready").encode())

    async def status(self, call: Call) -> Answer:
        """``GET /status.json``."""
        return json_answer(200, await self._soon(self._control.status()))

    async def metrics(self, call: Call) -> Answer:
        """``GET /metrics``."""
        return text_answer(200, await self._soon(self._control.metrics()), "version=0.0.4; ")

    # sessions

    async def sessions(self, call: Call) -> Answer:
        """``GET /api/sessions?pool=&upstream=&route=&listener=&client=&tag=&limit=``."""
        wanted = read_query(call, (*FILTERS, "limit"))
        limit = read_number(wanted, "limit", LISTED, MOST_LISTED)
        wanted.pop("limit", None)
        return json_answer(200, await self._soon(self._control.sessions(wanted, limit)))

    async def session(self, call: Call, id: str) -> Answer:
        """``GET /api/sessions/ID``."""
        return json_answer(200, await self._soon(self._control.session(id)))

    async def close_session(self, call: Call, id: str) -> Answer:
        """``DELETE /api/sessions/ID?code=&reason=``."""
        given = read_query(call, ("code", "reason"))
        try:
            code = close_code(given.get("code", "1000"))
        except ValueError as error:
            raise Refused(400, f"code: {error}.") from error
        reason = given.get("reason", "closed by the operator")
        if len(reason.encode()) > MAX_REASON:
            raise Refused(400, f"reason: it is over {MAX_REASON} bytes; a close frame has no more.")
        return json_answer(200, await self._soon(self._control.close_session(id, code, reason)))

    async def publish(self, call: Call) -> Answer:
        """``POST /api/publish``."""
        late = Refused(504, "The message is still being sent; metrics will say to how many.")
        result = self._control.publish(read_publication(call))
        return json_answer(200, await within(self._reactor, PATIENCE, result, late))

    # pools

    async def pools(self, call: Call) -> Answer:
        """``GET /api/pools``."""
        return json_answer(200, await self._soon(self._control.pools()))

    async def cluster(self, call: Call) -> Answer:
        """``GET /api/cluster``."""
        return json_answer(200, self._control.cluster())

    async def add_upstream(self, call: Call, pool: str) -> Answer:
        """``POST /api/pools/POOL/upstreams``."""
        line = read_body(call, {"upstream": str}, ["upstream"])["upstream"].strip()
        if not line or not line.isprintable():
            raise Refused(
                400, "'upstream' has to be one line, such as ws://10.0.0.5:3000 weight=2."
            )
        return json_answer(201, await self._soon(self._control.add_upstream(pool, line)))

    async def change_upstream(self, call: Call, pool: str, name: str) -> Answer:
        """``PATCH /api/pools/POOL/upstreams/NAME``."""
        body = read_body(call, {"state": str, "weight": int})
        if not body:
            raise Refused(400, "The body lacks 'state' and 'weight'; it needs one of them.")
        state, weight = body.get("state"), body.get("weight")
        if state is not None and state not in STATES:
            raise Refused(400, f"'state' has to be one of {', '.join(STATES)}.")
        if weight is not None and not 1 <= weight <= MOST_WEIGHT:
            raise Refused(400, f"'weight' has to be from 1 to {MOST_WEIGHT}.")
        return json_answer(
            200, await self._soon(self._control.change_upstream(pool, name, state, weight))
        )

    async def remove_upstream(self, call: Call, pool: str, name: str) -> Answer:
        """``DELETE /api/pools/POOL/upstreams/NAME``."""
        return json_answer(200, await self._soon(self._control.remove_upstream(pool, name)))

    async def rebalance(self, call: Call, pool: str) -> Answer:
        """``POST /api/pools/POOL/rebalance``."""
        text = read_body(call, {"rate": str}, ["rate"])["rate"].strip()
        try:
            rate = rate_of(integer(1))(text)
        except ValueError as error:
            raise Refused(400, f"'rate': {error}.") from error
        if rate.burst is not None:
            raise Refused(400, "'rate': a burst has no meaning here; expected one like 10/s.")
        return json_answer(200, await self._soon(self._control.rebalance(pool, rate.per_second)))

    # the relay

    async def drain(self, call: Call, pool: str | None = None) -> Answer:
        """``POST /api/drain`` and ``POST /api/pools/POOL/drain``."""
        read_body(call, {})
        return json_answer(200, await self._soon(self._control.drain(pool)))

    async def ready(self, call: Call, pool: str | None = None) -> Answer:
        """``POST /api/ready`` and ``POST /api/pools/POOL/ready``."""
        read_body(call, {})
        return json_answer(200, await self._soon(self._control.ready(pool)))

    async def reload(self, call: Call) -> Answer:
        """``POST /api/reload``."""
        read_body(call, {})
        late = Refused(504, "The reload is still under way; the log will say how it ends.")
        changes = await within(self._reactor, PATIENCE, self._control.reload(), late)
        return json_answer(200, {"changes": changes})

    async def _soon(self, answer: Soon[T]) -> T:
        late = Refused(504, f"There was no answer within {SOON:g} seconds; the log may say why.")
        return await settled(self._reactor, SOON, answer, late)
