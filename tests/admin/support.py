"""A relay that only looks like one, the admin site before it, and clients in memory."""

# ruff: noqa: N802  (camelCase here is Twisted's)

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPMessage, HTTPResponse
from typing import Any

from attrs import frozen
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer, ISSLTransport, ITransport
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from tests.relay.support import FakeTransport, Frame, frames_in, settle
from wsrelay.admin.control import Json, Publication, Refused
from wsrelay.admin.messages import Call
from wsrelay.admin.site import make_admin_site
from wsrelay.wire.frames import encode_frame

TOKEN = "0123456789abcdef0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
HOST = "127.0.0.1:8404"
OWN = f"http://{HOST}"
LOGIN = {"Content-Type": "application/x-www-form-urlencoded"}
FILTERS = ("pool", "upstream", "route", "listener", "client", "tag")
PATH_UPSTREAM = "unix:/run/chat a/ü?#%2F.sock"
"""The worst name that there is."""

STATUS: Json = {
    "version": "0.1.0",
    "pid": 4711,
    "started": "2026-11-21T14:00:00Z",
    "uptime_s": 12.3,
    "now": "2026-11-21T14:00:12.300Z",
    "config": "/etc/wsrelay/relay.ini",
    "pump": "the native pump",
    "ready": True,
    "not_ready": "",
    "drain": None,
    "connections": 14,
    "max_connections": 10000,
    "accepting": True,
    "openings": 1,
    "sessions": 12,
    "requests": 2,
    "handshakes": 40,
    "refused": 3,
    "refusals": {"malformed": 1, "no-upstream": 2},
    "http": {"total": 815, "2xx": 790, "3xx": 12, "4xx": 11, "5xx": 2},
    "lag_s": 0.0004,
    "last_reload": None,
    "listeners": [
        {
            "name": "public",
            "address": "127.0.0.1:8080",
            "tls": False,
            "connections": 14,
            "max_connections": None,
        }
    ],
    "routes": [
        {
            "name": "chat",
            "host": None,
            "path": "/chat",
            "pool": "chat",
            "static": None,
            "redirect": None,
            "sessions": 12,
            "requests": 2,
            "http": {"total": 810, "2xx": 790, "3xx": 12, "4xx": 6, "5xx": 2},
        }
    ],
    "pools": [
        {
            "name": "chat",
            "balancer": "least-connections",
            "sticky": None,
            "discover": None,
            "health_check": "websocket",
            "sessions": 12,
            "requests": 2,
            "queue": 0,
            "drain": None,
            "rebalance": None,
            "upstreams": [
                {
                    "name": "a",
                    "url": "ws://127.0.0.1:3000",
                    "source": "file",
                    "state": "ready",
                    "health": "up",
                    "health_s": 11.2,
                    "weight": 1,
                    "max_connections": None,
                    "backup": False,
                    "sessions": 4,
                    "openings": 0,
                    "requests": 2,
                    "rtt_ms": 0.4,
                    "drain": None,
                    "handshakes": 17,
                    "answered": 805,
                    "failures": 0,
                    "last_problem": "",
                    "check": None,
                    "history": [],
                    "idle_connections": 3,
                    "messages_up": 100,
                    "messages_down": 90,
                    "bytes_up": 4000,
                    "bytes_down": 3000,
                }
            ],
        }
    ],
    "workers": [],
}
SESSION: Json = {
    "id": "88be0c",
    "listener": "public",
    "route": "chat",
    "pool": "chat",
    "upstream": "a",
    "client": "10.0.0.7:51234",
    "host": "chat.example.com",
    "path": "/chat",
    "origin": "",
    "user_agent": "",
    "subprotocol": "",
    "extensions": "",
    "tags": ["user:42"],
    "opened": "2026-11-21T14:00:01Z",
    "age_s": 61.0,
    "idle_s": 2.0,
    "messages_up": 1,
    "messages_down": 2,
    "bytes_up": 10,
    "bytes_down": 20,
    "rtt_ms": 0.8,
    "closing": None,
}
DRAIN: Json = {
    "what": "pool chat",
    "total": 12,
    "closed": 0,
    "left": 12,
    "elapsed_s": 0.0,
    "deadline_s": 30.0,
    "done": False,
}

