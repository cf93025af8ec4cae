"""Every ``wsrelay`` command as a process, with a real relay behind it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tests.support import PATIENCE, Process, RelayProcess, free_port, started_relay
from tests.system.actor import Actor, echoes, is_quiet, join, take_close
from tests.system.admin import Admin
from tests.system.support import LOCAL, Stage, wait_until

TOKEN = "correct-horse-battery-staple"
WSRELAY = Path(sys.executable).with_name("wsrelay")

Actors = dict[str, Actor]


@frozen
class Ran:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WSRELAY_")}
    return clean | more


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("relay")


@pytest.fixture(scope="module")
def actors() -> Iterator[Actors]:
    found = {name: Actor() for name in "ab"}
    yield found
    for each in found.values():
        each.close()


@pytest.fixture(scope="module")
def text(actors: Actors) -> str:
    listed = "\n".join(f"    {each.url} name={name}" for name, each in actors.items())
    return (
        f"[relay]\ndrain_timeout = 1h\n[listener:main]\nendpoint = {LOCAL}\n"
        "[admin]\nlisten = unix:admin.sock\ntoken_file = token\n[log]\nformat = json\n"
        f"[route:chat]\npath = /chat\npool = chat\n[pool:chat]\nupstreams =\n{listed}\n"
        "[route:one]\npath = /one\npool = one\n"
        f"[pool:one]\nupstreams = {actors['a'].url} name=x/1\n"
    )


@pytest.fixture(scope="module")
def relay(text: str, folder: Path) -> Iterator[RelayProcess]:
    """Give a relay whose relay.ini, and so all that a command needs, is in *folder*."""
    (folder / "token").write_text(TOKEN)
    with started_relay(text, folder) as running:
        yield running


@pytest.fixture
def admin(relay: RelayProcess, stage: Stage, folder: Path) -> Admin:
    found = Admin(folder / "admin.sock", TOKEN)
    for pool in ("chat", "one"):
        found.order("POST", f"/api/pools/{pool}/ready")
    wait_until(lambda: found.status()["sessions"] == 0, "the end of all sessions")
    return found


def run(*words: object, cwd: Path, **env: str) -> Ran:
    done = subprocess.run(
        [WSRELAY, *map(str, words)],
        cwd=cwd,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


def good(*words: object, cwd: Path, **env: str) -> Ran:
    ran = run(*words, cwd=cwd, **env)
    assert (ran.code, ran.err) == (0, "")
    return ran


# ---- what there is


def test_status_and_top_show_the_relay(stage: Stage, admin: Admin, folder: Path) -> None:
    clients = [join(stage, "/chat") for _ in range(3)]
    status = good("status", cwd=folder).out
    assert f"pid {stage.relay.pid}" in status
    assert "3 sessions" in status
    assert "pool chat (least-connections): 3 sessions, queue 0" in status
    said = good("status", "--json", cwd=folder).json
    ours = admin.status()
    assert said["pid"] == ours["pid"] == stage.relay.pid
    assert [pool["name"] for pool in said["pools"]] == ["chat", "one"]
    assert said["pools"][0]["upstreams"][0].keys() == admin.upstream("chat").keys()
    top = good("top", "--count", 1, "--interval", "100ms", cwd=folder).out
    assert "chat" in top
    assert "x/1" in top
    lines = good("top", "--count", 2, "--interval", "100ms", "--json", cwd=folder).out
    first, second = map(json.loads, lines.splitlines())
    assert first.keys() == second.keys()
    for client in clients:
        echoes(client)


def test_sessions_are_listed_chosen_and_told(stage: Stage, admin: Admin, folder: Path) -> None:
    client, other = join(stage, "/chat"), join(stage, "/one")
    echoes(client)
    listed = good("sessions", "--json", cwd=folder).json
    assert listed["total"] == 2
    ids = {each["route"]: each["id"] for each in listed["sessions"]}
    assert all(id in good("sessions", cwd=folder).out for id in ids.values())
    for words in (["--pool", "one"], ["--upstream", "x/1"], ["--route", "one"]):
        (found,) = good("sessions", *words, "--json", cwd=folder).json["sessions"]
        assert found["id"] == ids["one"]
    address = "{}:{}".format(*client.sock.getsockname())
    (found,) = good("sessions", "--client", address, "--json", cwd=folder).json["sessions"]
    assert (found["id"], found["messages_up"]) == (ids["chat"], 1)
    assert len(good("sessions", "--limit", 1, "--json", cwd=folder).json["sessions"]) == 1
    told = good("sessions", "--id", ids["chat"], "--json", cwd=folder).json
    assert told["legs"]["upstream"]["messages"] == 1
    assert "upstream leg" in good("sessions", "--id", ids["chat"], cwd=folder).out
    echoes(other)


# ---- what it is told to do


def test_a_session_is_closed(stage: Stage, admin: Admin, folder: Path) -> None:
    client = join(stage, "/one")
    (session,) = admin.sessions()
    words = ("close", session["id"], "--code", 4001, "--reason", "go & rest")
    said = good(*words, "--json", cwd=folder).json
    assert said["closing"] == "4001 by relay:admin: go & rest"
    assert take_close(client, 4001) == b"go & rest"
    wait_until(lambda: not admin.sessions(), "the end")
    again = run(*words, cwd=folder)
    assert (again.code, again.out) == (1, "")
    assert f"There is no session {session['id']}" in again.err


def test_an_upstream_is_weighed_drained_and_made_ready(
    stage: Stage, admin: Admin, folder: Path
) -> None:
    assert good("weight", "chat/a", 5, cwd=folder).out == "chat/a has weight 5\n"
    assert admin.upstream("chat")["weight"] == 5
    assert good("weight", "chat/a", 1, "--json", cwd=folder).json["weight"] == 1
    client = join(stage, "/one")
    words = [str(WSRELAY), "drain", "one/x/1", "--wait"]
    with Process(words, cwd=folder, env=environment()) as drain:
        drain.wait_for_line(lambda line: "of 1 session" in line)
        assert admin.upstream("one", "x/1")["state"] == "drain"
        assert drain.returncode is None
        assert take_close(client, 1012) == b"the upstream is drained"
        assert drain.wait() == 0
        assert drain.log().splitlines()[-1] == "one/x/1 is drained"
    assert "not ready" not in good("status", cwd=folder).out
    assert good("ready", "one/x/1", cwd=folder).out == "one/x/1 is ready\n"
    echoes(join(stage, "/one"))


def test_a_drain_that_somebody_takes_back_is_told(stage: Stage, admin: Admin, folder: Path) -> None:
    clients = [join(stage, "/one") for _ in range(2)]
    words = [str(WSRELAY), "drain", "one", "--wait", "--json"]
    with Process(words, cwd=folder, env=environment()) as drain:
        drain.wait_for_line(lambda line: '"total": 2' in line)
        good("ready", "one", cwd=folder)
        assert drain.wait() == 1
        last = json.loads(drain.log().splitlines()[-1])
    assert last["over"]
    assert "ready again" in last["text"]
    clients.sort(key=is_quiet)
    echoes(clients[1])


def test_the_relay_is_drained_and_made_ready(stage: Stage, admin: Admin, folder: Path) -> None:
    client = join(stage, "/one")
    try:
        said = good("drain", "--all", "--json", cwd=folder).json
        assert (said["what"], said["total"]) == ("relay", 1)
        assert "not ready: the relay is draining" in good("status", cwd=folder).out
        take_close(client, 1012)
        ended = good("drain", "--all", "--wait", cwd=folder)
        assert ended.out.splitlines()[-1] == "the relay is drained"
    finally:
        good("ready", "--all", cwd=folder)
    echoes(join(stage, "/one"))


def test_a_pool_is_rebalanced(stage: Stage, admin: Admin, folder: Path) -> None:
    good("drain", "chat/b", cwd=folder)
    clients = [join(stage, "/chat") for _ in range(4)]
    good("ready", "chat/b", cwd=folder)
    begun = good("rebalance", "chat", "--rate", "100/s", cwd=folder).out
    assert begun.startswith("pool chat is rebalanced at 100/s")
    wait_until(lambda: sum(map(is_quiet, clients)) == 2, "two closes")
    clients.sort(key=is_quiet)
    for client in clients[:2]:
        take_close(client, 1012)
        echoes(join(stage, "/chat"))
    done = good("rebalance", "chat", "--wait", cwd=folder)
    assert done.out == "pool chat is rebalanced\n"
    assert {each["sessions"] for each in admin.upstreams("chat").values()} == {2}


def test_a_reload_is_told_and_refused(
    stage: Stage, admin: Admin, relay: RelayProcess, text: str, folder: Path
) -> None:
    client = join(stage, "/one")
    assert good("reload", cwd=folder).out == "nothing changed\n"
    relay.write(text.replace("name=b", "name=b weight=3"))
    assert good("reload", cwd=folder).out == "pool chat: upstream b changed (weight 1 to 3)\n"
    relay.write(text)
    changes = good("reload", "--json", cwd=folder).json
    assert changes == {"changes": ["pool chat: upstream b changed (weight 3 to 1)"]}
    relay.write(text.replace("name=b", "name=b wieght=3"))
    refused = run("reload", cwd=folder)
    assert (refused.code, refused.out) == (1, "")
    number = next(i for i, line in enumerate(text.splitlines(), 1) if "name=b" in line)
    assert f"relay.ini:{number}: [pool:chat] upstreams: " in refused.err
    assert "did you mean 'weight'?" in refused.err
    as_json = run("reload", "--json", cwd=folder)
    assert as_json.code == 1
    assert len(as_json.json["errors"]) == 1
    status = good("status", cwd=folder).out
    assert "refused, 1 error" in status
    relay.write(text)
    good("reload", cwd=folder)
    echoes(client)


# ---- what cannot be


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["drain", "chat/c"], "known: a, b"),
        (["drain", "chatt"], "did you mean 'chat'?"),
        (["ready", "nope/a"], "unknown pool 'nope'"),
        (["weight", "chat/a", "70000"], "65535"),
        (["rebalance", "chat", "--rate", "fast"], "'fast' is not a rate"),
        (["sessions", "--id", "nope"], "There is no session nope"),
        (["close", "nope", "--code", "1006"], "1006"),
        (["close", "nope", "--reason", "x" * 124], "123"),
    ],
)
def test_what_the_relay_refuses_is_exit_code_1_and_a_sentence(
    admin: Admin, folder: Path, words: list[str], why: str
) -> None:
    ran = run(*words, cwd=folder)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("wsrelay: ")
    assert why in ran.err


def test_the_endpoint_and_the_token_may_be_named(
    admin: Admin, folder: Path, tmp_path: Path
) -> None:
    url = f"unix:{folder / 'admin.sock'}"
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "wrong").write_text(f"not-{TOKEN}")
    for words, env in (
        (["--admin", url, "--token-file", "token"], {}),
        (["--config", folder / "relay.ini"], {}),
        ([], {"WSRELAY_ADMIN": url, "WSRELAY_TOKEN": TOKEN}),
    ):
        good("status", *words, cwd=tmp_path, **env)
    for words, why in (
        (["--admin", url], "wants a token"),
        (["--admin", url, "--token-file", "wrong"], "does not take this token"),
    ):
        ran = run("drain", "--all", *words, cwd=tmp_path)
        assert (ran.code, ran.out) == (1, "")
        assert why in ran.err
    assert admin.status()["drain"] is None


def test_a_relay_that_cannot_be_reached_is_exit_code_3(
    folder: Path, tmp_path: Path, actors: Actors
) -> None:
    silent = Actor().play("silent")
    try:
        for url, why in (
            (f"http://127.0.0.1:{free_port()}", "connection refused"),
            (f"unix:{tmp_path / 'nothing.sock'}", "no such file"),
            (f"http://127.0.0.1:{actors['a'].port}", "not in JSON"),
            (f"http://127.0.0.1:{silent.port}", "did not answer within 0.3 s"),
        ):
            ran = run("status", "--admin", url, "--timeout", "300ms", cwd=folder)
            assert (ran.code, ran.out) == (3, "")
            assert why in ran.err.lower() or why in ran.err
    finally:
        silent.close()


def test_a_bad_command_line_or_file_is_exit_code_2(tmp_path: Path) -> None:
    for words, why in (
        (["status"], "nothing says where"),
        (["status", "--config", "nothing.ini"], "nothing.ini"),
        (["drain"], "usage:"),
    ):
        ran = run(*words, cwd=tmp_path)
        assert (ran.code, ran.out) == (2, ""), words
        assert why in ran.err
    (tmp_path / "relay.ini").write_text("[relay]\nlisten = tcp:1\nupstream = ws://127.0.0.1:2\n")
    ran = run("status", cwd=tmp_path)
    assert ran.code == 2
    assert "no admin endpoint" in ran.err


def test_what_is_asked_of_files_needs_no_relay(folder: Path, relay: RelayProcess) -> None:
    assert good("check", "relay.ini", cwd=folder).out == "relay.ini: ok\n"
    assert "least-connections\n" in good("balancers", cwd=folder).out
    assert good("discoveries", cwd=folder).out.splitlines()[0] == "dns"
