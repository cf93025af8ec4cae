"""
A stand-in for the admin endpoint: serves the dashboard, pushes what a test says, records orders.

It runs in a thread of its own, so that a test can talk to a browser meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import WSMsgType, web

from tests.support import PATIENCE
from wsrelay.demo.page import content_security_policy

STARTED = "2026-11-21T14:00:00Z"


@dataclass(frozen=True)
class Asked:
    """A request that the page made; *path* is as it was on the wire, query included."""

    method: str
    path: str
    body: Any = None


@dataclass
class StandIn:
    """
    The server; use it as a context manager.

    :ivar message: what a page gets when it connects; `push` sends it again to all.
    :ivar answers: what a request is answered with, ``"METHOD /path"`` -> (status, JSON); else
        200 and {}.  With ``"/live"`` in it, websockets are refused with that status.
    :ivar answering: while it is not set, requests wait for their answers.
    :ivar asked: all requests but those for the page itself, in order.
    :ivar heard: what the pages said over their websockets.
    """

    html: str
    message: dict[str, Any]
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[Asked] = field(default_factory=list)
    heard: list[Any] = field(default_factory=list)
    port: int = 0
    opened: int = 0
    _live: list[web.WebSocketResponse] = field(default_factory=list)
    _news: threading.Condition = field(default_factory=threading.Condition)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _thread: threading.Thread | None = None
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._run(self._start())
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._thread is not None
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def push(self, **more: Any) -> None:
        """Send `message`, with *more* in it, to every page, a second of the relay's life later."""
        self.message["status"]["uptime_s"] += 1
        text = json.dumps({**self.message, **more})
        self._run(self._send(text))

    def push_text(self, text: str) -> None:
        """Send a text as it is."""
        self._run(self._send(text))

    def hold_answers(self) -> None:
        """Let requests wait until `give_answers`."""
        self._loop.call_soon_threadsafe(self.answering.clear)

    def give_answers(self) -> None:
        """Answer those that wait, and all from now on."""
        self._loop.call_soon_threadsafe(self.answering.set)

    def hang_up(self) -> None:
        """Close every page's websocket."""
        self._run(self._hang_up())

    def wait_until(self, true: Callable[[], bool], what: str) -> None:
        """Wait until something that the pages did makes *true* true."""
        with self._news:
            assert self._news.wait_for(true, PATIENCE), f"no {what}; asked: {self.asked}"

    def wait_for_order(self, count: int = 1) -> Asked:
        """Wait until there were *count* requests that change something, and return the last."""
        self.wait_until(lambda: len(self.orders()) >= count, f"{count} orders")
        return self.orders()[count - 1]

    def orders(self) -> list[Asked]:
        """Return what was asked for that changes something."""
        return [asked for asked in self.asked if asked.method != "GET"]

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    async def _start(self) -> None:
        self.answering.set()
        app = web.Application()
        app.router.add_get("/", self._page)
        app.router.add_get("/live", self._serve_live)
        app.router.add_route("*", "/{rest:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        assert self._runner is not None
        await self._hang_up()
        await self._runner.cleanup()

    async def _send(self, text: str) -> None:
        for live in list(self._live):
            with contextlib.suppress(ConnectionError):
                await live.send_str(text)

    async def _hang_up(self) -> None:
        for live in list(self._live):
            await live.close(code=1012)

    async def _page(self, request: web.Request) -> web.Response:
        policy = content_security_policy(self.html, f"ws://127.0.0.1:{self.port}")
        headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
        return web.Response(text=self.html, content_type="text/html", headers=headers)

    async def _serve_live(self, request: web.Request) -> web.StreamResponse:
        if "/live" in self.answers:
            return web.Response(status=self.answers["/live"][0])
        live = web.WebSocketResponse()
        await live.prepare(request)
        await live.send_str(json.dumps(self.message))
        self._live.append(live)
        self._note(opened=1)
        async for said in live:
            if said.type is WSMsgType.TEXT:
                self._note(heard=json.loads(said.data))
        self._live.remove(live)
        return live

    async def _answer(self, request: web.Request) -> web.Response:
        text = await request.text()
        path = request.raw_path
        self._note(asked=Asked(request.method, path, json.loads(text) if text else None))
        await self.answering.wait()
        status, answer = self.answers.get(f"{request.method} {path}", (200, {}))
        return web.json_response(answer, status=status)

    def _note(self, opened: int = 0, heard: Any = None, asked: Asked | None = None) -> None:
        with self._news:
            self.opened += opened
            if heard is not None:
                self.heard.append(heard)
            if asked is not None:
                self.asked.append(asked)
            self._news.notify_all()


def make_upstream(name: str, **facts: Any) -> dict[str, Any]:
    """Make an upstream as the relay describes it, healthy unless *facts* say otherwise."""
    return {
        "name": name,
        "url": f"ws://{name}",
        "source": "file",
        "state": "ready",
        "health": "up",
        "health_s": 60.0,
        "weight": 1,
        "max_connections": None,
        "backup": False,
        "sessions": 4,
        "openings": 0,
        "requests": 0,
        "rtt_ms": 0.4,
        "drain": None,
        "handshakes": 17,
        "answered": 0,
        "failures": 0,
        "last_problem": "",
        "check": {"ok": True, "what": "101, pong after 0.4 ms", "ms": 1.2, "at": STARTED},
        "history": [],
        "idle_connections": 0,
        "messages_up": 100,
        "messages_down": 200,
        "bytes_up": 4000,
        "bytes_down": 3000,
        **facts,
    }


def make_pool(name: str, *upstreams: Mapping[str, Any], **facts: Any) -> dict[str, Any]:
    """Make a pool as the relay describes it."""
    return {
        "name": name,
        "balancer": "least-connections",
        "sticky": None,
        "discover": None,
        "health_check": "websocket",
        "sessions": sum(upstream["sessions"] for upstream in upstreams),
        "requests": sum(upstream["requests"] for upstream in upstreams),
        "queue": 0,
        "drain": None,
        "rebalance": None,
        "upstreams": [copy.deepcopy(dict(upstream)) for upstream in upstreams],
        **facts,
    }


def make_status(*pools: Mapping[str, Any], **facts: Any) -> dict[str, Any]:
    """Make what the relay says of itself, a minute after its start."""
    sessions = sum(pool["sessions"] for pool in pools)
    return {
        "version": "0.1.0",
        "pid": 4711,
        "started": STARTED,
        "uptime_s": 60.0,
        "now": "2026-11-21T14:01:00.000Z",
        "config": "/etc/wsrelay/relay.ini",
        "pump": "the native pump",
        "ready": True,
        "not_ready": "",
        "drain": None,
        "connections": sessions + 1,
        "max_connections": None,
        "accepting": True,
        "openings": 1,
        "sessions": sessions,
        "requests": sum(pool["requests"] for pool in pools),
        "handshakes": 40,
        "refused": 3,
        "refusals": {"malformed": 1, "no-upstream": 2},
        "http": {"total": 0, "2xx": 0, "3xx": 0, "4xx": 0, "5xx": 0},
        "lag_s": 0.0004,
        "last_reload": None,
        "listeners": [
            {
                "name": "public",
                "address": "127.0.0.1:8080",
                "tls": False,
                "connections": sessions + 1,
                "max_connections": None,
            }
        ],
        "routes": [
            {
                "name": pool["name"],
                "host": None,
                "path": f"/{pool['name']}",
                "pool": pool["name"],
                "static": None,
                "redirect": None,
                "sessions": pool["sessions"],
                "requests": pool["requests"],
                "http": {"total": 0, "2xx": 0, "3xx": 0, "4xx": 0, "5xx": 0},
            }
            for pool in pools
        ],
        "pools": list(pools),
        "workers": [],
        **facts,
    }


def make_worker(number: int, **facts: Any) -> dict[str, Any]:
    """Make a worker as the relay describes it."""
    return {
        "number": number,
        "pid": 4712 + number,
        "state": "up",
        "since": STARTED,
        "restarts": 0,
        "sessions": 4,
        "requests": 0,
        "connections": 5,
        "lag_s": 0.0004,
        "accepting": True,
        **facts,
    }


def make_cluster(*relays: dict[str, Any], **facts: Any) -> dict[str, Any]:
    """Make what a relay says of its cluster; with ``up=False`` Redis is away."""
    return {
        "redis": "redis://10.0.0.9:6379/0",
        "prefix": "wsrelay",
        "name": "a",
        "up": True,
        "since_s": 21.4,
        "problem": "" if facts.get("up", True) else "connection refused",
        "relays": list(relays),
        "orders": [],
        **facts,
    }


def make_relay(name: str, **facts: Any) -> dict[str, Any]:
    """Make one of a cluster's relays."""
    return {
        "name": name,
        "host": "relay1",
        "pid": 4711,
        "version": "0.1.0",
        "uptime_s": 61.0,
        "listeners": ["127.0.0.1:8080"],
        "ready": True,
        "not_ready": "",
        "sessions": 4,
        "handshakes": 9,
        "age_s": 1.1,
        **facts,
    }


def make_session(id: str, pool: str, upstream: str, **facts: Any) -> dict[str, Any]:
    """Make a session as the relay lists it."""
    return {
        "id": id,
        "listener": "public",
        "route": pool,
        "pool": pool,
        "upstream": upstream,
        "client": "10.0.0.7:51234",
        "host": "chat.example.com",
        "path": "/chat",
        "origin": "",
        "user_agent": "",
        "subprotocol": "",
        "extensions": "",
        "tags": [],
        "opened": STARTED,
        "age_s": 60.0,
        "idle_s": 2.0,
        "messages_up": 1,
        "messages_down": 2,
        "bytes_up": 10,
        "bytes_down": 20,
        "rtt_ms": 0.8,
        "closing": None,
        **facts,
    }


def make_details(session: Mapping[str, Any]) -> dict[str, Any]:
    """Make what ``GET /api/sessions/ID`` adds to a listed session."""
    leg = {
        "received": 1500,
        "sent": 2500,
        "messages": 7,
        "payload": 900,
        "rtt_ms": 0.8,
        "paused": False,
        "waiting": True,
        "stalls": 3,
        "throttles": 0,
    }
    legs = {"client": leg, "upstream": {**leg, "received": 64, "waiting": False}}
    return {**session, "legs": legs, "tls": None, "handshake_ms": 3.5, "attempts": 1}


@contextlib.contextmanager
def serving(html: str, *pools: Mapping[str, Any], **facts: Any) -> Iterator[StandIn]:
    """Serve the page with a relay of these *pools*, and their sessions, one each."""
    sessions = [
        make_session(f"{pool['name']}-{i}", pool["name"], upstream["name"])
        for pool in pools
        for i, upstream in enumerate(pool["upstreams"])
    ]
    message = {
        "status": make_status(*pools, **facts),
        "sessions": {"total": len(sessions), "sessions": sessions},
        "log": [],
    }
    with StandIn(html, message) as stand_in:
        yield stand_in