ANSWERED_SOON = (
    *("status", "pools", "sessions", "session", "close_session", "change_upstream"),
    *("add_upstream", "remove_upstream", "rebalance", "drain", "ready", "metrics"),
)
"""What a control may answer later; a message and a reload always take their time."""


CLUSTER: Json = {
    "redis": "redis://10.0.0.9:6379/0",
    "prefix": "wsrelay",
    "name": "edge1-4711-5fd2a1c0",
    "up": True,
    "since_s": 86400.0,
    "problem": "",
    "relays": [
        {
            "name": "edge1-4711-5fd2a1c0",
            "host": "edge1",
            "pid": 4711,
            "version": "0.1.0",
            "uptime_s": 86401.2,
            "listeners": ["0.0.0.0:8080"],
            "admin": "127.0.0.1:8404",
            "ready": True,
            "not_ready": "",
            "draining": False,
            "connections": 812,
            "sessions": 803,
            "requests": 2,
            "handshakes": 91022,
            "refused": 12,
            "pools": [
                {
                    "name": "chat",
                    "sessions": 803,
                    "upstreams": [
                        {
                            "name": "a",
                            "state": "ready",
                            "health": "up",
                            "weight": 1,
                            "sessions": 803,
                        }
                    ],
                }
            ],
            "age_s": 0.7,
        }
    ],
    "orders": [
        {
            "kind": "state",
            "pool": "chat",
            "upstream": "b",
            "value": "drain",
            "at": 1795305600000,
            "by": "edge2-982-07b1e4aa",
        }
    ],
}


