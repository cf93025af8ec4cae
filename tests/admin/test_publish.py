"""A message for many, over the API: what is asked, who gets it, and what is answered."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred

from tests.admin.support import BEARER, TOKEN, World
from tests.relay.support import FakeTransport, data_of, frames_in
from tests.relay.world import REQUEST, ROUTE, SWITCHING
from tests.relay.world import World as Relayed
from wsrelay.admin.control import Publication, Refused
from wsrelay.admin.recent import RecentLog
from wsrelay.admin.relay_control import RelayControl
from wsrelay.observe.lag import Lag
from wsrelay.observe.metrics import Metrics
from wsrelay.observe.traffic import Traffic
from wsrelay.relay.published import MAX_PUBLISHED
from wsrelay.relay.pump import Side
from wsrelay.wire.frames import encode_frame

TEXT = {"text": "hello"}


@pytest.mark.parametrize(
    ("body", "publication"),
    [
        (
            {"route": "chat", "text": "żółw\n"},
            Publication("route", "chat", "down", "żółw\n".encode(), False),
        ),
        (
            {"pool": "chat", "binary": base64.b64encode(b"\x00\xff").decode()},
            Publication("pool", "chat", "down", b"\x00\xff", True),
        ),
        (
            {"tag": "user:42", "text": "", "direction": "up"},
            Publication("tag", "user:42", "up", b"", False),
        ),
    ],
)
def test_a_message_is_published_as_it_was_said(
    body: dict[str, str], publication: Publication
) -> None:
    world = World()
    reply = world.order("POST", "/api/publish", body)
    assert (reply.status, reply.json) == (200, {"sent": 12, "skipped": {"ending": 1}})
    assert world.control.orders == [("publish", publication)]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (TEXT, "The body needs exactly one of 'route', 'pool' and 'tag'."),
        (
            {"route": "chat", "tag": "x", **TEXT},
            "The body needs exactly one of 'route', 'pool' and 'tag'.",
        ),
        ({"tag": "x"}, "The body needs exactly one of 'text' and 'binary'."),
        ({"tag": "x", **TEXT, "binary": ""}, "The body needs exactly one of 'text' and 'binary'."),
        ({"tag": "x", "binary": "AA"}, "'binary' has to be base64."),
        ({"tag": "x", "binary": "A A=="}, "'binary' has to be base64."),
        ({"tag": "x", "binary": "ü"}, "'binary' has to be base64."),
        ({"tag": 42, **TEXT}, "'tag' has to be a string."),
        ({"tag": None, **TEXT}, "'tag' has to be a string."),
        ({"tag": "x", "text": "\ud800"}, "'text' holds what is no Unicode text."),
        ({"tag": "x", **TEXT, "direction": "both"}, "'direction' has to be one of down, up."),
        (
            {"tag": "x", **TEXT, "to": "all"},
            "The body has the unknown key 'to'; known: route, pool, tag, text, binary, direction.",
        ),
    ],
)
def test_what_is_no_message_is_refused_and_nobody_gets_it(
    body: dict[str, Any], sentence: str
) -> None:
    world = World()
    reply = world.order("POST", "/api/publish", body)
    assert (reply.status, reply.error) == (400, sentence)
    assert world.control.orders == []


def test_a_body_that_is_too_long_or_of_another_type_is_refused() -> None:
    world = World()
    assert world.order("POST", "/api/publish", {"tag": "x", "text": "x" * 65_536}).status == 413
    body = json.dumps({"tag": "x", **TEXT}).encode()
    assert world.ask("POST", "/api/publish", {"Content-Type": "text/plain"}, body).status == 415
    assert world.control.orders == []


def test_who_is_not_known_is_told_by_the_relay() -> None:
    reply = World().order("POST", "/api/publish", {"route": "gone", **TEXT})
    assert (reply.status, reply.json["error"]) == (404, "unknown route 'gone'; known: chat.")


def test_only_an_operator_may_publish_and_no_page_of_another_origin() -> None:
    world = World(TOKEN)
    body = {"tag": "x", **TEXT}
    assert world.order("POST", "/api/publish", body).status == 401
    other = {**BEARER, "Origin": "https://elsewhere.example"}
    assert world.order("POST", "/api/publish", body, headers=other).status == 403
    assert world.control.orders == []
    assert world.order("POST", "/api/publish", body, headers=BEARER).status == 200


def test_nobody_waits_longer_than_a_minute_for_the_answer() -> None:
    world = World()
    world.control.publishing = Deferred()
    client = world.connect()
    body = json.dumps({"tag": "x", **TEXT}).encode()
    client.send(
        b"POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body) + body
    )
    world.advance(59, client)
    assert client.transport.received == b""
    world.advance(2, client)
    reply = client.reply("POST")
    assert reply.status == 504
    assert reply.error.startswith("The message is still being sent")


# who gets it


class Crowd:
    """A relay with sessions of two routes to one pool, and its control."""

    def __init__(self) -> None:
        self.world = Relayed()
        relay = self.world.relay
        other = evolve(ROUTE, name="news", path=evolve(ROUTE.path, value="/news"))
        config = evolve(relay.config, routes=(ROUTE, other))
        relay.config = config
        for listener in relay.listeners.values():
            listener.routes = type(listener.routes)(config.routes)
        service: Any = SimpleNamespace(relay=relay, config=config)
        reactor = self.world.reactor
        self.metrics = Metrics()
        self.control = RelayControl(
            service, self.metrics, Traffic(reactor.seconds), Lag(reactor), RecentLog()
        )

    def join(self, path: bytes = b"/chat", *tags: str) -> FakeTransport:
        """Open a session, and return the client's connection."""
        client = self.world.ask(REQUEST.replace(b"/chat", path))
        upstream = self.world.accept()
        self.world.send(upstream, SWITCHING)
        assert client.received.startswith(b"HTTP/1.1 101 ")
        client.received.clear()
        session = list(self.world.relay.sessions.values())[-1]
        for tag in tags:
            self.world.relay.tags.tag(session, tag)
        return client

    def publish(self, kind: str, name: str, direction: str = "down") -> Any:
        """Publish, and return the answer."""
        answers: list[Any] = []
        publication = Publication(kind, name, direction, b"ours", False)
        self.control.publish(publication).addCallback(answers.append)
        self.world.settle()
        return answers[0]


