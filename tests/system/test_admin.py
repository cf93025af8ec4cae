"""The admin endpoint of a real relay: what it shows is so, and what it orders happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import RelayProcess, event_in, started_relay
from tests.system.actor import Actor, echoes, is_quiet, join, take_close
from tests.system.admin import ADMIN, Admin, Json, path_to
from tests.system.support import (
    BINARY,
    LOCAL,
    PING,
    PONG,
    TEXT,
    RawUpstream,
    Stage,
    Wire,
    answer_close,
    check_own_answer,
    frame,
    masked,
    read_answer,
    read_data,
    wait_until,
)

Actors = dict[str, Actor]


@pytest.fixture(scope="module")
def actors() -> Iterator[Actors]:
    found = {name: Actor() for name in "abcd"}
    yield found
    for each in found.values():
        each.close()


@pytest.fixture(scope="module")
def relay(
    upstream: RawUpstream, actors: Actors, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RelayProcess]:
    a, b, c = (f"    {actors[name].url} name={name}" for name in "abc")
    rows = [
        "[relay]\ndrain_timeout = 1h",
        f"[listener:main]\nendpoint = {LOCAL}",
        f"[listener:side]\nendpoint = {LOCAL}",
        ADMIN,
        "[log]\nformat = json",
        f"[route:raw]\npath = /raw\npool = raw\n[pool:raw]\nupstreams = {upstream.url} name=raw",
        "[route:timed]\npath = /timed\npool = chat\nkeepalive = 100ms",
        "[route:chat]\npath = /chat\npool = chat\nkeepalive = off",
        f"[pool:chat]\nupstreams =\n{a}\n{b}\n{c}",
        "[route:two]\npath = /two\npool = two\n",
        f"[pool:two]\nbalancer = round-robin\nupstreams =\n{a}\n{b}",
    ]
    with started_relay("\n".join(rows), tmp_path_factory.mktemp("relay")) as running:
        yield running


@pytest.fixture
def admin(relay: RelayProcess, stage: Stage) -> Admin:
    """Give the endpoint of a relay that has no session any more from the test before."""
    found = Admin.of(relay)
    for pool in ("chat", "two"):
        found.order("POST", f"/api/pools/{pool}/ready")
    wait_until(lambda: found.status()["sessions"] == 0, "the end of all sessions")
    return found


def address_of(client: Wire) -> str:
    host, port = client.sock.getsockname()
    return f"{host}:{port}"


def session_of(admin: Admin, client: Wire) -> Json:
    (session,) = admin.sessions(f"client={address_of(client)}")
    return session


def counts(admin: Admin, pool: str) -> dict[str, int]:
    return {name: each["sessions"] for name, each in admin.upstreams(pool).items()}


# ---- sessions


def test_sessions_are_listed_by_whatever_they_are_asked_for(stage: Stage, admin: Admin) -> None:
    clients = [join(stage, "/chat") for _ in range(3)]
    other = join(stage, "/two")
    side = stage.ask(b"/two?room=1", b"User-Agent: tester/1", listener="side", host=b"side.test")
    assert side.read_head().startswith(b"HTTP/1.1 101 ")

    def ids(query: str) -> set[str]:
        answer = admin.get(f"/api/sessions?{query}")
        assert answer["total"] == len(answer["sessions"])
        return {each["id"] for each in answer["sessions"]}

    of = {client: session_of(admin, client)["id"] for client in (*clients, other, side)}
    chat = {of[client] for client in clients}
    two = {of[other], of[side]}
    assert ids("") == chat | two
    assert ids("pool=chat") == ids("route=chat") == chat
    assert ids("listener=side") == {of[side]}
    assert ids("pool=two&listener=main") == {of[other]}
    assert ids("client=127.0.0.1:") == chat | two
    assert ids("client=127.0.0.2") == ids("pool=nope") == set()
    names = {name: ids(f"upstream={name}&pool=chat") for name in "abc"}
    assert sorted(map(len, names.values())) == [1, 1, 1]
    assert names["a"] | names["b"] | names["c"] == chat
    few = admin.get("/api/sessions?pool=chat&limit=2")
    assert (few["total"], len(few["sessions"])) == (3, 2)
    assert "unknown key 'color'" in admin.ask("GET", "/api/sessions?color=red").error
    found = session_of(admin, side)
    assert (found["host"], found["path"]) == ("side.test", "/two")
    assert (found["listener"], found["user_agent"]) == ("side", "tester/1")


def test_a_session_shows_exactly_what_passed(stage: Stage, admin: Admin) -> None:
    before = time.monotonic()
    client = join(stage, "/chat")
    id = session_of(admin, client)["id"]
    texts = [b"hello", b"x" * 200, b"y" * 70_000]
    binaries = [b"", b"\x00\xff" * 5]
    sent = [(TEXT, each) for each in texts] + [(BINARY, each) for each in binaries]
    for opcode, payload in sent:
        client.send(masked(opcode, payload))
        assert read_data(client).payload == payload
    found = admin.get(f"/api/sessions/{id}")
    size = sum(len(payload) for _, payload in sent)
    up = sum(len(masked(opcode, payload)) for opcode, payload in sent)
    down = sum(len(frame(opcode, payload)) for opcode, payload in sent)
    assert (found["messages_up"], found["messages_down"]) == (5, 5)
    assert (found["bytes_up"], found["bytes_down"]) == (size, size)
    for leg, received, given in (("client", up, down), ("upstream", down, up)):
        said = found["legs"][leg]
        assert (said["received"], said["sent"]) == (received, given)
        assert (said["messages"], said["binary_messages"], said["payload"]) == (5, 2, size)
        assert (said["rtt_ms"], said["paused"], said["waiting"]) == (None, False, False)
    assert (found["attempts"], found["tls"], found["closing"]) == (1, False, None)
    assert 0 < found["handshake_ms"] < (time.monotonic() - before) * 1000
    # Time is told in tenths of a second.
    quiet = wait_until(
        lambda: (now := admin.get(f"/api/sessions/{id}"))["idle_s"] >= 0.2 and now, "some silence"
    )
    assert quiet["idle_s"] <= quiet["age_s"] <= time.monotonic() - before + 0.1
    echoes(client, b"once more")
    after = admin.get(f"/api/sessions/{id}")
    assert after["idle_s"] < quiet["idle_s"]
    assert after["age_s"] >= quiet["age_s"]
    assert (after["messages_up"], after["bytes_up"]) == (6, size + 9)


def test_pings_and_pongs_are_a_round_trip_time_on_each_leg(stage: Stage, admin: Admin) -> None:
    client = join(stage, "/timed")
    id = session_of(admin, client)["id"]
    ping = client.read_frame()
    assert ping.opcode == PING
    client.send(masked(PONG, ping.payload))
    wait_until(
        lambda: all(each["rtt_ms"] for each in admin.get(f"/api/sessions/{id}")["legs"].values()),
        "both round trips",
    )
    found = admin.get(f"/api/sessions/{id}")
    assert found["rtt_ms"] == found["legs"]["client"]["rtt_ms"]
    assert admin.upstream("chat", found["upstream"])["rtt_ms"] > 0
    assert (found["messages_up"], found["messages_down"]) == (0, 0)


def test_a_session_that_is_closed_ends_for_both_as_the_operator_says(
    stage: Stage, admin: Admin
) -> None:
    client, upstream = stage.begin(b"/raw")
    id = session_of(admin, client)["id"]
    path = f"/api/sessions/{id}"
    for query, words in (
        ("code=1005", "1005"),
        ("code=999", "999"),
        ("code=soon", "soon"),
        (f"reason={'x' * 124}", "123"),
        ("why=so", "unknown key"),
    ):
        refused = admin.ask("DELETE", f"{path}?{query}")
        assert refused.status == 400
        assert words in refused.error
    assert is_quiet(client)
    said = admin.order("DELETE", f"{path}?code=4001&reason=moved%20%C3%BC%26%23")
    assert said["closing"] == "4001 by relay:admin: moved ü&#"
    again = admin.ask("DELETE", path)
    assert again.status == 409
    answer_close(client, upstream, 4001, "moved ü&#".encode())
    _, end = stage.relay.wait_for_event(event="end", id=id)
    assert (end["close_code"], end["initiator"]) == (4001, "relay:admin")
    assert end["close_reason"] == "moved ü&#"
    for method in ("GET", "DELETE"):
        assert admin.ask(method, path).status == 404


# ---- upstreams


def test_an_upstream_that_is_drained_down_or_heavier_takes_what_it_should(
    stage: Stage, admin: Admin
) -> None:
    pool, a, b = "two", path_to("two", "a"), path_to("two", "b")
    kept = [join(stage, "/two") for _ in range(4)]
    assert counts(admin, pool) == {"a": 2, "b": 2}
    said = admin.order("PATCH", a, {"state": "down"})
    assert (said["state"], said["sessions"]) == ("down", 2)
    kept += [join(stage, "/two") for _ in range(2)]
    assert counts(admin, pool) == {"a": 2, "b": 4}
    for client in kept:  # on_down = keep
        echoes(client)
    admin.order("PATCH", a, {"state": "ready"})
    assert admin.order("PATCH", b, {"weight": 3})["weight"] == 3
    before = counts(admin, pool)
    for _ in range(8):
        join(stage, "/two")
    after = counts(admin, pool)
    assert {name: after[name] - before[name] for name in after} == {"a": 2, "b": 6}
    assert admin.metric("wsrelay_upstream_weight", pool=pool, upstream="b") == 3
    admin.order("PATCH", b, {"weight": 1, "state": "ready"})


def test_an_upstream_is_drained_with_progress_and_that_is_taken_back(
    stage: Stage, admin: Admin
) -> None:
    path = path_to("chat", "a")
    for name in "bc":
        admin.order("PATCH", path_to("chat", name), {"state": "down"})
    clients = [join(stage, "/chat") for _ in range(3)]
    for name in "bc":
        admin.order("PATCH", path_to("chat", name), {"state": "ready"})
    said = admin.order("PATCH", path, {"state": "drain"})
    assert said["state"] == "drain"
    assert (said["drain"]["total"], said["drain"]["left"]) == (3, 3)
    wait_until(lambda: not all(map(is_quiet, clients)), "the first close")
    clients.sort(key=is_quiet)
    assert take_close(clients.pop(0), 1012) == b"the upstream is drained"
    drain = admin.wait_for("chat", "a", sessions=2)["drain"]
    assert (drain["what"], drain["done"]) == ("upstream chat/a", False)
    assert (drain["total"], drain["closed"], drain["left"]) == (3, 1, 2)
    assert 3500 < drain["deadline_s"] <= 3600
    assert drain["elapsed_s"] + drain["deadline_s"] == pytest.approx(3600, abs=0.2)
    elsewhere = join(stage, "/chat")
    assert session_of(admin, elsewhere)["upstream"] != "a"
    said = admin.order("PATCH", path, {"state": "ready"})
    assert (said["state"], said["drain"]) == ("ready", None)
    for client in (*clients, elsewhere):
        echoes(client)


def test_a_drain_of_the_last_session_is_done(stage: Stage, admin: Admin) -> None:
    client = join(stage, "/two")
    name = session_of(admin, client)["upstream"]
    admin.order("PATCH", path_to("two", name), {"state": "drain"})
    take_close(client, 1012)
    done = wait_until(
        lambda: (now := admin.upstream("two", name)["drain"])["done"] and now, "the end"
    )
    assert (done["total"], done["closed"], done["left"]) == (1, 1, 0)
    admin.order("PATCH", path_to("two", name), {"state": "ready"})


def test_a_pool_is_drained_with_progress_and_that_is_taken_back(stage: Stage, admin: Admin) -> None:
    clients = [join(stage, "/chat") for _ in range(3)]
    bystander = join(stage, "/two")
    said = admin.order("POST", "/api/pools/chat/drain")
    assert (said["what"], said["total"], said["left"]) == ("pool chat", 3, 3)
    check_own_answer(read_answer(stage.ask(b"/chat")), 503)
    wait_until(lambda: not all(map(is_quiet, clients)), "the first close")
    clients.sort(key=is_quiet)
    assert take_close(clients.pop(0), 1012) == b"the pool is drained"
    wait_until(lambda: admin.pool("chat")["sessions"] == 2, "the first end")
    pool = admin.pool("chat")
    assert (pool["drain"]["closed"], pool["drain"]["left"]) == (1, 2)
    assert not pool["drain"]["done"]
    assert {each["state"] for each in pool["upstreams"]} == {"drain"}
    assert admin.ask("GET", "/readyz").status == 200  # there are other pools
    said = admin.order("POST", "/api/pools/chat/ready")
    assert said["drain"] is None
    assert {each["state"] for each in said["upstreams"]} == {"ready"}
    for client in (*clients, bystander, join(stage, "/chat")):
        echoes(client)


def test_the_relay_is_drained_with_progress_and_that_is_taken_back(
    stage: Stage, admin: Admin
) -> None:
    clients = [join(stage, path) for path in ("/chat", "/two", "/timed")]
    said = admin.order("POST", "/api/drain")
    try:
        assert (said["what"], said["total"], said["left"]) == ("relay", 3, 3)
        probe = admin.ask("GET", "/readyz")
        assert (probe.status, probe.body.strip()) == (503, b"the relay is draining")
        assert admin.ask("GET", "/healthz").status == 200
        assert admin.metric("wsrelay_draining") == 1
        check_own_answer(read_answer(stage.ask(b"/chat")), 503)
        wait_until(lambda: take_a_close(clients), "the first close")
        wait_until(lambda: admin.status()["sessions"] == 2, "the first end")
        status = admin.status()
        assert (status["ready"], status["drain"]["left"]) == (False, 2)
        assert status["not_ready"] == "the relay is draining"
    finally:
        said = admin.order("POST", "/api/ready")
    assert said == {"ready": True}
    assert admin.ask("GET", "/readyz").status == 200
    assert (admin.status()["drain"], admin.metric("wsrelay_draining")) == (None, 0)
    assert len(clients) == 2
    for client in (*clients, join(stage, "/chat")):
        echoes(client)


def take_a_close(clients: list[Wire]) -> bool:
    """Take out and close the one client that got a close frame; pings of others are answered."""
    for client in clients:
        if is_quiet(client):
            continue
        found = client.read_frame()
        if found.opcode == PING:
            client.send(masked(PONG, found.payload))
        else:
            assert found.close_code == 1012
            client.close()
            clients.remove(client)
            return True
    return False


def test_a_pool_whose_sessions_are_on_one_upstream_is_rebalanced_until_it_is_level(
    stage: Stage, admin: Admin
) -> None:
    for name in "bc":
        admin.order("PATCH", path_to("chat", name), {"state": "drain"})
    clients = [join(stage, "/chat") for _ in range(9)]
    assert counts(admin, "chat") == {"a": 9, "b": 0, "c": 0}
    for name in "bc":
        admin.order("PATCH", path_to("chat", name), {"state": "ready"})
    said = admin.order("POST", "/api/pools/chat/rebalance", {"rate": "50/s"})
    assert (said["what"], said["total"]) == ("pool chat", 6)

    def come_back() -> bool:
        for client in [each for each in clients if not is_quiet(each)]:
            assert take_close(client, 1012) == b"the pool is rebalanced"
            clients[clients.index(client)] = join(stage, "/chat")
        found: bool = admin.pool("chat")["rebalance"]["done"]
        return found

    wait_until(come_back, "the end of the rebalancing")
    wait_until(lambda: counts(admin, "chat") == {"a": 3, "b": 3, "c": 3}, "a level")
    done = admin.pool("chat")["rebalance"]
    assert (done["closed"], done["left"]) == (6, 0)
    for client in clients:
        echoes(client)
    again = admin.order("POST", "/api/pools/chat/rebalance", {"rate": "50/s"})
    assert (again["total"], again["done"]) == (0, True)


def test_an_upstream_that_is_added_takes_sessions_until_it_is_removed(
    stage: Stage, admin: Admin, actors: Actors
) -> None:
    pool, line = "/api/pools/chat/upstreams", f"{actors['d'].url} name=d/1 weight=2"
    said = admin.order("POST", pool, {"upstream": line}, status=201)
    assert (said["name"], said["source"], said["weight"]) == ("d/1", "api", 2)
    clients = [join(stage, "/chat") for _ in range(5)]
    assert counts(admin, "chat") == {"a": 1, "b": 1, "c": 1, "d/1": 2}
    twice = admin.ask("POST", pool, {"upstream": line})
    assert twice.status == 409
    for bad in ("http//nonsense", "ws://127.0.0.1:99999", "ws://a b", "unix:here"):
        refused = admin.ask("POST", pool, {"upstream": bad})
        assert refused.status == 400, bad
        assert refused.error
    said = admin.order("DELETE", path_to("chat", "d/1"))
    assert said["source"] == "gone"
    wait_until(lambda: not all(map(is_quiet, clients)), "the first close")
    clients.sort(key=is_quiet)
    assert take_close(clients.pop(0), 1012) == b"the upstream is removed"
    found = admin.wait_for("chat", "d/1", sessions=1)
    assert (found["source"], found["drain"]["left"]) == ("gone", 1)
    assert admin.ask("DELETE", path_to("chat", "d/1")).status == 404
    for client in clients:
        echoes(client)


def test_an_upstream_of_the_file_is_replaced_by_another_of_its_name(
    stage: Stage, admin: Admin, actors: Actors
) -> None:
    admin.order("DELETE", path_to("two", "a"))
    assert set(counts(admin, "two")) == {"b"}
    line = f"{actors['d'].url} name=a"
    said = admin.order("POST", "/api/pools/two/upstreams", {"upstream": line}, status=201)
    assert (said["url"], said["source"]) == (actors["d"].url, "api")
    before = actors["d"].asked["/two"]
    for _ in range(2):
        echoes(join(stage, "/two"))
    assert actors["d"].asked["/two"] == before + 1
    admin.order("DELETE", path_to("two", "a"))
    line = f"{actors['a'].url} name=a"
    admin.order("POST", "/api/pools/two/upstreams", {"upstream": line}, status=201)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PATCH", path_to("chat", "nope"), {"state": "ready"}, 404),
        ("PATCH", path_to("nope", "a"), {"state": "ready"}, 404),
        ("PATCH", path_to("chat", "a"), {"state": "up"}, 400),
        ("PATCH", path_to("chat", "a"), {"weight": 0}, 400),
        ("PATCH", path_to("chat", "a"), {"weight": True}, 400),
        ("PATCH", path_to("chat", "a"), {}, 400),
        ("POST", "/api/pools/nope/upstreams", {"upstream": "ws://127.0.0.1:1"}, 404),
        ("POST", "/api/pools/chat/rebalance", {"rate": "fast"}, 400),
        ("POST", "/api/pools/nope/drain", None, 404),
        ("POST", "/api/pools/nope/ready", None, 404),
        ("PUT", path_to("chat", "a"), {}, 405),
        ("GET", "/api/nothing", None, 404),
    ],
)
def test_an_order_that_cannot_be_carried_out_changes_nothing(
    admin: Admin, method: str, path: str, body: object, status: int
) -> None:
    def facts() -> object:
        return [
            (each["name"], each["url"], each["state"], each["weight"])
            for pool in admin.status()["pools"]
            for each in pool["upstreams"]
        ]

    before = facts()
    reply = admin.ask(method, path, body)
    assert reply.status == status
    assert reply.error
    assert facts() == before


def test_who_ordered_what_is_in_the_log(admin: Admin, relay: RelayProcess) -> None:
    start = len(relay.log().splitlines())
    admin.order("PATCH", path_to("chat", "a"), {"weight": 1})
    end = "PATCH /api/pools/chat/upstreams/a: 200"
    _, line = relay.wait_for_line(lambda line: line.endswith(end), start=start)
    assert "admin: 127.0.0.1:" in line


# ---- readiness


def test_a_relay_is_not_ready_when_no_pool_has_an_upstream(actors: Actors, tmp_path: Path) -> None:
    text = (
        f"[relay]\nlisten = {LOCAL}\nupstream = {actors['a'].url}\n{ADMIN}"
        "[route:other]\npath = /other\npool = other\n"
        "[pool:other]\ndiscover = file path=nothing.txt\n"
    )
    with started_relay(text, tmp_path) as relay:
        admin = Admin.of(relay)
        assert admin.ask("GET", "/readyz").status == 200
        (name,) = admin.upstreams("default")
        for order in ({"state": "drain"}, {"state": "down"}):
            admin.order("PATCH", path_to("default", name), order)
            probe = admin.ask("GET", "/readyz")
            assert probe.status == 503
            assert b"no pool has an upstream" in probe.body
            assert admin.status()["ready"] is False
        admin.order("PATCH", path_to("default", name), {"state": "ready"})
        assert admin.ask("GET", "/readyz").status == 200
        admin.order("DELETE", path_to("default", name))
        assert admin.ask("GET", "/readyz").status == 503
        assert admin.ask("GET", "/healthz").status == 200


def test_a_relay_that_stops_can_be_watched_until_its_end(
    upstream: RawUpstream, tmp_path: Path
) -> None:
    text = (
        f"[relay]\nlisten = {LOCAL}\nupstream = {upstream.url}\ndrain_timeout = 1h\n"
        f"{ADMIN}[log]\nformat = json\n"
    )
    with started_relay(text, tmp_path) as relay:
        stage = Stage(relay, upstream)
        admin = Admin.of(relay)
        pairs = [stage.begin() for _ in range(2)]
        relay.terminate()
        relay.wait_for_line(lambda line: "closing 2 sessions" in line)
        assert admin.ask("GET", "/readyz").status == 503
        assert admin.status()["drain"]["total"] == 2
        late = admin.ask("POST", "/api/ready")
        assert late.status == 409
        assert "stopping" in late.error
        relay.terminate()
        relay.wait()
        ends = [event_in(line) for line in relay.log().splitlines() if '"event":"end"' in line]
        assert sorted(each["initiator"] for each in ends) == ["relay:abort", "relay:drain"]
        for wire in (*pairs[0], *pairs[1]):
            wire.wait_until_gone()
        stage.close()
