"""The metrics page after traffic that is known to the byte."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support import PATIENCE, RelayProcess, free_port, started_relay
from tests.system.admin import ADMIN, Admin, Labels, path_to
from tests.system.support import (
    BINARY,
    CLOSE,
    CONTINUATION,
    LOCAL,
    PING,
    PONG,
    TEXT,
    RawUpstream,
    Stage,
    Wire,
    answer_close,
    check_own_answer,
    close_payload,
    end_normally,
    fd_count,
    frame,
    frame_head,
    lines,
    masked,
    read_answer,
    read_data,
    switching,
    wait_until,
)

FAMILIES = {
    "wsrelay_handshakes_total": ("counter", "listener route pool upstream status"),
    "wsrelay_sessions": ("gauge", "route pool upstream"),
    "wsrelay_closes_total": ("counter", "route code initiator"),
    "wsrelay_messages_total": ("counter", "route direction type"),
    "wsrelay_bytes_total": ("counter", "route direction"),
    "wsrelay_pings_total": ("counter", "leg result"),
    "wsrelay_ping_rtt_seconds": ("histogram", "leg"),
    "wsrelay_rejected_total": ("counter", "reason"),
    "wsrelay_retries_total": ("counter", "pool"),
    "wsrelay_upstream_up": ("gauge", "pool upstream"),
    "wsrelay_upstream_weight": ("gauge", "pool upstream"),
    "wsrelay_health_transitions_total": ("counter", "pool upstream to"),
    "wsrelay_published_total": ("counter", "result"),
    "wsrelay_pauses_total": ("counter", "leg"),
    "wsrelay_throttled_total": ("counter", "route"),
    "wsrelay_buffered_bytes": ("gauge", ""),
    "wsrelay_queue_length": ("gauge", "pool"),
    "wsrelay_draining": ("gauge", ""),
    "wsrelay_reloads_total": ("counter", "result"),
    "wsrelay_reactor_lag_seconds": ("gauge", ""),
    "wsrelay_open_fds": ("gauge", ""),
    "wsrelay_max_fds": ("gauge", ""),
    "wsrelay_accepting": ("gauge", ""),
    "wsrelay_connections": ("gauge", "listener"),
    "wsrelay_max_connections": ("gauge", "listener"),
    "wsrelay_handshake_seconds": ("histogram", "phase"),
    "wsrelay_session_seconds": ("histogram", ""),
    "wsrelay_http_requests_total": ("counter", "listener route pool upstream status"),
    "wsrelay_http_requests_in_flight": ("gauge", "route pool upstream"),
    "wsrelay_http_request_seconds": ("histogram", "phase"),
    "wsrelay_http_bytes_total": ("counter", "route direction"),
    "wsrelay_workers": ("gauge", ""),
    "wsrelay_worker_restarts_total": ("counter", ""),
    "wsrelay_worker_overflows_total": ("counter", ""),
    "wsrelay_worker_sessions": ("gauge", "worker"),
    "wsrelay_cluster_up": ("gauge", ""),
    "wsrelay_cluster_relays": ("gauge", ""),
    "wsrelay_cluster_errors_total": ("counter", "kind"),
    "wsrelay_cluster_seconds": ("histogram", ""),
}
"""All that there is: kind and labels, as users know them."""

MARK = "kumquat"
"""Stands in everything that a client sends, and so must not stand in the page."""

Samples = dict[tuple[str, Labels], float]


@pytest.fixture(scope="module")
def config(upstream: RawUpstream) -> str:
    good = f"{upstream.url} name=good"
    dead = f"ws://127.0.0.1:{free_port()} name=dead"
    return "\n".join(
        [
            "[relay]\ndrain_timeout = 1h",
            f"[listener:main]\nendpoint = {LOCAL}",
            f"[listener:side]\nendpoint = {LOCAL}",
            ADMIN,
            "[route:talk]\npath = /talk\nhttp = no\npool = talk\nkeepalive = off",
            f"[pool:talk]\nmax_fails = 0\nupstreams =\n  {good} weight=7",
            "[route:retry]\npath = /retry\npool = retry\nkeepalive = off",
            f"[pool:retry]\nbalancer = first\nmax_fails = 2\nupstreams =\n  {dead}\n  {good}",
            "[route:line]\npath = /line\npool = line\nkeepalive = off",
            f"[pool:line]\nqueue_timeout = 1m\nupstreams =\n  {good} max_connections=1",
            "[route:beat]\npath = /beat\npool = talk\nkeepalive = 100ms\nkeepalive_timeout = 200ms",
        ]
    )


@pytest.fixture
def relay(config: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    """Give each test a relay that has counted nothing yet."""
    with started_relay(config, tmp_path_factory.mktemp("relay")) as running:
        yield running


@pytest.fixture
def admin(relay: RelayProcess) -> Admin:
    return Admin.of(relay)


def of_family(samples: Samples, name: str) -> dict[tuple[str, ...], float]:
    """Return the samples of a family that are not 0, by the labels' values in order."""
    order = FAMILIES[name][1].split()
    return {
        tuple(dict(labels)[each] for each in order): value
        for (found, labels), value in samples.items()
        if found == name and value
    }