def heard(client: FakeTransport) -> list[bytes]:
    """Return the messages that a client has got since the last time."""
    frames, rest = frames_in(bytes(client.received))
    client.received.clear()
    assert rest == b""
    return data_of(frames)


@pytest.fixture
def crowd() -> Crowd:
    return Crowd()


def test_it_goes_to_the_sessions_that_are_meant_and_to_no_other(crowd: Crowd) -> None:
    chat, news = crowd.join(b"/chat", "user:1", "vip"), crowd.join(b"/news", "user:2", "vip")
    wanted = {
        ("route", "chat"): [chat],
        ("route", "news"): [news],
        ("pool", "pool"): [chat, news],
        ("tag", "user:1"): [chat],
        ("tag", "vip"): [chat, news],
        ("tag", "nobody"): [],
    }
    for (kind, name), clients in wanted.items():
        assert crowd.publish(kind, name) == {"sent": len(clients), "skipped": {}}
        assert [each for each in (chat, news) if heard(each) == [b"ours"]] == clients


def test_it_may_go_to_the_upstreams(crowd: Crowd) -> None:
    client = crowd.join()
    upstream = crowd.world.transports[-1]
    upstream.received.clear()
    assert crowd.publish("route", "chat", "up") == {"sent": 1, "skipped": {}}
    assert (heard(client), heard(upstream)) == ([], [b"ours"])


def test_those_that_did_not_get_it_are_counted_by_the_reason(crowd: Crowd) -> None:
    crowd.join()
    crowd.join()
    crowd.join()
    first, second, _ = crowd.world.relay.sessions.values()
    first.close(1012, "stopping", "drain")
    crowd.world.send(crowd.world.transports[3], encode_frame(1, b"begun", final=False))
    assert second.publish(Side.CLIENT, bytes(MAX_PUBLISHED), True) == "sent"
    assert crowd.publish("route", "chat") == {"sent": 1, "skipped": {"busy": 1, "ending": 1}}
    assert crowd.metrics.published == {"sent": 1, "busy": 1, "ending": 1, "extension": 0}
    crowd.publish("tag", "nobody")
    assert crowd.metrics.published["sent"] == 1


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("route", "chta", "unknown route 'chta'; did you mean 'chat'?"),
        ("pool", "x", "unknown pool 'x'; known: pool"),
    ],
)
def test_an_unknown_name_is_refused_with_those_there_are(
    crowd: Crowd, kind: str, name: str, sentence: str
) -> None:
    with pytest.raises(Refused) as caught:
        crowd.publish(kind, name)
    assert (caught.value.status, caught.value.message) == (404, sentence)


def test_tags_are_among_the_facts_of_a_session(crowd: Crowd) -> None:
    crowd.join(b"/chat", "b", "a")
    (session,) = crowd.control.sessions({}, 10)["sessions"]
    assert session["tags"] == ["a", "b"]
