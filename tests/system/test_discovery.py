"""Upstreams that files and name servers name, and what becomes of sessions when they change."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from tests.support import Process, RelayProcess, started_relay
from tests.system.actor import Actor, echoes, is_quiet, join, take_close
from tests.system.admin import ADMIN, Admin
from tests.system.support import LOCAL, Stage, check_own_answer, read_answer, wait_until

LOSSES = ("keep", "drain", "close")

Actors = dict[str, Actor]


@define(eq=False)
class NameServer:
    """A name server in a process of its own; see `tests.discovery.dns_server`."""

    process: Process
    port: int = field(init=False)
    _numbers: Iterator[int] = field(factory=count, init=False)

    def __attrs_post_init__(self) -> None:
        _, event = self.process.wait_for_event(event="listens")
        self.port = event["port"]

    def order(self, **what: Any) -> None:
        number = next(self._numbers)
        self.process.write_line(json.dumps({**what, "number": number}))
        self.process.wait_for_event(event="done", number=number)


@pytest.fixture(scope="module")
def name_server() -> Iterator[NameServer]:
    with Process([sys.executable, "-m", "tests.discovery.dns_server"]) as process:
        yield NameServer(process)


@pytest.fixture(scope="module")
def actors() -> Iterator[Actors]:
    a, b = Actor(), Actor()
    found = {"a": a, "b": b, "far": Actor(a.port, "127.0.0.2")}
    yield found
    for each in found.values():
        each.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("relay")


@pytest.fixture(scope="module")
def relay(actors: Actors, name_server: NameServer, folder: Path) -> Iterator[RelayProcess]:
    discoveries = {f"file-{how}": f"file path={how}.txt every=100ms" for how in LOSSES}
    discoveries["late"] = "file path=late.txt every=100ms"
    ask = f"resolver=127.0.0.1:{name_server.port} every=1s"
    discoveries["dns"] = f"dns name=chat.test port={actors['a'].port} {ask}"
    discoveries["srv"] = f"srv name=_ws._tcp.chat.test {ask}"
    rows = [
        f"[relay]\ndrain_timeout = 1h\n[listener:main]\nendpoint = {LOCAL}\n[log]\nformat = json",
        ADMIN,
    ]
    for name, discover in discoveries.items():
        how = name.partition("-")[2] or "drain"
        rows.append(f"[route:{name}]\npath = /{name}\nhttp = no\npool = {name}")
        rows.append(f"[pool:{name}]\ndiscover = {discover}\non_removed = {how}")
    with started_relay("\n".join(rows), folder) as running:
        yield running


@pytest.fixture
def admin(relay: RelayProcess) -> Admin:
    return Admin.of(relay)


def replace(file: Path, text: str) -> None:
    """Put a new file in the place of the old one, as careful programs do."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def wait_for_names(admin: Admin, pool: str, *names: str) -> None:
    def look() -> bool:
        there = [each["name"] for each in admin.pool(pool)["upstreams"] if is_there(each)]
        return there == list(names)

    wait_until(look, f"{pool} to have {names}")


def is_there(upstream: dict[str, Any]) -> bool:
    return bool(upstream["source"] == "discovery")


def wait_for_problem(admin: Admin, pool: str, text: str) -> str:
    def look() -> str:
        problem: str = admin.pool(pool)["problem"]
        return problem if text in problem else ""

    found: str = wait_until(look, f"the problem of {pool}: {text}")
    return found


def test_a_pool_with_a_discovery_alone_is_503_until_something_is_found(
    stage: Stage, admin: Admin, actors: Actors, folder: Path
) -> None:
    wait_for_problem(admin, "late", "No such file")
    answer = read_answer(stage.ask(b"/late"))
    check_own_answer(answer, 503)
    assert answer.get(b"Retry-After")
    (folder / "late.txt").write_text(f"# ours\n{actors['a'].url} name=a weight=3\n")
    wait_for_names(admin, "late", "a")
    assert admin.upstream("late")["weight"] == 3
    assert admin.pool("late")["problem"] == ""
    echoes(join(stage, "/late"))


