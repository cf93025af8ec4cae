"""Messages that an operator publishes, through a real relay with either pump."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import bcrypt
import pytest

from tests.support import RelayProcess, require, started_relay
from tests.system.admin import ADMIN, Admin, Json
from tests.system.support import (
    BINARY,
    CONTINUATION,
    LOCAL,
    PING,
    PONG,
    TEXT,
    RawUpstream,
    Stage,
    Wire,
    answer_close,
    end_normally,
    frame,
    masked,
    read_data,
    rss,
    wait_until,
)
from wsrelay.relay.pumps import why_not_native

MIB = 1024 * 1024
OURS = frame(TEXT, b"ours")


@pytest.fixture(scope="module", params=["native", "python"])
def relay(
    request: pytest.FixtureRequest,
    upstream: RawUpstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RelayProcess]:
    native = request.param == "native"
    require(not native or not why_not_native(), "the native pump was not built")
    config = (
        f"[relay]\ndata_path = {request.param}\n[listener:main]\nendpoint = {LOCAL}\n{ADMIN}"
        "[route:chat]\npath = /chat\npool = main\nkeepalive = off\n"
        "[route:news]\npath = /news\npool = main\nkeepalive = off\nclose_timeout = 1s\n"
        "[route:users]\npath = /users\npool = main\npolicies = basic file=users\n"
        f"[pool:main]\nupstreams = {upstream.url}\n[log]\nformat = json\n"
    )
    folder = tmp_path_factory.mktemp("relay")
    hashed = bcrypt.hashpw(b"geheim", bcrypt.gensalt(4)).decode()
    (folder / "users").write_text(f"ada:{hashed}\neve:{hashed}\n", "utf-8")
    with started_relay(config, folder) as process:
        yield process


@pytest.fixture
def admin(relay: RelayProcess, stage: Stage) -> Admin:
    found = Admin.of(relay)
    wait_until(lambda: found.status()["sessions"] == 0, "the end of all sessions")
    return found


def publish(admin: Admin, route: str = "chat", text: str = "ours") -> Json:
    answer: Json = admin.order("POST", "/api/publish", {"route": route, "text": text})
    return answer


def pass_by(client: Wire, upstream: Wire) -> None:
    """Let a ping and its pong go to and fro: what was sent to the client before, has come."""
    client.send(masked(PING, b"here?"))
    assert upstream.read_frame().opcode == PING
    upstream.send(frame(PONG, b"here?"))
    assert client.read_frame().opcode == PONG


def test_every_session_of_a_route_gets_it_and_no_other(stage: Stage, admin: Admin) -> None:
    chats = [stage.begin(b"/chat") for _ in range(3)]
    news = stage.begin(b"/news")
    assert publish(admin) == {"sent": 3, "skipped": {}}
    for client, _ in chats:
        assert client.read_frame().raw == OURS
    pass_by(*news)
    for pair in (*chats, news):
        end_normally(*pair)


def log_in(stage: Stage, name: str) -> tuple[Wire, Wire]:
    credentials = base64.b64encode(f"{name}:geheim".encode())
    return stage.begin(b"/users", b"Authorization: Basic " + credentials)


def test_all_sessions_of_a_user_get_it_by_the_tag_that_a_policy_gave_them(
    stage: Stage, admin: Admin
) -> None:
    ada = [log_in(stage, "ada") for _ in range(2)]
    eve = log_in(stage, "eve")
    order = {"tag": "user:ada", "text": "ours"}
    assert admin.order("POST", "/api/publish", order) == {"sent": 2, "skipped": {}}
    for client, _ in ada:
        assert client.read_frame().raw == OURS
    pass_by(*eve)
    (found,) = admin.sessions("tag=user:eve")
    assert found["tags"] == ["user:eve"]
    for pair in (*ada, eve):
        end_normally(*pair)
    wait_until(lambda: not admin.sessions("tag=user:ada"), "the end of all sessions of ada")
    assert admin.order("POST", "/api/publish", order) == {"sent": 0, "skipped": {}}


def test_it_waits_for_the_end_of_a_fragmented_message(stage: Stage, admin: Admin) -> None:
    client, upstream = stage.begin(b"/chat")
    long = frame(CONTINUATION, bytes(100_000), fin=False)
    upstream.send(frame(TEXT, b"1", fin=False) + long[:70_000])
    assert client.read_frame().payload == b"1"
    assert publish(admin) == {"sent": 1, "skipped": {}}
    upstream.send(long[70_000:])
    assert client.read(len(long)) == long
    pass_by(client, upstream)
    end = frame(CONTINUATION, b"2") + frame(BINARY, b"next")
    upstream.send(end)
    got = [client.read_frame() for _ in range(3)]
    assert b"".join(each.raw for each in got) == end[:3] + OURS + end[3:]
    end_normally(client, upstream)


def test_an_upstream_gets_it_masked(stage: Stage, admin: Admin) -> None:
    client, upstream = stage.begin(b"/chat")
    order = {"pool": "main", "binary": "AP8=", "direction": "up"}
    assert admin.order("POST", "/api/publish", order) == {"sent": 1, "skipped": {}}
    got = upstream.read_frame()
    assert (got.opcode, got.payload, len(got.mask)) == (BINARY, b"\x00\xff", 4)
    end_normally(client, upstream)


def test_a_client_that_reads_nothing_costs_little_and_keeps_nobody_waiting(
    stage: Stage, admin: Admin
) -> None:
    pairs = [stage.begin(b"/chat") for _ in range(2)]
    (deaf, _), (client, _) = pairs
    text = "x" * 60_000
    before, took = rss(stage.relay.pid), []
    while len(took) < 500:
        took.append(publish(admin, text=text))
        assert client.read_frame().payload == text.encode()
        if took[-1]["skipped"]:
            break
    assert took[-1] == {"sent": 1, "skipped": {"busy": 1}}
    assert rss(stage.relay.pid) < before + 8 * MIB
    for each in took[:-1]:
        assert each == {"sent": 2, "skipped": {}}
        assert deaf.read_frame().payload == text.encode()
    assert publish(admin) == {"sent": 2, "skipped": {}}
    assert (deaf.read_frame().raw, client.read_frame().raw) == (OURS, OURS)
    for pair in pairs:
        end_normally(*pair)


def test_a_session_that_is_being_closed_gets_none(stage: Stage, admin: Admin) -> None:
    client, upstream = stage.begin(b"/news")
    (session,) = admin.sessions("route=news")
    admin.order("DELETE", f"/api/sessions/{session['id']}?code=1012")
    assert publish(admin, "news") == {"sent": 0, "skipped": {"ending": 1}}
    answer_close(client, upstream)


def test_an_extension_that_the_relay_does_not_know_is_left_alone(
    stage: Stage, admin: Admin
) -> None:
    client, upstream = stage.begin(
        b"/chat",
        b"Sec-WebSocket-Extensions: x-other",
        answer=(b"Sec-WebSocket-Extensions: x-other",),
    )
    assert publish(admin) == {"sent": 0, "skipped": {"extension": 1}}
    pass_by(client, upstream)
    end_normally(client, upstream)


def test_what_was_published_is_counted(stage: Stage, admin: Admin) -> None:
    client, upstream = stage.begin(b"/chat")
    sent = admin.metric("wsrelay_published_total", result="sent")
    publish(admin)
    assert read_data(client).raw == OURS
    assert admin.metric("wsrelay_published_total", result="sent") == sent + 1
    (session,) = admin.sessions("route=chat")
    assert (session["messages_down"], session["bytes_down"]) == (0, 0)
    end_normally(client, upstream)
