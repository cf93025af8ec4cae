"""The metrics page: its names and labels, what it says of a relay, and what it never says."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from tests.observe.support import Page, read, still_exchange, still_session
from tests.relay.support import BINARY, TEXT, FakeTransport, frame_from
from tests.relay.world import ROUTE, UPSTREAMS, World
from tests.support import PROJECT
from wsrelay.cluster.client import Meters
from wsrelay.config.model import ListenerConfig, PathRule, Rate, RouteConfig, UpstreamConfig
from wsrelay.descriptors import soft_limit
from wsrelay.observe import exporter
from wsrelay.observe.bounds import FORGOTTEN_AFTER
from wsrelay.observe.exporter import Exporter
from wsrelay.observe.families import FAMILIES
from wsrelay.observe.lag import INTERVAL, Lag
from wsrelay.observe.metrics import Metrics
from wsrelay.observe.prometheus import render
from wsrelay.observe.samples import Observed
from wsrelay.observe.traffic import KEPT_FOR, Traffic
from wsrelay.relay.causes import Cause
from wsrelay.relay.facts import Exchanged, Facts, Several
from wsrelay.relay.pump import Side
from wsrelay.relay.refusals import REFUSALS

CLIENT, UPSTREAM = Side.CLIENT, Side.UPSTREAM

CONTRACT = {
    "wsrelay_handshakes_total": ("counter", {"listener", "route", "pool", "upstream", "status"}),
    "wsrelay_sessions": ("gauge", {"route", "pool", "upstream"}),
    "wsrelay_closes_total": ("counter", {"route", "code", "initiator"}),
    "wsrelay_messages_total": ("counter", {"route", "direction", "type"}),
    "wsrelay_bytes_total": ("counter", {"route", "direction"}),
    "wsrelay_pings_total": ("counter", {"leg", "result"}),
    "wsrelay_ping_rtt_seconds": ("histogram", {"leg"}),
    "wsrelay_rejected_total": ("counter", {"reason"}),
    "wsrelay_retries_total": ("counter", {"pool"}),
    "wsrelay_upstream_up": ("gauge", {"pool", "upstream"}),
    "wsrelay_upstream_weight": ("gauge", {"pool", "upstream"}),
    "wsrelay_health_transitions_total": ("counter", {"pool", "upstream", "to"}),
    "wsrelay_published_total": ("counter", {"result"}),
    "wsrelay_pauses_total": ("counter", {"leg"}),
    "wsrelay_throttled_total": ("counter", {"route"}),
    "wsrelay_buffered_bytes": ("gauge", set()),
    "wsrelay_queue_length": ("gauge", {"pool"}),
    "wsrelay_draining": ("gauge", set()),
    "wsrelay_reloads_total": ("counter", {"result"}),
    "wsrelay_reactor_lag_seconds": ("gauge", set()),
    "wsrelay_open_fds": ("gauge", set()),
    "wsrelay_max_fds": ("gauge", set()),
    "wsrelay_accepting": ("gauge", set()),
    "wsrelay_connections": ("gauge", {"listener"}),
    "wsrelay_max_connections": ("gauge", {"listener"}),
    "wsrelay_handshake_seconds": ("histogram", {"phase"}),
    "wsrelay_session_seconds": ("histogram", set()),
    "wsrelay_http_requests_total": ("counter", {"listener", "route", "pool", "upstream", "status"}),
    "wsrelay_http_requests_in_flight": ("gauge", {"route", "pool", "upstream"}),
    "wsrelay_http_request_seconds": ("histogram", {"phase"}),
    "wsrelay_http_bytes_total": ("counter", {"route", "direction"}),
    "wsrelay_workers": ("gauge", set()),
    "wsrelay_worker_restarts_total": ("counter", set()),
    "wsrelay_worker_overflows_total": ("counter", set()),
    "wsrelay_worker_sessions": ("gauge", {"worker"}),
    "wsrelay_cluster_up": ("gauge", set()),
    "wsrelay_cluster_relays": ("gauge", set()),
    "wsrelay_cluster_errors_total": ("counter", {"kind"}),
    "wsrelay_cluster_seconds": ("histogram", set()),
}

PLAIN = b"GET /chat/page HTTP/1.1\r\nHost: chat.example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"


@define(eq=False)
class Watched:
    """A relay in memory with all that makes its metrics page."""

    world: World = field(factory=World)
    metrics: Metrics = field(factory=Metrics)
    traffic: Traffic = field(init=False)
    lag: Lag = field(init=False)
    exporter: Exporter = field(init=False)

    def __attrs_post_init__(self) -> None:
        relay, reactor = self.world.relay, self.world.reactor
        self.traffic, self.lag = Traffic(reactor.seconds), Lag(reactor)
        relay.observer = Several((self.metrics, self.traffic))
        self.exporter = Exporter(relay, self.metrics, self.traffic, self.lag)

    def page(self) -> Page:
        """Return what the page says now."""
        self.world.advance(KEPT_FOR)
        return read(self.render())

    def render(self) -> bytes:
        return render(self.exporter.samples())

    def end(self, *transports: FakeTransport) -> None:
        for each in transports:
            self.world.reset(each)
        assert not self.world.relay.sessions


EMPTY = {"wsrelay_sessions", "wsrelay_http_requests_in_flight"}
"""Gauges that are 0 where nothing goes on."""


def rule(**more: Any) -> RouteConfig:
    return evolve(ROUTE, **more)


def busy() -> Watched:
    """Return a relay on which something of every kind has happened."""
    watched = Watched()
    watched.metrics.cluster = Meters()
    world = watched.world
    world.relay.config = evolve(world.relay.config, max_connections=10)
    client, upstream = world.establish()
    world.send(client, frame_from(CLIENT, TEXT, b"hello"))
    watched.end(client, upstream)
    world.ask(b"nonsense\r\n\r\n")
    world.ask(PLAIN)
    world.send(world.accept(), OK + bytes(10))
    world.pool.upstreams[0].failed("connection refused")
    watched.metrics.pinged(CLIENT, 0.1)
    watched.metrics.health_changed("pool", "a", "down")
    return watched


def stem(sample: str) -> str:
    """Return the family of a sample."""
    base = re.sub("_(bucket|sum|count)$", "", sample)
    return base if CONTRACT.get(base, ("",))[0] == "histogram" else sample


# names


def test_names_kinds_and_labels_are_those_that_users_were_promised() -> None:
    page = busy().page()
    assert page.kinds == {name: kind for name, (kind, _) in CONTRACT.items()}
    labels: dict[str, set[frozenset[str]]] = {}
    for name, pairs in page.samples:
        found = frozenset(label for label, _ in pairs) - {"le"}
        labels.setdefault(stem(name), set()).add(found)
    assert labels == {name: {frozenset(each)} for name, (_, each) in CONTRACT.items()}


def test_the_table_of_families_says_the_same() -> None:
    assert {name: (each.kind, set(each.labels)) for name, each in FAMILIES.items()} == CONTRACT


def test_every_family_has_its_help_and_no_time_of_creation() -> None:
    text = busy().render().decode()
    for name, family in FAMILIES.items():
        assert family.help
        assert text.count(f"# HELP {name} ") == 1
        assert text.count(f"# TYPE {name} {family.kind}\n") == 1
    assert text.count("# HELP ") == len(FAMILIES)
    assert "_created" not in text


def test_nothing_is_in_the_registry_that_others_use_and_relays_stay_apart() -> None:
    before = list(REGISTRY._collector_to_names)
    one, other = busy(), Watched()
    one.page()
    assert other.page().value("wsrelay_session_seconds_count") == 0
    assert list(REGISTRY._collector_to_names) == before
    assert "python_info" not in one.render().decode()


def test_the_library_is_not_loaded_by_what_counts_nor_by_the_service() -> None:
    names = "wsrelay.observe.metrics, wsrelay.observe.traffic, wsrelay.observe.lag, wsrelay.tap"
    code = f"import sys, {names}; print('prometheus_client' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "False\n"


# values


def test_a_relay_to_which_nobody_has_come_says_zero() -> None:
    page = Watched().page()
    assert {each["reason"] for each in page.labels_of("wsrelay_rejected_total")} == set(REFUSALS)
    for gauge in ("wsrelay_sessions", "wsrelay_http_requests_in_flight"):
        assert [each["upstream"] for each in page.labels_of(gauge)] == list("abcd")
    assert page.labels_of("wsrelay_handshakes_total") == []
    counters = {
        name: value
        for (name, _), value in page.samples.items()
        if CONTRACT[stem(name)][0] != "gauge" or stem(name) in EMPTY
    }
    assert set(counters.values()) == {0}
    assert EMPTY | {
        *("wsrelay_messages_total", "wsrelay_retries_total", "wsrelay_pings_total"),
        "wsrelay_http_bytes_total",
    } <= set(counters)


def test_a_session_is_seen_from_its_handshake_to_its_close() -> None:
    watched = Watched()
    world = watched.world
    client, upstream = world.establish()
    world.send(client, frame_from(CLIENT, TEXT, b"hello") + frame_from(CLIENT, BINARY, b"four"))
    world.send(upstream, frame_from(UPSTREAM, BINARY, b"x" * 70) * 3)
    world.send(client, frame_from(CLIENT, TEXT, b"half")[:3])
    page = watched.page()
    where = {"route": "chat", "pool": "pool", "upstream": "a"}
    assert page.value("wsrelay_handshakes_total", listener="web", status="101", **where) == 1
    assert page.value("wsrelay_sessions", **where) == 1
    assert page.value("wsrelay_sessions", **{**where, "upstream": "b"}) == 0
    assert {
        (each["direction"], each["type"]): page.value("wsrelay_messages_total", **each)
        for each in page.labels_of("wsrelay_messages_total")
    } == {("up", "text"): 1, ("up", "binary"): 1, ("down", "text"): 0, ("down", "binary"): 3}
    assert page.value("wsrelay_bytes_total", route="chat", direction="up") == 9
    assert page.value("wsrelay_bytes_total", route="chat", direction="down") == 210
    assert page.value("wsrelay_buffered_bytes") == 3
    assert page.value("wsrelay_handshake_seconds_count", phase="connect") == 1
    assert page.value("wsrelay_handshake_seconds_count", phase="queue") == 0
    world.advance(3 - KEPT_FOR)
    watched.end(client, upstream)
    page = watched.page()
    assert page.value("wsrelay_sessions", **where) == 0
    assert page.value("wsrelay_closes_total", route="chat", code="1006", initiator="client") == 1
    assert page.value("wsrelay_session_seconds_sum") == 3
    assert page.value("wsrelay_bytes_total", route="chat", direction="down") == 210
    assert page.value("wsrelay_buffered_bytes") == 0


def test_a_throttled_client_is_counted_with_its_route() -> None:
    watched = Watched(World(evolve(ROUTE, messages=Rate(1 / 60), on_excess="throttle")))
    client, _ = watched.world.establish()
    watched.world.send(client, frame_from(CLIENT, TEXT) * 2)
    page = watched.page()
    assert page.value("wsrelay_throttled_total", route="chat") == 1
    assert page.value("wsrelay_messages_total", route="chat", direction="up", type="text") == 1


def test_pauses_are_counted_for_the_leg_that_was_not_read() -> None:
    watched = Watched()
    world = watched.world
    client, upstream = world.establish()
    client.stalled = True
    while upstream.reading:
        world.send(upstream, frame_from(UPSTREAM, BINARY, bytes(50_000)))
    page = watched.page()
    assert page.value("wsrelay_pauses_total", leg="upstream") == 1
    assert page.value("wsrelay_pauses_total", leg="client") == 0
    kept = page.value("wsrelay_buffered_bytes")
    assert kept is not None
    assert kept > 64 * 1024


def test_refusals_and_retries_are_seen() -> None:
    watched = Watched()
    world = watched.world
    world.ask(b"nonsense\r\n\r\n")
    world.ask()
    for _ in range(ROUTE.retries + 1):
        world.refuse()
    page = watched.page()
    assert page.value("wsrelay_rejected_total", reason="malformed") == 1
    assert page.value("wsrelay_rejected_total", reason="upstream-failed") == 1
    assert page.value("wsrelay_retries_total", pool="pool") == ROUTE.retries
    handshakes = page.labels_of("wsrelay_handshakes_total")
    assert {(each["route"], each["pool"], each["status"]) for each in handshakes} == {
        ("", "", "400"),
        ("chat", "pool", "502"),
    }
    assert page.value("wsrelay_handshake_seconds_count", phase="total") == 1


def test_a_plain_request_is_seen_from_its_first_byte_to_the_last_of_the_answer() -> None:
    watched = Watched()
    world = watched.world
    where = {"route": "chat", "pool": "pool"}
    world.ask(b"POST /chat HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nsev")
    page = watched.page()
    assert page.value("wsrelay_http_requests_in_flight", upstream="a", **where) == 1
    upstream = world.accept()
    world.send(world.transports[0], b"en b")
    page = watched.page()
    assert page.value("wsrelay_http_bytes_total", route="chat", direction="up") == 0
    world.send(upstream, OK + b"four")
    page = watched.page()
    assert page.value("wsrelay_http_bytes_total", route="chat", direction="up") == 7
    assert page.value("wsrelay_http_bytes_total", route="chat", direction="down") == 4
    assert page.labels_of("wsrelay_http_requests_total") == []
    world.send(upstream, b"six...")
    page = watched.page()
    assert page.value("wsrelay_http_requests_in_flight", upstream="a", **where) == 0
    told = {**where, "listener": "web", "upstream": "a", "status": "200"}
    assert page.labels_of("wsrelay_http_requests_total") == [told]
    assert page.value("wsrelay_http_requests_total", **told) == 1
    assert page.value("wsrelay_http_bytes_total", route="chat", direction="up") == 7
    assert page.value("wsrelay_http_bytes_total", route="chat", direction="down") == 10
    # Each look at the page took a second.
    seconds = "wsrelay_http_request_seconds_sum"
    assert page.value(seconds, phase="connect") == KEPT_FOR
    assert page.value(seconds, phase="answer") == KEPT_FOR
    assert page.value(seconds, phase="total") == 3 * KEPT_FOR
    assert page.labels_of("wsrelay_handshakes_total") == []
    assert page.value("wsrelay_bytes_total", route="chat", direction="down") == 0


def test_a_plain_request_that_is_refused_or_left_alone_is_seen_too() -> None:
    watched = Watched()
    world = watched.world
    world.ask(PLAIN)
    for _ in range(ROUTE.retries + 1):
        world.refuse()
    world.ask(PLAIN.replace(b"GET", b"TRACE"))
    world.end(world.ask(PLAIN))
    page = watched.page()
    statuses = {
        (each["upstream"], each["status"]): page.value("wsrelay_http_requests_total", **each)
        for each in page.labels_of("wsrelay_http_requests_total")
    }
    assert statuses == {("c", "502"): 1, ("", "405"): 1, ("a", "499"): 1}
    for reason in ("upstream-failed", "method", "client-left"):
        assert page.value("wsrelay_rejected_total", reason=reason) == 1
    assert page.value("wsrelay_retries_total", pool="pool") == ROUTE.retries
    assert page.labels_of("wsrelay_handshakes_total") == []


def test_files_are_requests_of_their_route_and_of_no_upstream(tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(bytes(1000))
    files = rule(static=tmp_path, pool="", path=PathRule("prefix", "/chat"), strip_prefix=True)
    watched = Watched(World(files))
    where = {"route": "chat", "pool": "", "upstream": ""}
    page = watched.page()
    assert page.value("wsrelay_http_requests_in_flight", **where) == 0
    watched.world.ask(PLAIN)
    page = watched.page()
    assert page.value("wsrelay_http_requests_total", listener="web", status="200", **where) == 1
    assert page.value("wsrelay_http_bytes_total", route="chat", direction="down") == 1000
    assert page.value("wsrelay_http_request_seconds_count", phase="total") == 0


def test_a_route_without_plain_http_has_no_numbers_of_it() -> None:
    watched = Watched(World(rule(http=False)))
    watched.world.ask(PLAIN)
    page = watched.page()
    assert page.labels_of("wsrelay_http_requests_in_flight") == []
    assert page.labels_of("wsrelay_http_bytes_total") == []
    told = {"listener": "web", "route": "chat", "pool": "", "upstream": "", "status": "426"}
    assert page.value("wsrelay_http_requests_total", **told) == 1
    assert page.value("wsrelay_rejected_total", reason="plain-http") == 1


def test_late_pings_and_their_closes_are_seen() -> None:
    watched = Watched(World(rule(keepalive=10.0, keepalive_timeout=5.0)))
    watched.world.establish()
    watched.world.advance(60)
    page = watched.page()
    assert sum(
        page.value("wsrelay_pings_total", leg=each.value, result="late") or 0 for each in Side
    )
    assert (
        page.value("wsrelay_closes_total", route="chat", code="1011", initiator="relay:pong") == 1
    )


def test_upstreams_show_their_health_weight_and_queue() -> None:
    watched = Watched(World(max_fails=1))
    world = watched.world
    world.pool.upstreams[1].weight = 7
    world.pool.upstreams[2].failed("connection refused")
    for _ in range(3):
        world.pool.line.join(lambda: None)
    page = watched.page()
    ups = {name: page.value("wsrelay_upstream_up", pool="pool", upstream=name) for name in "abcd"}
    assert ups == {"a": 1, "b": 1, "c": 0, "d": 1}
    assert page.value("wsrelay_upstream_weight", pool="pool", upstream="b") == 7
    assert page.value("wsrelay_queue_length", pool="pool") == 3
    changes = "wsrelay_health_transitions_total"
    assert page.value(changes, pool="pool", upstream="c", to="down") == 1


def test_the_state_of_the_relay_itself_is_shown() -> None:
    watched = Watched()
    assert watched.page().value("wsrelay_draining") == 0
    watched.world.relay.is_draining = True
    watched.metrics.reloaded("ok")
    watched.lag.start()
    watched.world.reactor.advance(INTERVAL + 2)
    page = watched.page()
    watched.lag.stop()
    assert page.value("wsrelay_draining") == 1
    assert page.value("wsrelay_reloads_total", result="ok") == 1
    assert page.value("wsrelay_reloads_total", result="refused") == 0
    assert page.value("wsrelay_reactor_lag_seconds") == 2


def test_clients_are_counted_by_listener_next_to_the_limits() -> None:
    watched = Watched()
    relay = watched.world.relay
    relay.make_listener(ListenerConfig("idle", "tcp:1", max_connections=7))
    relay.config = evolve(relay.config, max_connections=100)
    watched.world.establish()
    client = watched.world.client()
    page = watched.page()
    assert page.value("wsrelay_connections", listener="web") == 2
    assert page.value("wsrelay_connections", listener="idle") == 0
    assert page.value("wsrelay_max_connections", listener="web") is None
    assert page.value("wsrelay_max_connections", listener="idle") == 7
    assert page.value("wsrelay_max_connections", listener="") == 100
    watched.world.reset(client)
    assert watched.page().value("wsrelay_connections", listener="web") == 1
    assert watched.page().value("wsrelay_accepting") == 1
    relay.descriptors.is_accepting = False
    assert watched.page().value("wsrelay_accepting") == 0
    assert watched.page().value("wsrelay_max_fds") == soft_limit()


def test_open_descriptors_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched()
    before = watched.page().value("wsrelay_open_fds")
    assert before == len(os.listdir("/proc/self/fd")) - 1
    with (tmp_path / "one").open("w"), (tmp_path / "two").open("w"):
        assert watched.page().value("wsrelay_open_fds") == before + 2
    monkeypatch.setattr(exporter, "DESCRIPTORS", str(tmp_path / "nowhere"))
    page = watched.page()
    assert page.value("wsrelay_open_fds") is None
    assert page.value("wsrelay_draining") == 0


# upstreams that leave


def leave(world: World, *names: str) -> None:
    """Let the configuration name fewer upstreams."""
    left = [each for each in UPSTREAMS if each.name not in names]
    world.relay.members_changed(world.pool, world.pool.set_members("file", left))


def test_an_upstream_that_left_keeps_its_counters_for_an_hour_and_its_gauges_not() -> None:
    watched = Watched()
    world = watched.world
    client, upstream = world.establish()
    leave(world, "a")
    where = {"pool": "pool", "upstream": "a"}
    handshake = {**where, "route": "chat", "listener": "web", "status": "101"}
    page = watched.page()
    assert page.value("wsrelay_upstream_up", **where) is None
    assert page.value("wsrelay_upstream_weight", **where) is None
    assert page.value("wsrelay_sessions", route="chat", **where) == 1, "its session goes on"
    watched.end(client, upstream)
    page = watched.page()
    assert page.value("wsrelay_sessions", route="chat", **where) is None
    assert page.value("wsrelay_handshakes_total", **handshake) == 1
    world.advance(FORGOTTEN_AFTER - 2 * KEPT_FOR)
    assert watched.page().value("wsrelay_handshakes_total", **handshake) == 1
    world.advance(2 * KEPT_FOR)
    page = watched.page()
    assert page.value("wsrelay_handshakes_total", **handshake) is None
    assert ("pool", "a") not in set(watched.traffic.upstreams)
    assert page.value("wsrelay_session_seconds_count") == 1


def test_an_upstream_with_sessions_or_requests_is_never_forgotten() -> None:
    watched = Watched()
    world = watched.world
    watched.metrics.health_changed("pool", "a", "up")
    watched.metrics.health_changed("pool", "b", "up")
    watched.metrics.health_changed("pool", "c", "up")
    leave(world, "a", "b", "c")
    session: Any = still_session(upstream="a")
    world.relay.sessions["1"] = session
    world.relay.exchanges.add(still_exchange(upstream="c"))
    for _ in range(3):
        watched.page()
        world.advance(FORGOTTEN_AFTER)
    changes = "wsrelay_health_transitions_total"
    for name in "ac":
        assert watched.page().value(changes, pool="pool", upstream=name, to="up") == 1
    assert watched.page().value(changes, pool="pool", upstream="b", to="up") is None


# what a page never says

MARK = "zQ7marker"
marked = st.text(max_size=5).map(lambda text: f"{text}{MARK}{text}")


@settings(max_examples=50)
@given(st.data())
def test_nothing_that_a_client_sent_is_ever_a_label(data: st.DataObject) -> None:
    def draw() -> str:
        return data.draw(marked)

    watched = Watched()
    for _ in range(data.draw(st.integers(1, 4))):
        facts = Facts(
            draw(), "web", draw(), "chat", "pool", "a", draw(), draw(), draw(), draw(), draw(),
            draw(), draw(), data.draw(st.integers(100, 599)), 1, 5.0,
            data.draw(st.sampled_from(sorted({"", *REFUSALS}))), {"connect": 0.1},
        )  # fmt: skip
        session: Any = still_session()
        session.facts = facts
        code, who = data.draw(st.integers(1000, 4999)), data.draw(st.sampled_from(list(Side)))
        session.cause = Cause(code, draw(), who.value)
        watched.metrics.session_opened(facts, session)
        watched.metrics.refused(facts, draw())
        plain = evolve(facts, method=draw())
        watched.metrics.refused(plain, draw())
        for observer in (watched.metrics, watched.traffic):
            observer.exchanged(plain, Exchanged(1, 2, 0.5, draw()))
        watched.metrics.session_ended(facts, session)
        watched.traffic.session_ended(facts, session)
        watched.world.relay.sessions[facts.id] = session
    page = watched.render().decode()
    assert MARK not in page
    assert 'upstream="a"' in page


def test_of_a_real_client_nothing_is_on_the_page() -> None:
    watched = Watched()
    world = watched.world
    request = (
        f"GET /chat/{MARK}?{MARK}={MARK} HTTP/1.1\r\nHost: {MARK}.example.com\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://{MARK}\r\n"
        f"User-Agent: {MARK}\r\nCookie: a={MARK}\r\nX-Request-ID: {MARK}\r\n"
        f"X-Forwarded-For: {MARK}\r\nX-{MARK}: {MARK}\r\nSec-WebSocket-Protocol: {MARK}\r\n\r\n"
    ).encode()
    client = world.ask(request)
    upstream = world.accept()
    assert MARK.encode() in upstream.received
    world.ask(request.replace(b"Upgrade: websocket\r\n", b""))
    plain = request.replace(b"Upgrade", b"X-Not").replace(b"Sec-WebSocket", b"X-Socket")
    world.ask(plain.replace(b"GET", MARK.encode()))
    world.send(world.accept(), b"HTTP/1.1 200 %b\r\n\r\n" % MARK.encode())
    page = watched.render().decode()
    world.end(client)
    page += watched.render().decode()
    assert MARK not in page
    assert MARK.lower() not in page
    assert "192.0.2.7" not in page
    assert watched.page().value("wsrelay_rejected_total", reason="client-left") == 1


# how a page is written

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
AWKWARD = 'a "b" \\ {c="d"} \\n\n,é'


@settings(max_examples=50)
@given(names)
def test_whatever_an_operator_calls_things_comes_out_as_it_is(name: str) -> None:
    check_name(name)


def test_quotes_and_backslashes_and_line_ends_come_out_as_they_are() -> None:
    check_name(AWKWARD)


def check_name(name: str) -> None:
    server = UpstreamConfig(name, "ws://192.0.2.99:9000")
    watched = Watched(World(rule(name=name), [server]))
    watched.metrics.refused(Facts("1", name, "x", name, "pool", name, status=502), "")
    watched.metrics.refused(Facts("1", name, "x", name, name, name, status=502, method="GET"), "")
    watched.metrics.retried(name)
    text = watched.render().decode()
    # Not the parser of the library alone: it takes other line ends, too, for the end of one.
    lines = [each for each in text.split("\n") if not each.startswith("#")]
    line = re.compile(r'[a-z_]+(\{([a-z]+="([^"\\\n]|\\["\\n])*",?)+\})? [0-9.e+-]+')
    assert [each for each in lines if not line.fullmatch(each)] == [""]
    labels = re.findall(r'route="((?:[^"\\]|\\.)*)"', text)
    plain = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}
    assert {re.sub(r"\\.", lambda found: plain[found[0]], each) for each in labels} == {name}


# counters

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("opened"), st.sampled_from("ab")),
        st.tuples(st.just("moved"), st.integers(1, 9)),
        st.tuples(st.just("ended"), st.integers(1000, 4999)),
        st.tuples(st.just("refused"), st.sampled_from(sorted(REFUSALS))),
        st.tuples(st.just("pinged"), st.one_of(st.none(), st.floats(-1, 100))),
        st.tuples(st.just("health"), st.sampled_from(["up", "down"])),
        st.tuples(st.just("asked"), st.none()),
    ),
    max_size=30,
)


@settings(max_examples=60)
@given(EVENTS)
def test_counters_never_go_back(events: list[tuple[str, Any]]) -> None:
    watched = Watched()
    sessions, metrics = watched.world.relay.sessions, watched.metrics
    before: dict[Any, float] = {}
    numbers_of_sessions = count()
    for event, what in [*events, ("asked", None)]:
        session: Any = next(iter(sessions.values()), None)
        if event == "opened":
            opened: Any = still_session(upstream=what)
            sessions[str(next(numbers_of_sessions))] = opened
            metrics.session_opened(opened.facts, opened)
        elif event == "moved" and session:
            numbers = session.pump.numbers
            session.pump.numbers = numbers._make(each + what for each in numbers)
        elif event == "ended" and session:
            del sessions[next(iter(sessions))]
            session.pump.numbers = session.pump.numbers._replace(buffered=0)
            session.cause = Cause(what, "", "client")
            for observer in (metrics, watched.traffic):
                observer.session_ended(session.facts, session)
        elif event == "refused":
            metrics.refused(Facts("1", "web", "x", status=503, refusal=what), "")
        elif event == "pinged":
            metrics.pinged(CLIENT, what)
        elif event == "health":
            metrics.health_changed("pool", "a", what)
        elif event == "asked":
            page = watched.page()
            now = {
                key: value
                for key, value in page.samples.items()
                if CONTRACT[stem(key[0])][0] != "gauge"
            }
            assert all(now[key] >= value for key, value in before.items())
            before = now


def test_samples_are_plain_data_that_another_process_can_render() -> None:
    watched = busy()
    watched.world.advance(KEPT_FOR)
    samples = watched.exporter.samples()
    assert set(samples) == set(FAMILIES)
    passed_on = pickle.loads(pickle.dumps(samples))
    assert passed_on == samples
    assert render(passed_on) == render(samples)
    assert {type(value) for each in samples.values() for value in each.values()} == {
        *(int, float, Observed)
    }


def test_a_worker_forgets_the_upstreams_that_it_is_told_and_no_others() -> None:
    watched = Watched()
    metrics = watched.metrics
    for name in "ab":
        metrics.health_changed("pool", name, "up")
    leave(watched.world, "a", "b")
    watched.exporter.samples(())
    watched.world.advance(FORGOTTEN_AFTER + 1)
    watched.exporter.samples(())
    assert set(metrics.upstreams) == {("pool", "a"), ("pool", "b")}
    watched.exporter.samples([("pool", "a")])
    assert set(metrics.upstreams) == {("pool", "b")}
