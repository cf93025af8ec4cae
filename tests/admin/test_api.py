"""What each path answers, and how bad orders are refused."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail

from tests.admin.support import (
    FILTERS,
    HANDSHAKE,
    OWN,
    PATH_UPSTREAM,
    SESSION,
    STATUS,
    Client,
    Reply,
    World,
    logged,
    request,
)
from wsrelay.admin.control import Refused
from wsrelay.admin.messages import split_path

JSON = {"Content-Type": "application/json"}
UPSTREAM = f"/api/pools/chat/upstreams/{quote(PATH_UPSTREAM, safe='')}"


@pytest.fixture
def world() -> World:
    return World()


# what there is


def test_the_page_is_confined_to_itself(world: World) -> None:
    reply = world.ask("GET", "/")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = reply.headers["Content-Security-Policy"]
    assert "connect-src 'self'" in policy
    assert "form-action 'none'" in policy
    assert reply.body.startswith(b"<!doctype html>")


def test_the_status_is_what_the_relay_says(world: World) -> None:
    reply = world.ask("GET", "/status.json")
    assert (reply.status, reply.json) == (200, STATUS)
    assert world.ask("GET", "/api/pools").json == STATUS["pools"]


def test_the_metrics_are_in_the_format_of_prometheus(world: World) -> None:
    reply = world.ask("GET", "/metrics")
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert reply.body == world.control.metrics()


def test_probes_tell_life_from_readiness(world: World) -> None:
    health, ready = (world.ask("GET", path) for path in ("/healthz", "/readyz"))
    assert (health.status, health.body) == (200, b"ok")
    assert (ready.status, ready.body) == (200, b"ready")
    assert ready.headers["Content-Type"] == "text/plain; charset=utf-8"
    world.control.why_not_ready = "the relay is stopping"
    ready = world.ask("GET", "/readyz")
    assert (ready.status, ready.body) == (503, b"the relay is stopping")
    assert world.ask("GET", "/healthz").status == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/status.json", "/api/sessions", "/nowhere"])
def test_head_is_get_without_the_body(world: World, path: str) -> None:
    full, head = world.ask("GET", path), world.ask("HEAD", path)
    assert (head.status, head.body) == (full.status, b"")
    assert head.headers["Content-Length"] == full.headers["Content-Length"] == str(len(full.body))
    assert head.headers["Content-Type"] == full.headers["Content-Type"]


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/api",
        "/api/",
        "/api/pools/",
        "/api/pools/chat",
        "/api/pools//drain",
        "/api/sessions/",
        "//",
        "/%2e%2e/page.py",
        "/status.json/x",
        "/status.json%00",
        "/api%2Fpools",
        "/%ff",
        "/login",
        "*",
        "http://127.0.0.1:8404/status.json",
    ],
)
def test_there_is_nothing_else(world: World, path: str) -> None:
    reply = world.ask("GET", path)
    assert (reply.status, reply.error) == (404, "There is nothing here.")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("OPTIONS", "/status.json", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("GET", "/api/drain", "POST"),
        ("HEAD", "/api/drain", "POST"),
        ("PUT", "/api/sessions/1", "GET, DELETE, HEAD"),
        ("GET", UPSTREAM, "PATCH, DELETE"),
        ("TRACE", "/", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(
    world: World, method: str, path: str, allowed: str
) -> None:
    reply = world.ask(method, path)
    assert (reply.status, reply.headers["Allow"]) == (405, allowed)
    assert method == "HEAD" or reply.error


# sessions


def test_sessions_are_chosen_by_the_query(world: World) -> None:
    assert world.ask("GET", "/api/sessions").json == {"total": 1, "sessions": [SESSION]}
    query = "&".join(f"{key}=%C3%BC+{key}%2F" for key in FILTERS)
    world.ask("GET", f"/api/sessions?{query}&limit=7")
    assert world.control.asked == [({}, 1000), ({key: f"ü {key}/" for key in FILTERS}, 7)]
    assert world.ask("GET", "/api/sessions?limit=0").json == {"total": 1, "sessions": []}


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("limit=x", "limit"),
        ("limit=-1", "limit"),
        ("limit=10001", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=", "limit"),
        ("limit=%D9%A3", "limit"),
        ("upsteam=a", "upsteam"),
        ("pool=a&pool=b", "pool"),
        ("pool=%ff", "UTF-8"),
        ("pool=a&" + "&".join("x" * 60), "too many"),
        ("pool=gone", "gone"),
    ],
)
def test_a_bad_query_is_refused(world: World, query: str, named: str) -> None:
    reply = world.ask("GET", f"/api/sessions?{query}")
    assert reply.status == 400
    assert named in reply.json["error"]


def test_a_session_is_shown(world: World) -> None:
    assert world.ask("GET", "/api/sessions/88be0c").json["legs"]["client"]["payload"] == 10
    reply = world.ask("GET", "/api/sessions/none")
    assert (reply.status, reply.error) == (404, "There is no session none.")


def test_a_session_is_closed_with_code_and_reason(world: World) -> None:
    assert world.ask("DELETE", "/api/sessions/s1").json["closing"] == "closed by the operator"
    reason = "ä" * 61 + "b"
    world.ask("DELETE", f"/api/sessions/s2?code=4000&reason={quote(reason)}")
    assert world.control.orders == [
        ("close", "s1", 1000, "closed by the operator"),
        ("close", "s2", 4000, reason),
    ]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("code=1005", "code"),
        ("code=1006", "code"),
        ("code=999", "code"),
        ("code=5000", "code"),
        ("code=", "code"),
        ("code=one", "code"),
        (f"reason={quote('ä' * 62)}", "reason"),
        ("why=x", "why"),
    ],
)
def test_what_cannot_stand_in_a_close_frame_is_refused(
    world: World, query: str, named: str
) -> None:
    reply = world.ask("DELETE", f"/api/sessions/s1?{query}")
    assert (reply.status, world.control.orders) == (400, [])
    assert named in reply.error


# pools


def test_an_upstream_is_changed(world: World) -> None:
    reply = world.order("PATCH", UPSTREAM, {"state": "drain", "weight": 3})
    assert reply.status == 200
    assert (reply.json["state"], reply.json["weight"]) == ("drain", 3)
    world.order("PATCH", UPSTREAM, {"weight": 1})
    world.order("PATCH", UPSTREAM, {"state": "down"})
    assert world.control.orders == [
        ("change", "chat", PATH_UPSTREAM, "drain", 3),
        ("change", "chat", PATH_UPSTREAM, None, 1),
        ("change", "chat", PATH_UPSTREAM, "down", None),
    ]


@given(
    st.text(st.characters(codec="utf-8"), min_size=1),
    st.text(st.characters(codec="utf-8"), min_size=1),
)
def test_any_name_comes_through_the_path(pool: str, name: str) -> None:
    world = World()
    path = f"/api/pools/{quote(pool, safe='')}/upstreams/{quote(name, safe='')}"
    assert world.ask("DELETE", path).status == 200
    assert world.control.orders == [("remove", pool, name)]


@given(st.lists(st.text(st.characters(codec="utf-8"))))
def test_a_path_is_split_before_it_is_decoded(names: list[str]) -> None:
    path = "/" + "/".join(quote(name, safe="") for name in names)
    assert split_path(path.encode()) == tuple(names or [""])


@given(st.binary())
def test_no_path_breaks_the_splitting(raw: bytes) -> None:
    parts = split_path(raw)
    assert parts is None or all(part.encode() is not None for part in parts)


def test_an_upstream_is_added_and_removed(world: World) -> None:
    reply = world.order(
        "POST", "/api/pools/chat/upstreams", {"upstream": " ws://10.0.0.5:3000 weight=2 "}
    )
    assert (reply.status, reply.json["source"]) == (201, "api")
    assert world.ask("DELETE", UPSTREAM).json["source"] == "gone"
    assert world.control.orders == [
        ("add", "chat", "ws://10.0.0.5:3000 weight=2"),
        ("remove", "chat", PATH_UPSTREAM),
    ]


def test_a_pool_is_rebalanced_drained_and_taken_back(world: World) -> None:
    assert world.order("POST", "/api/pools/chat/rebalance", {"rate": "600/m"}).json["total"] == 12
    assert world.ask("POST", "/api/pools/chat/drain").json["what"] == "pool chat"
    assert world.ask("POST", "/api/pools/chat/ready").status == 200
    assert world.ask("POST", "/api/drain").status == 200
    assert world.order("POST", "/api/ready", {}).status == 200
    assert world.control.orders == [
        ("rebalance", "chat", 10.0),
        ("drain", "chat"),
        ("ready", "chat"),
        ("drain", None),
        ("ready", None),
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "named"),
    [
        ("PATCH", UPSTREAM, "", "'state'"),
        ("PATCH", UPSTREAM, "{}", "'state'"),
        ("PATCH", UPSTREAM, '{"wieght": 3}', "'wieght'"),
        ("PATCH", UPSTREAM, '{"weight": "3"}', "'weight'"),
        ("PATCH", UPSTREAM, '{"weight": true}', "'weight'"),
        ("PATCH", UPSTREAM, '{"weight": 3.0}', "'weight'"),
        ("PATCH", UPSTREAM, '{"weight": null}', "'weight'"),
        ("PATCH", UPSTREAM, '{"weight": 0}', "'weight'"),
        ("PATCH", UPSTREAM, '{"weight": 65536}', "'weight'"),
        ("PATCH", UPSTREAM, '{"weight": 1, "weight": 2}', "'weight'"),
        ("PATCH", UPSTREAM, '{"state": "up"}', "'state'"),
        ("PATCH", UPSTREAM, '{"state": ["down"]}', "'state'"),
        ("PATCH", UPSTREAM, "[]", "object"),
        ("PATCH", UPSTREAM, "7", "object"),
        ("PATCH", UPSTREAM, "{", "JSON"),
        ("PATCH", UPSTREAM, '{"weight": NaN}', "NaN"),
        ("PATCH", UPSTREAM, '{"weight": ' + "9" * 5000 + "}", "JSON"),
        ("PATCH", UPSTREAM, "[" * 30_000, "deep"),
        ("PATCH", UPSTREAM, b"\xff", "JSON"),
        ("POST", "/api/pools/chat/upstreams", "{}", "'upstream'"),
        ("POST", "/api/pools/chat/upstreams", '{"upstream": " "}', "'upstream'"),
        ("POST", "/api/pools/chat/upstreams", '{"upstream": "ws://a\\nb"}', "'upstream'"),
        ("POST", "/api/pools/chat/upstreams", '{"upstream": "\\ud800"}', "'upstream'"),
        ("POST", "/api/pools/chat/rebalance", "", "'rate'"),
        ("POST", "/api/pools/chat/rebalance", '{"rate": 10}', "'rate'"),
        ("POST", "/api/pools/chat/rebalance", '{"rate": "fast"}', "'rate'"),
        ("POST", "/api/pools/chat/rebalance", '{"rate": "0/s"}', "'rate'"),
        ("POST", "/api/pools/chat/rebalance", '{"rate": "10/s burst 5"}', "burst"),
        ("POST", "/api/drain", '{"pool": "chat"}', "'pool'"),
        ("POST", "/api/ready", '{"pool": "chat"}', "'pool'"),
        ("POST", "/api/reload", '{"now": 1}', "'now'"),
    ],
)
def test_a_bad_body_is_refused_and_the_key_is_named(
    world: World, method: str, path: str, body: Any, named: str
) -> None:
    content = body if isinstance(body, bytes) else body.encode()
    reply = world.ask(method, path, JSON, content)
    assert (reply.status, world.control.orders) == (400, [])
    assert named in reply.error


@pytest.mark.parametrize(
    "media_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"]
)
def test_a_body_of_another_type_is_refused(world: World, media_type: str) -> None:
    """A form of another page can send those without asking first."""
    for method, path in [("PATCH", UPSTREAM), ("POST", "/api/drain"), ("POST", "/api/reload")]:
        reply = world.ask(method, path, {"Content-Type": media_type}, b'{"state": "down"}')
        assert (reply.status, world.control.orders) == (415, [])
        assert "application/json" in reply.error


def test_the_type_may_have_parameters(world: World) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert world.ask("PATCH", UPSTREAM, headers, b'{"weight": 3}').status == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused_and_the_connection_goes_on(
    world: World, chunked: bool
) -> None:
    def send(body: bytes) -> Reply:
        if chunked:
            headers = {**JSON, "Transfer-Encoding": "chunked", "Content-Length": ""}
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        else:
            headers = JSON
        client.send(request("PATCH", UPSTREAM, headers, body))
        return client.reply()

    client = world.connect()
    body = b'{"weight": 3}'
    reply = send(body.ljust(64 * 1024 + 1))
    assert (reply.status, world.control.orders) == (413, [])
    assert "65536" in reply.error
    assert send(body.ljust(1024 * 1024)).status == 413
    assert send(body.ljust(64 * 1024)).status == 200


# the relay


def test_a_reload_answers_what_changed(world: World) -> None:
    reply = world.ask("POST", "/api/reload")
    assert (reply.status, reply.json) == (200, {"changes": ["pool chat: upstream b is new."]})


def test_a_refused_reload_answers_every_error(world: World) -> None:
    errors = ["relay.ini:12: [pool:chat] balancer: unknown balancer 'x'"]
    world.control.reloading = fail(Refused(422, "relay.ini is bad.", errors))
    reply = world.ask("POST", "/api/reload")
    assert (reply.status, reply.json) == (422, {"error": "relay.ini is bad.", "errors": errors})


def test_a_reload_is_waited_for(world: World) -> None:
    world.control.reloading = Deferred()
    client = world.connect()
    client.send(request("POST", "/api/reload"))
    world.advance(59.0, client)
    assert client.take() == b""
    world.control.reloading.callback([])
    client.settle()
    assert client.reply().json == {"changes": []}


def test_but_not_for_ever_and_its_end_is_not_lost(world: World) -> None:
    world.control.reloading = Deferred()
    client = world.connect()
    client.send(request("POST", "/api/reload"))
    world.advance(60.0, client)
    reply = client.reply()
    assert reply.status == 504
    assert "under way" in reply.error
    with logged() as events:
        world.control.reloading.errback(ZeroDivisionError())
    assert [event["log_failure"].type for event in events] == [ZeroDivisionError]


@pytest.mark.parametrize("end", ["result", "refusal", "nothing"])
def test_a_client_that_leaves_does_not_stop_a_reload(world: World, end: str) -> None:
    called_off: list[Any] = []
    world.control.reloading = Deferred(called_off.append)
    client = world.connect()
    client.send(request("POST", "/api/reload"))
    client.transport.peer_resets()
    client.settle()
    world.assert_at_rest()
    assert called_off == []
    with logged() as events:
        if end == "result":
            world.control.reloading.callback([])
        elif end == "refusal":
            world.control.reloading.errback(Refused(422, "No."))
    assert events == []


# what fails


@pytest.mark.parametrize("path", ["/status.json", "/readyz", "/api/sessions"])
def test_what_fails_is_answered_and_logged(world: World, path: str) -> None:
    world.control.broken = True
    with logged() as events:
        reply = world.ask("GET", path)
    assert (reply.status, reply.error) == (500, "The relay failed; its log says how.")
    assert [event["log_failure"].type for event in events] == [ZeroDivisionError]


def test_an_infinite_number_is_no_json(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.control, "status", lambda: {"lag_s": float("inf")})
    with logged() as events:
        assert world.ask("GET", "/status.json").status == 500
    assert len(events) == 1


def test_orders_are_logged_and_looking_is_not(world: World) -> None:
    with logged() as events:
        world.ask("GET", "/status.json")
        world.ask("POST", "/api/drain", {"Origin": "https://evil.example"})
        world.order("PATCH", UPSTREAM, {"weight": 3}, headers={"Origin": OWN})
    (event,) = events
    assert event["log_format"].format(**event) == (
        f"admin: 192.0.2.7:50123 PATCH /api/pools/chat/upstreams/{PATH_UPSTREAM}: 200"
    )


def test_live_is_a_websocket_and_says_so(world: World) -> None:
    for method, headers in (("GET", {}), ("HEAD", HANDSHAKE), ("GET", {"Upgrade": "h2c"})):
        reply = world.ask(method, "/live", headers)
        assert (reply.status, reply.headers["Upgrade"]) == (426, "websocket")


def test_json_is_not_sensitive_to_what_names_hold(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = {"name": "</script>\u2028\ud800"}
    monkeypatch.setattr(world.control, "status", lambda: value)
    reply = world.ask("GET", "/status.json")
    assert json.loads(reply.body) == value
    assert reply.body.isascii()


# answers that come later


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/status.json", None),
        ("GET", "/metrics", None),
        ("GET", "/api/pools", None),
        ("GET", "/api/sessions", None),
        ("GET", "/api/sessions/88be0c", None),
        ("DELETE", "/api/sessions/88be0c", None),
        ("POST", "/api/pools/chat/upstreams", {"upstream": "ws://10.0.0.5:3000"}),
        ("PATCH", "/api/pools/chat/upstreams/a", {"weight": 3}),
        ("DELETE", "/api/pools/chat/upstreams/a", None),
        ("POST", "/api/pools/chat/rebalance", {"rate": "10/s"}),
        ("POST", "/api/pools/chat/drain", {}),
        ("POST", "/api/pools/chat/ready", {}),
        ("POST", "/api/drain", {}),
        ("POST", "/api/ready", {}),
    ],
)
def test_an_answer_that_comes_later_is_the_same(method: str, path: str, body: Any) -> None:
    def send(world: World) -> Client:
        text = b"" if body is None else json.dumps(body).encode()
        client = world.connect()
        client.send(request(method, path, {"Content-Type": "application/json"}, text))
        return client

    world = World()
    at_once = send(world).reply(method)
    world.control.late = True
    client = send(world)
    assert client.take() == b""
    world.control.give()
    client.settle()
    reply = client.reply(method)
    assert (reply.status, reply.body) == (at_once.status, at_once.body)
    assert reply.status in (200, 201)


def test_a_refusal_that_comes_later_is_one() -> None:
    world = World()
    world.control.late = True
    client = world.connect()
    client.send(request("GET", "/api/sessions/77"))
    world.control.give()
    client.settle()
    reply = client.reply()
    assert (reply.status, reply.error) == (404, "There is no session 77.")


def test_nobody_waits_for_ever() -> None:
    world = World()
    world.control.late = True
    client = world.connect()
    client.send(request("GET", "/status.json"))
    world.advance(9.0, client)
    assert client.take() == b""
    world.advance(1.0, client)
    assert client.reply().status == 504


def test_probes_are_answered_at_once_by_a_relay_that_is_late() -> None:
    world = World()
    world.control.late = True
    assert world.ask("GET", "/healthz").status == 200
    assert world.ask("GET", "/readyz").status == 200