def begin(stage: Stage, path: str) -> tuple[Wire, Wire]:
    return stage.begin(path.encode())


def end(client: Wire, upstream: Wire) -> None:
    for wire in (client, upstream):
        wire.close()


def test_there_are_exactly_the_families_that_users_know(admin: Admin, relay: RelayProcess) -> None:
    reply = admin.ask("GET", "/metrics")
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {}
    for family in text_string_to_metric_families(reply.body.decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert family.documentation
        found[name] = family.type
        wanted = set(FAMILIES[name][1].split())
        for each in family.samples:
            assert set(each.labels) - {"le"} == wanted, each
    assert found == {name: kind for name, (kind, _) in FAMILIES.items()}


def test_sessions_and_what_passed_are_counted_exactly(stage: Stage, admin: Admin) -> None:
    up = [(TEXT, b"hello"), (TEXT, b""), (BINARY, b"b" * 1000), (TEXT, b"t" * 70_000)]
    down = [(BINARY, b"\x00"), (TEXT, b"answer"), (BINARY, b"c" * 200)]
    first = begin(stage, "/talk")
    for sender, receiver, messages, make in (
        (*first, up, masked),
        (first[1], first[0], down, frame),
    ):
        for opcode, payload in messages:
            sender.send(make(opcode, payload))
            assert read_data(receiver).payload == payload
    # A message in three frames is one; a ping and its pong are none.
    first[0].send(masked(TEXT, b"one", fin=False) + masked(PING, b"ping"))
    first[0].send(masked(CONTINUATION, b"two", fin=False) + masked(CONTINUATION, b"three"))
    for _ in range(4):
        first[1].read_frame()
    first[1].send(frame(PONG, b"ping"))
    assert first[0].read_frame().opcode == PONG
    end_normally(*first)
    second = begin(stage, "/talk")
    second[1].send(frame(TEXT, b"live"))
    assert read_data(second[0]).payload == b"live"
    third = begin(stage, "/retry")

    size_up = sum(len(payload) for _, payload in up) + len("onetwothree")
    size_down = sum(len(payload) for _, payload in down) + len("live")
    wanted_messages = {
        ("talk", "up", "text"): 4,
        ("talk", "up", "binary"): 1,
        ("talk", "down", "text"): 2,
        ("talk", "down", "binary"): 2,
    }

    def look() -> Samples | None:
        samples = admin.metrics()  # what passed is summed up once a second
        found = of_family(samples, "wsrelay_messages_total")
        sessions = of_family(samples, "wsrelay_sessions")
        return samples if found == wanted_messages and len(sessions) == 2 else None

    samples = wait_until(look, f"the sums: {wanted_messages}")
    assert of_family(samples, "wsrelay_bytes_total") == {
        ("talk", "up"): size_up,
        ("talk", "down"): size_down,
    }
    assert of_family(samples, "wsrelay_sessions") == {
        ("talk", "talk", "good"): 1,
        ("retry", "retry", "good"): 1,
    }
    assert samples["wsrelay_buffered_bytes", frozenset()] == 0
    assert samples["wsrelay_session_seconds_count", frozenset()] == 1
    assert of_family(samples, "wsrelay_retries_total") == {("retry",): 1}
    assert of_family(samples, "wsrelay_upstream_weight") == {
        ("talk", "good"): 7,
        ("retry", "dead"): 1,
        ("retry", "good"): 1,
        ("line", "good"): 1,
    }
    end(*second)
    end(*third)


def test_handshakes_are_counted_by_their_status_and_refusals_by_their_reason(
    stage: Stage, admin: Admin
) -> None:
    for listener in ("main", "side", "side"):
        client = stage.ask(b"/talk", listener=listener)
        server = stage.accept()
        server.read_head()
        server.send(switching())
        assert client.read_head().startswith(b"HTTP/1.1 101 ")
        end(client, server)
    # The upstream refuses one itself, breaks the handshake of one, and one client leaves.
    client = stage.ask(b"/talk")
    server = stage.accept()
    server.read_head()
    server.send(lines(b"HTTP/1.1 403 No", b"Content-Length: 2", b"Connection: close") + b"no")
    assert read_answer(client).status == 403
    client = stage.ask(b"/talk")
    server = stage.accept()
    server.read_head()
    server.send(b"nonsense\r\n\r\n")
    check_own_answer(read_answer(client), 502)
    client = stage.ask(b"/talk")
    server = stage.accept()
    server.read_head()
    client.close()
    server.wait_until_gone()
    # The first is down after two failures, and not tried any more.
    for _ in range(3):
        end(*begin(stage, "/retry"))
    for request, status in (
        (lines(b"GET /nowhere HTTP/1.1", b"Host: r.test", b"Connection: close"), 404),
        (lines(b"GET /talk HTTP/1.1", b"Host: r.test", b"Connection: close"), 426),
        (lines(b"GET /talk HTTP/1.1"), 400),
        (lines(b"GET /talk HTTP/1.1", b"Host: r.test", b"X: " + b"x" * 20_000), 431),
    ):
        client = stage.connect()
        client.send(request)
        assert read_answer(client).status == status
    handshakes = {
        ("main", "talk", "talk", "good", "101"): 1,
        ("side", "talk", "talk", "good", "101"): 2,
        ("main", "talk", "talk", "good", "403"): 1,
        ("main", "talk", "talk", "good", "502"): 1,
        ("main", "talk", "talk", "good", "499"): 1,
        ("main", "retry", "retry", "good", "101"): 3,
        ("main", "", "", "", "400"): 1,
        ("main", "", "", "", "431"): 1,
    }
    plain = {("main", "", "", "", "404"): 1, ("main", "talk", "", "", "426"): 1}
    samples = wait_until(
        lambda: (
            sum(of_family(found := admin.metrics(), "wsrelay_handshakes_total").values())
            == sum(handshakes.values())
            and found
        ),
        "all handshakes to be over",
    )
    assert of_family(samples, "wsrelay_handshakes_total") == handshakes
    assert of_family(samples, "wsrelay_rejected_total") == {
        ("upstream-failed",): 1,
        ("client-left",): 1,
        ("no-route",): 1,
        ("plain-http",): 1,
        ("malformed",): 1,
        ("header-too-large",): 1,
    }
    assert of_family(samples, "wsrelay_http_requests_total") == plain
    assert of_family(samples, "wsrelay_retries_total") == {("retry",): 2, ("talk",): 1}
    assert of_family(samples, "wsrelay_health_transitions_total") == {
        ("talk", "good", "up"): 1,
        ("retry", "dead", "down"): 1,
        ("retry", "good", "up"): 1,
    }
    ups = {key: value for key, value in samples.items() if key[0] == "wsrelay_upstream_up"}
    assert [dict(labels)["upstream"] for (_, labels), value in ups.items() if not value] == ["dead"]
    counted = {
        dict(labels)["phase"]: value
        for (name, labels), value in samples.items()
        if name == "wsrelay_handshake_seconds_count"
    }
    # Those that an upstream was asked for, and of them those that had an answer.
    assert counted == {
        "request": 9,
        "policies": 0,
        "queue": 0,
        "connect": 7,
        "answer": 7,
        "total": 9,
    }


def test_ends_are_counted_by_code_and_by_who_ended_it(stage: Stage, admin: Admin) -> None:
    client, server = begin(stage, "/talk")
    end_normally(client, server)
    client, server = begin(stage, "/talk")
    server.send(frame(CLOSE, close_payload(4001, b"bye")))
    assert read_data(client).close_code == 4001
    client.send(masked(CLOSE, close_payload(4001)))
    assert read_data(server).close_code == 4001
    end(client, server)
    client, server = begin(stage, "/talk")
    client.send(masked(CLOSE))
    assert read_data(server).close_code is None
    server.send(frame(CLOSE))
    end(client, server)
    client, server = begin(stage, "/talk")
    client.reset()
    assert read_data(server).close_code == 1001
    server.close()
    client, server = begin(stage, "/talk")
    server.reset()
    assert read_data(client).close_code == 1011
    client.close()
    client, server = begin(stage, "/talk")
    client.send(frame(TEXT, b"not masked"))
    assert read_data(client).close_code == 1002
    end(client, server)
    client, server = begin(stage, "/retry")
    (session,) = admin.sessions("pool=retry")
    admin.order("DELETE", f"/api/sessions/{session['id']}?code=1012")
    answer_close(client, server)
    # The upstream answers its ping, the client does not.
    client, server = begin(stage, "/beat")
    ping = server.read_frame()
    server.send(frame(PONG, ping.payload))
    assert read_data(client).close_code == 1011
    end(client, server)
    closes = {
        ("talk", "1000", "client"): 1,
        ("talk", "4001", "upstream"): 1,
        ("talk", "1005", "client"): 1,
        ("talk", "1006", "client"): 1,
        ("talk", "1006", "upstream"): 1,
        ("talk", "1002", "relay:protocol-client"): 1,
        ("retry", "1012", "relay:admin"): 1,
        ("beat", "1011", "relay:pong"): 1,
    }
    wait_until(
        lambda: of_family(admin.metrics(), "wsrelay_closes_total") == closes, f"the ends {closes}"
    )
    samples = admin.metrics()
    assert samples["wsrelay_session_seconds_count", frozenset()] == len(closes)
    pings = of_family(samples, "wsrelay_pings_total")
    assert pings["client", "late"] == 1
    assert pings["upstream", "answered"] >= 1
    answered = samples["wsrelay_ping_rtt_seconds_count", frozenset({("leg", "upstream")})]
    assert answered == pings["upstream", "answered"]


def test_what_waits_is_shown_as_long_as_it_waits(stage: Stage, admin: Admin) -> None:
    first = begin(stage, "/line")
    waiting = [stage.ask(b"/line") for _ in range(3)]
    queue = ("wsrelay_queue_length", frozenset({("pool", "line")}))
    wait_until(lambda: admin.metrics()[queue] == 3, "three to wait")
    end(*first)
    server = stage.accept()
    server.read_head()
    server.send(switching())
    wait_until(lambda: admin.metrics()[queue] == 2, "two to wait")
    for client in waiting[1:]:
        client.close()
    wait_until(lambda: admin.metrics()[queue] == 0, "nobody to wait")
    end(waiting[0], server)
    # Half a frame of a client's is kept until the rest comes.
    client, server = begin(stage, "/talk")
    whole = masked(TEXT, b"x" * 1000)
    client.send(whole[:600])
    kept = ("wsrelay_buffered_bytes", frozenset[tuple[str, str]]())
    wait_until(lambda: admin.metrics()[kept] == 600, "half a frame to be kept")
    client.send(whole[600:])
    assert read_data(server).payload == b"x" * 1000
    wait_until(lambda: admin.metrics()[kept] == 0, "nothing to be kept")
    # A client that takes nothing: the upstream is read no more.
    slow, fast = stage.begin(b"/talk", rcvbuf=4096)
    fast.send(frame_head(0x80 | BINARY, 16 * 1024 * 1024))
    fast.sock.settimeout(0)

    def fill() -> bool:
        with contextlib.suppress(BlockingIOError):
            while fast.sock.send(b"z" * 65536):
                pass
        return admin.metric("wsrelay_pauses_total", leg="upstream") > 0

    wait_until(fill, "a pause")
    fast.sock.settimeout(PATIENCE)
    assert admin.metric("wsrelay_pauses_total", leg="client") == 0
    end(slow, fast)
    end(client, server)


def test_drains_reloads_weights_and_descriptors_are_shown(
    stage: Stage, admin: Admin, relay: RelayProcess, config: str
) -> None:
    samples = admin.metrics()
    nothing = frozenset[tuple[str, str]]()
    assert samples["wsrelay_draining", nothing] == 0
    assert of_family(samples, "wsrelay_reloads_total") == {}
    admin.order("POST", "/api/drain")
    assert admin.metric("wsrelay_draining") == 1
    admin.order("POST", "/api/ready")
    assert admin.metric("wsrelay_draining") == 0
    admin.order("POST", "/api/reload")
    relay.hang_up()
    relay.write(f"{config}\n[pool:talk]\n")
    assert admin.ask("POST", "/api/reload").status == 422
    relay.write(config)
    assert of_family(admin.metrics(), "wsrelay_reloads_total") == {("ok",): 2, ("refused",): 1}
    admin.order("PATCH", path_to("retry", "good"), {"weight": 40})
    assert admin.metric("wsrelay_upstream_weight", pool="retry", upstream="good") == 40
    assert 0 <= admin.metric("wsrelay_reactor_lag_seconds") < 5

    def descriptors() -> int:
        """Count those of the relay, when it and the system agree; the question has one."""
        return int(
            wait_until(
                lambda: (n := admin.metric("wsrelay_open_fds")) == fd_count(relay.pid) + 1 and n,
                "an agreement on descriptors",
            )
        )

    before = descriptors()
    pairs = [begin(stage, "/talk") for _ in range(5)]
    assert descriptors() == before + 10
    for pair in pairs:
        end(*pair)
    wait_until(lambda: descriptors() == before, "all descriptors to be given back")


def test_nothing_that_a_client_sends_is_a_label(stage: Stage, admin: Admin) -> None:
    word = MARK.encode()
    more = (
        b"User-Agent: %b/1" % word,
        b"Origin: https://%b.example" % word,
        b"X-Forwarded-For: 203.0.113.77",
        b"X-Request-ID: %b" % word,
        b"Cookie: %b=%b" % (word, word),
        b"Sec-WebSocket-Protocol: %b" % word,
    )
    asked = [
        stage.ask(b"/%b/%b?%b" % (path, word, word), *more, host=b"%b.example" % word)
        for path in (b"talk", b"retry", b"nowhere")
    ]
    servers = []
    for client in asked[:2]:
        server = stage.accept()
        server.read_head()
        server.send(switching(b"Sec-WebSocket-Protocol: %b" % word))
        assert client.read_head().startswith(b"HTTP/1.1 101 ")
        servers.append(server)
    assert read_answer(asked[2]).status == 404
    sessions = admin.sessions()
    assert {each["user_agent"] for each in sessions} == {f"{MARK}/1"}
    asked[0].send(masked(CLOSE, close_payload(3456, word)))
    assert read_data(servers[0]).close_code == 3456
    strange = stage.connect()
    head = lines(b"%b /%b HTTP/1.1" % (word.upper(), word), b"Host: " + word, b"Connection: close")
    strange.send(head)
    assert read_answer(strange).status in (400, 404, 426)
    end(asked[0], servers[0])
    wait_until(
        lambda: admin.metric("wsrelay_closes_total", route="talk", code="3456", initiator="client"),
        "the end",
    )
    page = admin.ask("GET", "/metrics").body.decode().lower()
    forbidden = [MARK, "203.0.113.77", "127.0.0.1", *(each["id"] for each in sessions)]
    forbidden += [each["client"].rpartition(":")[2] for each in sessions]
    values = {
        value
        for family in text_string_to_metric_families(page)
        for each in family.samples
        for value in each.labels.values()
    }
    assert not [(text, value) for text in forbidden for value in values if text in value]
    assert MARK not in page
    end(asked[1], servers[1])