class FakeControl:
    """
    Remembers what it was told to do; `broken` makes all of it fail.

    With `late` it answers later: each answer waits in `waiting` until a test gives it.
    """

    def __init__(self) -> None:
        self.orders: list[tuple[Any, ...]] = []
        self.why_not_ready = ""
        self.publishing: Deferred[Json] = succeed({"sent": 12, "skipped": {"ending": 1}})
        self.reloading: Deferred[list[str]] = succeed(["pool chat: upstream b is new."])
        self.lines: list[Json] = []
        self.asked: list[tuple[Mapping[str, str], int]] = []
        self.statuses = 0
        self.padding = ""
        self.broken = False
        self.late = False
        self.waiting: list[tuple[Deferred[Any], Callable[[], Any]]] = []

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in ANSWERED_SOON or not self.late:
            return found
        return lambda *arguments: self._later(lambda: found(*arguments))

    def _later(self, answer: Callable[[], Any]) -> Deferred[Any]:
        self.waiting.append((Deferred(), answer))
        return self.waiting[-1][0]

    def give(self) -> None:
        """Give the answer that waits longest."""
        waiting, answer = self.waiting.pop(0)
        try:
            waiting.callback(answer())
        except Exception:
            waiting.errback(Failure())

    def _check(self) -> None:
        if self.broken:
            raise ZeroDivisionError("the control is broken")

    def status(self) -> Json:
        self._check()
        self.statuses += 1
        return copy.deepcopy(STATUS) | ({"padding": self.padding} if self.padding else {})

    def not_ready(self) -> str:
        self._check()
        return self.why_not_ready

    def cluster(self) -> Json:
        return copy.deepcopy(CLUSTER)

    def pools(self) -> list[Json]:
        return copy.deepcopy(STATUS["pools"])

    def sessions(self, wanted: Mapping[str, str], limit: int) -> Json:
        self._check()
        self.asked.append((dict(wanted), limit))
        if wanted.get("pool") == "gone":
            raise Refused(400, "there is no pool gone")
        return {"total": 1, "sessions": [SESSION][:limit]}

    def session(self, id: str) -> Json:
        if id != SESSION["id"]:
            raise Refused(404, f"There is no session {id}.")
        leg = {"received": 60, "sent": 90, "messages": 1, "payload": 10, "rtt_ms": 0.8}
        legs = {"client": leg, "upstream": leg}
        return {**SESSION, "legs": legs, "tls": False, "handshake_ms": 1.9, "attempts": 1}

    def close_session(self, id: str, code: int, reason: str) -> Json:
        self.orders.append(("close", id, code, reason))
        return {**SESSION, "id": id, "closing": reason}

    def change_upstream(self, pool: str, name: str, state: str | None, weight: int | None) -> Json:
        self.orders.append(("change", pool, name, state, weight))
        upstream = copy.deepcopy(STATUS["pools"][0]["upstreams"][0])
        return {**upstream, "name": name, "state": state or "ready", "weight": weight or 1}

    def add_upstream(self, pool: str, line: str) -> Json:
        self.orders.append(("add", pool, line))
        return {**STATUS["pools"][0]["upstreams"][0], "url": line.split()[0], "source": "api"}

    def remove_upstream(self, pool: str, name: str) -> Json:
        self.orders.append(("remove", pool, name))
        return {**STATUS["pools"][0]["upstreams"][0], "name": name, "source": "gone"}

    def rebalance(self, pool: str, per_second: float) -> Json:
        self.orders.append(("rebalance", pool, per_second))
        return DRAIN

    def drain(self, pool: str | None) -> Json:
        self.orders.append(("drain", pool))
        return DRAIN

    def ready(self, pool: str | None) -> Json:
        self.orders.append(("ready", pool))
        return {"ready": True}

    def publish(self, publication: Publication) -> Deferred[Json]:
        self.orders.append(("publish", publication))
        if publication.name == "gone":
            raise Refused(404, "unknown route 'gone'; known: chat.")
        return self.publishing

    def reload(self) -> Deferred[list[str]]:
        self.orders.append(("reload",))
        return self.reloading

    def metrics(self) -> bytes:
        return b"# TYPE wsrelay_draining gauge\nwsrelay_draining 0\n"

    def log_since(self, number: int) -> list[Json]:
        return [line for line in self.lines if line["number"] > number]

    def say(self, text: str) -> None:
        """Add a line to the log."""
        number = len(self.lines) + 1
        at = "2026-11-21T14:00:12.300Z"
        self.lines.append({"number": number, "at": at, "level": "info", "text": text})


@implementer(ITransport, IPushProducer)
class Transport(FakeTransport):
    """Twisted's HTTP writes sequences, too."""

    def writeSequence(self, data: list[bytes]) -> None:
        self.write(b"".join(data))

    def stopProducing(self) -> None:
        self.loseConnection()

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Be asked where it is TLS, which is over TCP."""


@frozen
class Reply:
    """An answer as a client reads it."""

    status: int
    headers: HTTPMessage
    body: bytes
    version: int = 11

    @property
    def json(self) -> Any:
        assert self.headers["Content-Type"] == "application/json", self
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The one sentence."""
        sentence = self.json["error"]
        assert isinstance(sentence, str)
        assert sentence.endswith("."), sentence
        return sentence


class _Socket(io.BytesIO):
    """What http.client reads an answer from; it would close it."""

    def makefile(self, *_: Any) -> io.BytesIO:
        return self

    def close(self) -> None:
        """Stay open."""


