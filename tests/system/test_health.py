"""Health checks of upstreams that fail in every way, as an operator sees them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.certificates import Authority
from tests.peers.upstreams import own_url, start_upstream
from tests.support import PATIENCE, Process, RelayProcess, started_relay
from tests.system.actor import Actor, echoes, is_quiet, join, take_close
from tests.system.admin import ADMIN, Admin
from tests.system.support import (
    LOCAL,
    Stage,
    Wire,
    check_own_answer,
    handshake,
    read_answer,
    read_data,
    wait_until,
)

pytestmark = pytest.mark.peers

OFTEN = "interval=50ms timeout=2s rise=1 fall=1"
SOON = "interval=100ms timeout=300ms rise=1 fall=2"
KINDS = ("tcp", "http", "websocket")
LOSSES = ("keep", "drain", "close")
WSRELAY = Path(sys.executable).with_name("wsrelay")

Actors = dict[str, Actor]


def section(name: str, upstreams: list[str], pool: str, route: str = "") -> str:
    listed = "\n".join(f"    {line}" for line in upstreams)
    return (
        f"[route:{name}]\npath = /{name}\nhttp = no\npool = {name}\n{route}\n"
        f"[pool:{name}]\n{pool}\nupstreams =\n{listed}\n"
    )


@pytest.fixture(scope="module")
def actors() -> Iterator[Actors]:
    names = ("silent", "error", "good", "flap", "steady", "back", "other", "sick", "probe", "shy")
    found = {name: Actor() for name in names}
    found["silent"].play("silent")
    found["error"].play("error")
    yield found
    for each in found.values():
        each.close()


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    """Give an upstream that is a process of its own."""
    with start_upstream("websockets") as running:
        yield running


@pytest.fixture(scope="module")
def mortal() -> Iterator[list[Process]]:
    """Give a process that may be put in the place of another."""
    running = [start_upstream("websockets")]
    yield running
    for each in running:
        each.stop()


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, Path]]:
    """Give a wss upstream, the file of its authority, and that of another one."""
    folder = tmp_path_factory.mktemp("papers")
    authority = Authority(folder)
    pair = authority.issue("127.0.0.1")
    files = ["--certificate", str(pair.certificate), "--key", str(pair.key)]
    with start_upstream("websockets", *files) as running:
        url = own_url(running, "wss")
        yield url, authority.certificate(), Authority(folder, "other").certificate()


@pytest.fixture(scope="module")
def relay(
    actors: Actors,
    process: Process,
    mortal: list[Process],
    secure: tuple[str, Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RelayProcess]:
    at = {name: f"{each.url} name=a" for name, each in actors.items()}
    wss, authority, stranger = secure
    rows = [
        f"[relay]\ndrain_timeout = 1h\n[listener:main]\nendpoint = {LOCAL}\n[log]\nformat = json",
        ADMIN,
    ]
    for kind in KINDS:
        for role in ("silent", "error", "good"):
            rows.append(section(f"{role}-{kind}", [at[role]], f"health_check = {kind} {SOON}"))
    for kind in ("tcp", "websocket path=/echo"):
        name, check = kind.split()[0], f"health_check = {kind} {SOON}"
        rows.append(section(f"ca-{name}", [f"{wss} name=a"], f"{check}\ntls_ca = {authority}"))
        rows.append(section(f"noca-{name}", [f"{wss} name=a"], f"{check}\ntls_ca = {stranger}"))
    for loss in LOSSES:
        check = "interval=100ms timeout=500ms rise=1 fall=1"
        pool = f"health_check = websocket path=/echo {check}\non_down = {loss}"
        for name, each in ((loss, process), (f"mortal-{loss}", mortal[0])):
            line = f"{own_url(each)} name=a"
            rows.append(section(name, [line], pool, "close_timeout = 1s\nstrip_prefix = yes"))
    b = f"{actors['other'].url} name=b"
    rows += [
        section(
            "flap",
            [at["flap"], f"{actors['steady'].url} name=b"],
            f"health_check = websocket {OFTEN}\nbalancer = round-robin",
        ),
        section(
            "back",
            [at["back"], b],
            f"health_check = http {OFTEN}\nbalancer = first\nslow_start = 1h",
        ),
        section(
            "port",
            [at["sick"]],
            f"health_check = http port={actors['probe'].port} {OFTEN}\nmax_fails = 1",
        ),
        # The check's path is good or bad, whatever clients see on theirs.
        section(
            "proven",
            [at["shy"]],
            "health_check = websocket path=/check interval=50ms timeout=2s rise=2 fall=1\n"
            "max_fails = 1\nfail_timeout = 1h",
            "retries = 0",
        ),
        section(
            "unproven",
            [at["shy"]],
            f"health_check = tcp {OFTEN}\nmax_fails = 1\nfail_timeout = 1h",
            "retries = 0",
        ),
        section("alone", [at["shy"]], f"health_check = websocket path=/bad {OFTEN}"),
        section("avoided", [at["shy"], b], f"health_check = websocket path=/bad2 {OFTEN}"),
        section(
            "hopeless",
            [at["silent"]],
            f"health_check = http {SOON}\nmax_fails = 0",
            "upstream_handshake_timeout = 1s",
        ),
    ]
    folder = tmp_path_factory.mktemp("relay")
    with started_relay("\n".join(rows), folder) as running:
        yield running


@pytest.fixture
def admin(relay: RelayProcess) -> Admin:
    return Admin.of(relay)


VERDICTS = {
    ("good", "tcp"): ("up", "connected"),
    ("good", "http"): ("up", "answered 200"),
    ("good", "websocket"): ("up", "opened, answered the ping and closed"),
    ("silent", "tcp"): ("up", "connected"),
    ("silent", "http"): ("down", "did not answer within 0.3s"),
    ("silent", "websocket"): ("down", "did not answer within 0.3s"),
    ("error", "tcp"): ("up", "connected"),
    ("error", "http"): ("down", "answered 500 instead of 200-399"),
    ("error", "websocket"): ("down", "answered 500 instead of 101"),
}


@pytest.mark.parametrize(("role", "kind"), VERDICTS)
def test_each_kind_of_check_comes_to_its_verdict(admin: Admin, role: str, kind: str) -> None:
    verdict, what = VERDICTS[role, kind]
    pool = f"{role}-{kind}"
    found = admin.wait_for(pool, health=verdict)
    assert admin.pool(pool)["health_check"] == kind
    assert found["check"]["ok"] is (verdict == "up")
    assert what in found["check"]["what"]
    (change,) = found["history"]
    assert (change["to"], change["why"]) == (verdict, f"{kind} check: {found['check']['what']}")


def test_what_checks_say_is_in_the_status_and_in_the_metrics(admin: Admin) -> None:
    admin.wait_for("error-http", health="down")
    admin.wait_for("good-http", health="up")
    run = subprocess.run(
        [WSRELAY, "status", "--json", "--admin", admin.url],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    pools = {each["name"]: each["upstreams"][0] for each in json.loads(run.stdout)["pools"]}
    assert pools["error-http"]["health"] == "down"
    assert pools["error-http"]["check"]["what"] == "answered 500 instead of 200-399"
    assert pools["good-http"]["health"] == "up"
    assert admin.metric("wsrelay_upstream_up", pool="error-http", upstream="a") == 0
    assert admin.metric("wsrelay_upstream_up", pool="good-http", upstream="a") == 1
    downs = admin.metric(
        "wsrelay_health_transitions_total", pool="error-http", upstream="a", to="down"
    )
    assert downs == 1


@pytest.mark.parametrize("kind", ["tcp", "websocket"])
def test_a_wss_upstream_is_up_for_who_trusts_its_authority(admin: Admin, kind: str) -> None:
    admin.wait_for(f"ca-{kind}", health="up")
    found = admin.wait_for(f"noca-{kind}", health="down")
    assert "certificate" in found["check"]["what"]


def test_an_upstream_that_flaps_is_counted_and_harms_no_session(
    stage: Stage, admin: Admin, actors: Actors
) -> None:
    for name in "ab":
        admin.wait_for("flap", name, health="up")
    clients = [join(stage, "/flap") for _ in range(4)]
    assert [each["sessions"] for each in admin.upstreams("flap").values()] == [2, 2]
    actor = actors["flap"]
    for turn in range(3):
        actor.shut() if turn == 1 else actor.play("error")
        admin.wait_for("flap", health="down")
        away = join(stage, "/flap")
        (session,) = admin.sessions(f"pool=flap&client={address_of(away)}")
        assert session["upstream"] == "b"
        actor.open() if turn == 1 else actor.play("echo")
        admin.wait_for("flap", health="up")
    for to, count in (("down", 3), ("up", 4)):
        counted = admin.metric("wsrelay_health_transitions_total", pool="flap", upstream="a", to=to)
        assert counted == count
    history = [each["to"] for each in admin.upstream("flap")["history"]]
    assert history == ["up"] + ["down", "up"] * 3
    assert len(admin.upstream("flap", "b")["history"]) == 1
    for client in clients:
        echoes(client)


def address_of(client: Wire) -> str:
    host, port = client.sock.getsockname()
    return f"{host}:{port}"


def test_an_upstream_that_comes_back_begins_with_a_small_share(
    stage: Stage, admin: Admin, actors: Actors
) -> None:
    def count(sessions: int) -> dict[str, int]:
        before = {name: each["handshakes"] for name, each in admin.upstreams("back").items()}
        for _ in range(sessions):
            join(stage, "/back").close()
        after = admin.upstreams("back").items()
        return {name: each["handshakes"] - before[name] for name, each in after}

    admin.wait_for("back", health="up")
    assert count(5) == {"a": 5, "b": 0}
    actors["back"].shut()
    admin.wait_for("back", health="down")
    assert count(5) == {"a": 0, "b": 5}
    actors["back"].open()
    admin.wait_for("back", health="up")
    shares = count(45)  # a twentieth for the first three minutes of the hour
    assert shares == {"a": 2, "b": 43}


def test_the_port_that_is_checked_may_be_another_one(
    stage: Stage, admin: Admin, actors: Actors
) -> None:
    actors["sick"].play("error", "/")  # where a check would ask
    admin.wait_for("port", health="up")
    actors["probe"].play("error")
    found = admin.wait_for("port", health="down")
    assert found["check"]["what"] == "answered 500 instead of 200-399"
    echoes(join(stage, "/port"))  # nobody else is there, so it is tried and works
    assert admin.upstream("port")["health"] == "down"
    actors["probe"].play("echo")
    admin.wait_for("port", health="up")
    assert not actors["sick"].asked["/"]


def test_failed_handshakes_are_outdated_by_checks_that_do_the_same(
    stage: Stage, admin: Admin, actors: Actors
) -> None:
    actors["shy"].play("rude", "/proven")
    admin.wait_for("proven", health="up")
    check_own_answer(read_answer(stage.ask(b"/proven")), 502)
    found = wait_until(
        lambda: len(admin.upstream("proven")["history"]) > 2 and admin.upstream("proven"),
        "the upstream to be up again",
    )
    (_, down, up) = found["history"]
    assert (down["to"], up["to"]) == ("down", "up")
    assert "check" not in down["why"]
    assert up["why"] == "websocket check: opened, answered the ping and closed"
    assert found["failures"] == 1
    actors["shy"].play("echo", "/proven")
    echoes(join(stage, "/proven"))


def test_failed_handshakes_outweigh_checks_that_only_connect(
    stage: Stage, admin: Admin, actors: Actors
) -> None:
    actors["shy"].play("rude", "/unproven")
    admin.wait_for("unproven", health="up")
    check_own_answer(read_answer(stage.ask(b"/unproven")), 502)
    admin.checks("unproven")
    found = admin.upstream("unproven")
    assert found["health"] == "down"
    assert found["check"]["ok"]
    actors["shy"].play("echo", "/unproven")
    echoes(join(stage, "/unproven"))  # it is the only one, so it is tried
    found = admin.upstream("unproven")
    assert found["health"] == "up"
    assert found["history"][-1]["why"] == "a handshake succeeded"


def test_an_upstream_whose_checks_fail_is_used_only_where_there_is_no_other(
    stage: Stage, admin: Admin, actors: Actors
) -> None:
    actors["shy"].play("error", "/bad")
    actors["shy"].play("error", "/bad2")
    actors["other"].play("echo", "/bad2")
    admin.wait_for("alone", health="down")
    admin.wait_for("avoided", health="down")
    admin.wait_for("avoided", "b", health="up")
    echoes(join(stage, "/alone"))
    for _ in range(4):
        echoes(join(stage, "/avoided"))
    admin.checks("alone")
    assert admin.upstream("alone")["health"] == "down"
    assert admin.upstream("avoided")["sessions"] == 0
    assert admin.upstream("avoided", "b")["sessions"] == 4


def test_where_all_are_down_few_try_and_the_others_are_refused_at_once(
    stage: Stage, admin: Admin, actors: Actors
) -> None:
    admin.wait_for("hopeless", health="down")
    asked = actors["silent"].asked
    before = asked["/hopeless"]
    clients = [stage.connect() for _ in range(30)]
    for client in clients:
        client.send(handshake(b"/hopeless"))
    wait_until(lambda: asked["/hopeless"] == before + 8, "eight tries")
    statuses = [read_answer(client).status for client in clients]
    assert (statuses.count(503), statuses.count(504)) == (22, 8)
    assert asked["/hopeless"] == before + 8
    rejected = "wsrelay_rejected_total"
    assert admin.metric(rejected, reason="no-upstream") == 22
    assert admin.metric(rejected, reason="upstream-timeout") == 8


def test_sessions_of_an_upstream_that_hangs_are_kept_drained_or_closed(
    stage: Stage, admin: Admin, process: Process
) -> None:
    for loss in LOSSES:
        admin.wait_for(loss, health="up")
    clients = {loss: [join(stage, f"/{loss}/echo") for _ in range(2)] for loss in LOSSES}
    os.kill(process.pid, signal.SIGSTOP)
    try:
        for client in clients["close"]:
            assert take_close(client, 1012) == b"the upstream is down"
        # Spread over an hour, so one now and the other one in half an hour.
        for loss in LOSSES:
            admin.wait_for(loss, health="down")
        wait_until(lambda: not all(map(is_quiet, clients["drain"])), "the first close")
        first, second = sorted(clients["drain"], key=is_quiet)
        assert take_close(first, 1012) == b"the upstream is down"
        drain = admin.wait_for("drain", sessions=1)["drain"]
        assert (drain["why"], drain["total"], drain["closed"]) == ("down", 2, 1)
        assert (drain["left"], drain["done"]) == (1, False)
        assert is_quiet(second)
        assert all(map(is_quiet, clients["keep"]))
    finally:
        os.kill(process.pid, signal.SIGCONT)
    for loss in LOSSES:
        admin.wait_for(loss, health="up")
    for client in (second, *clients["keep"]):
        echoes(client)
    assert stage.relay.log().count('"initiator":"relay:down"') == 3


def test_an_upstream_that_is_killed_and_started_again_takes_sessions_again(
    stage: Stage, admin: Admin, mortal: list[Process]
) -> None:
    killed = mortal.pop()
    for loss in LOSSES:
        admin.wait_for(f"mortal-{loss}", health="up")
    clients = {loss: join(stage, f"/mortal-{loss}/echo") for loss in LOSSES}
    killed.kill()
    killed.stop()
    for loss, client in clients.items():
        said = read_data(client)
        words = said.close_code, said.payload[2:]
        client.close()
        # A check that fails before the loss is noticed has its say, unless sessions are kept.
        sooner = [] if loss == "keep" else [(1012, b"the upstream is down")]
        assert words in [(1011, b"the upstream is gone"), *sooner]
        admin.wait_for(f"mortal-{loss}", health="down")
        # The first that failed may have been under way.
        admin.wait_for_check(f"mortal-{loss}", "refused")
        check_own_answer(read_answer(stage.ask(f"/mortal-{loss}/echo".encode())), 502)
    mortal.append(start_upstream("websockets", "--port", own_url(killed).rpartition(":")[2]))
    for loss in LOSSES:
        admin.wait_for(f"mortal-{loss}", health="up")
        echoes(join(stage, f"/mortal-{loss}/echo"))