@pytest.mark.parametrize("how", LOSSES)
def test_sessions_of_an_upstream_that_leaves_the_file_are_kept_drained_or_closed(
    stage: Stage, admin: Admin, actors: Actors, folder: Path, how: str
) -> None:
    pool, file = f"file-{how}", folder / f"{how}.txt"
    lines = {name: f"{actors[name].url} name={name}\n" for name in "ab"}
    file.write_text(lines["a"])
    wait_for_names(admin, pool, "a")
    leaving = [join(stage, f"/{pool}") for _ in range(2)]
    replace(file, lines["a"] + lines["b"])
    wait_for_names(admin, pool, "a", "b")
    staying = join(stage, f"/{pool}")
    replace(file, lines["b"])
    wait_for_names(admin, pool, "b")
    if how != "keep":
        # The second one of those that are drained has half an hour left.
        wait_until(lambda: not all(map(is_quiet, leaving)), "the first close")
        leaving.sort(key=is_quiet)
        gone = 1 if how == "drain" else 2
        for client in leaving[:gone]:
            assert take_close(client, 1012) == b"the upstream is removed"
        del leaving[:gone]
    for client in leaving:
        echoes(client)
    wait_until(lambda: admin.pool(pool)["sessions"] == len(leaving) + 1, "the ends to be counted")
    if leaving:
        gone_one = admin.upstream(pool, "a")
        assert (gone_one["source"], gone_one["sessions"]) == ("gone", len(leaving))
    else:
        assert list(admin.upstreams(pool)) == ["b"]
    # Nobody new is led there, though it has the fewest sessions or none.
    more = [join(stage, f"/{pool}") for _ in range(3)]
    assert admin.upstream(pool, "b")["sessions"] == 4
    for client in (staying, *more):
        echoes(client)
    # It comes back, and is the one that it was.
    replace(file, lines["a"] + lines["b"])
    wait_for_names(admin, pool, "a", "b")
    found = admin.upstream(pool, "a")
    assert found["sessions"] == len(leaving)
    assert found["drain"] is None
    assert found["handshakes"] == (2 if leaving else 0)
    for client in leaving:
        echoes(client)
    join(stage, f"/{pool}")  # by least connections it is its turn
    assert admin.upstream(pool, "a")["sessions"] == len(leaving) + 1
    assert admin.pool(pool)["problem"] == ""


def test_a_file_that_is_broken_emptied_or_deleted_changes_nothing(
    stage: Stage, admin: Admin, actors: Actors, folder: Path
) -> None:
    file = folder / "late.txt"
    replace(file, f"{actors['a'].url} name=a\n")
    wait_for_names(admin, "late", "a")
    client = join(stage, "/late")
    troubles = {
        f"{actors['b'].url} name=b\nhttp//nonsense\n": "http//nonsense",
        "": "no upstream",
        f"{actors['b'].url} name=b\n{actors['a'].url} name=b\n": "the name 'b'",
    }
    for text, words in troubles.items():
        replace(file, text)
        assert "stays" in wait_for_problem(admin, "late", words)
        wait_for_names(admin, "late", "a")
    file.unlink()
    wait_for_problem(admin, "late", "No such file")
    wait_for_names(admin, "late", "a")
    clients = [client, join(stage, "/late")]
    for each in clients:
        echoes(each)
    file.write_text(f"{actors['b'].url} name=b\n")
    wait_for_names(admin, "late", "b")
    assert admin.pool("late")["problem"] == ""
    wait_until(lambda: not all(map(is_quiet, clients)), "the first close")
    assert take_close(min(clients, key=is_quiet), 1012) == b"the upstream is removed"
    # What was wrong is in the log once, not every time that the file is looked at.
    for words in ("http//nonsense", "no upstream in the answer"):
        said = [line for line in stage.relay.log().splitlines() if "pool late" in line]
        assert sum(words in line for line in said) == 1


def test_addresses_of_a_name_come_and_go_and_stay_when_nobody_answers(
    stage: Stage, admin: Admin, actors: Actors, name_server: NameServer
) -> None:
    port = actors["a"].port
    near, far = f"127.0.0.1:{port}", f"127.0.0.2:{port}"
    service = "_ws._tcp.chat.test"
    srv = {name: ["SRV", 0, 1, actors[name].port, "localhost"] for name in "ab"}
    names = {name: f"localhost:{actors[name].port}" for name in "ab"}
    check_own_answer(read_answer(stage.ask(b"/dns")), 503)
    check_own_answer(read_answer(stage.ask(b"/srv")), 503)
    name_server.order(records={"chat.test": [["A", "127.0.0.1"]], service: [srv["a"]]})
    wait_for_names(admin, "dns", near)
    wait_for_names(admin, "srv", names["a"])
    clients = {path: join(stage, path) for path in ("/dns", "/srv")}
    # Both have one more.
    backup = ["SRV", 1, 7, actors["b"].port, "localhost"]
    addresses = [["A", "127.0.0.2"], ["A", "127.0.0.1"]]
    name_server.order(records={"chat.test": addresses, service: [backup, srv["a"]]})
    wait_for_names(admin, "dns", near, far)
    wait_for_names(admin, "srv", names["a"], names["b"])
    echoes(join(stage, "/dns"))
    assert admin.upstream("dns", far)["sessions"] == 1
    found = admin.upstream("srv", names["b"])
    assert (found["backup"], found["weight"]) == (True, 7)
    echoes(join(stage, "/srv"))
    assert admin.upstream("srv", names["a"])["sessions"] == 2
    for client in clients.values():
        echoes(client)
    # Both have the new one only.
    name_server.order(records={"chat.test": addresses[:1], service: [srv["b"]]})
    wait_for_names(admin, "dns", far)
    wait_for_names(admin, "srv", names["b"])
    assert take_close(clients["/dns"], 1012) == b"the upstream is removed"
    # The server fails, is silent, and then is dead.
    name_server.order(udp="servfail")
    wait_for_problem(admin, "dns", "SERVFAIL")
    wait_for_problem(admin, "srv", "SERVFAIL")
    name_server.process.kill()
    wait_for_problem(admin, "dns", "refused")
    wait_for_problem(admin, "srv", "refused")
    wait_for_names(admin, "dns", far)
    wait_for_names(admin, "srv", names["b"])
    for path in ("/dns", "/srv"):
        echoes(join(stage, path))