class Client:
    """One connection to the site."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def send(self, data: bytes) -> None:
        self.transport.peer_sends(data)
        self.settle()

    def settle(self) -> None:
        settle(self.transport)

    def take(self) -> bytes:
        """Return what has come since the last time."""
        data = bytes(self.transport.received)
        self.transport.received.clear()
        return data

    def reply(self, method: str = "GET") -> Reply:
        """Return the one answer that has come; nothing is behind it."""
        data = self.take()
        assert data, "there is no answer"
        socket = _Socket(data)
        response = HTTPResponse(socket, method=method)  # type: ignore[arg-type]
        response.begin()
        body = response.read()
        assert socket.read() == b"", "there is more than one answer"
        return Reply(response.status, response.msg, body)

    def frames(self) -> list[Frame]:
        """Return the frames that have come."""
        frames, rest = frames_in(self.take())
        assert rest == b""
        return frames

    def messages(self) -> list[Any]:
        """Return the pushes that have come; no other frame has."""
        frames = self.frames()
        assert {frame.opcode for frame in frames} <= {1}, frames
        return [json.loads(frame.payload) for frame in frames]

    def say(self, opcode: int, payload: bytes) -> None:
        self.send(encode_frame(opcode, payload, mask=b"abcd"))


def request(
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    version: str = "1.1",
) -> bytes:
    """Write a request; a header that is empty is left out."""
    given = {"Host": HOST, **(headers or {})}
    if body:
        given.setdefault("Content-Length", str(len(body)))
    lines = [f"{name}: {value}" for name, value in given.items() if value]
    head = "\r\n".join([f"{method} {path} HTTP/{version}", *lines, "", ""])
    return head.encode() + body


HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


class World:
    """The site with its time."""

    def __init__(self, token: str | None = None) -> None:
        self.reactor = Clock()
        self.control = FakeControl()
        self.site = make_admin_site(self.control, token, True, self.reactor)
        self.site.door.doStart()

    def transport(self, *, secure: bool = False, unix: bool = False) -> Transport:
        transport = Transport()
        if secure:
            alsoProvides(transport, ISSLTransport)
        if unix:
            transport.host = UNIXAddress("/run/wsrelay.sock")
            transport.peer = UNIXAddress("")
        return transport

    def connect(self, **options: bool) -> Client:
        transport = self.transport(**options)
        transport.protocol = self.site.door.buildProtocol(transport.peer)
        assert transport.protocol is not None, "the door is shut"
        transport.protocol.makeConnection(transport)
        return Client(transport)

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        **options: bool,
    ) -> Reply:
        """Ask on a connection of its own, and wait for an answer that is slow on purpose."""
        client = self.connect(**options)
        client.send(request(method, path, headers, body))
        if not client.transport.received:
            self.advance(1.0, client)
        reply = client.reply(method)
        client.transport.peer_ends()
        client.settle()
        assert client.transport.lost
        return reply

    def order(self, method: str, path: str, value: Any, **options: Any) -> Reply:
        """Ask with JSON."""
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        return self.ask(method, path, headers, json.dumps(value).encode(), **options)

    def watch(self, headers: Mapping[str, str] | None = None, **options: bool) -> Client:
        """Open a dashboard's websocket, whose first frame has not been looked at yet."""
        client = self.connect(**options)
        client.send(request("GET", "/live", {**HANDSHAKE, **(headers or {})}))
        head, _, rest = client.take().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        client.transport.received += rest
        return client

    def advance(self, seconds: float, *clients: Client) -> None:
        """Let time pass, with turns of the reactor between two timers."""
        until = self.reactor.seconds() + seconds
        while self.reactor.seconds() < until:
            due = [call.getTime() for call in self.reactor.getDelayedCalls()]
            self.reactor.advance(max(min([until, *due]) - self.reactor.seconds(), 0.0))
            for client in clients:
                client.settle()

    def assert_at_rest(self) -> None:
        """Check that no timer runs and no connection is kept."""
        assert self.reactor.getDelayedCalls() == []
        assert self.site.door.protocols == {}


def call(method: str = "GET", path: str = "/status.json", **headers: str) -> Call:
    """Make a call without the network; ``sec_fetch_site`` stands for ``sec-fetch-site``."""
    given = {"host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Call(method, tuple(path[1:].split("/")), headers=given)


@contextmanager
def logged() -> Iterator[list[Any]]:
    """Collect what is logged."""
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    try:
        yield events
    finally:
        globalLogPublisher.removeObserver(events.append)
