"""A relay of two processes: one relay to its clients, its upstreams and its operators."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers.certificates import Authority
from tests.support import PATIENCE, Process, RelayProcess, free_port, started_relay
from tests.system.admin import ADMIN, Admin, path_to
from tests.system.support import (
    LOCAL,
    TEXT,
    RawUpstream,
    Stage,
    Wire,
    check_own_answer,
    end_normally,
    masked,
    read_answer,
    read_data,
    switching,
    wait_until,
)

SESSIONS = 12
NOBODY = 65534


@pytest.fixture(scope="module")
def others() -> Iterator[list[RawUpstream]]:
    upstreams = [RawUpstream.tcp() for _ in range(3)]
    yield upstreams
    for each in upstreams:
        each.close()


def ini(upstream: RawUpstream, others: list[RawUpstream]) -> str:
    lines = "\n".join(f"    {each.url} name=u{n}" for n, each in enumerate(others))
    return f"""
[relay]
workers = 2
drain_timeout = 1s
[listener:main]
endpoint = {LOCAL}
[route:main]
pool = main
close_timeout = 50ms
[route:limited]
path = /limited
pool = main
connections_per_ip = 3
[route:rated]
path = /rated
pool = main
handshakes_per_ip = 1/m burst 5
[route:few]
path = /few
pool = few
[route:many]
path = /many
pool = many
[route:sid]
path = /sid
pool = sid
[pool:main]
upstreams = {upstream.url}
[pool:few]
upstreams = {upstream.url} max_connections=2
queue_timeout = 10s
[pool:many]
upstreams =
{lines}
[pool:sid]
balancer = sticky-sid
upstreams =
{lines}
{ADMIN}
[log]
format = json
"""


@pytest.fixture(scope="module")
def relay(
    upstream: RawUpstream, others: list[RawUpstream], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RelayProcess]:
    with started_relay(ini(upstream, others), tmp_path_factory.mktemp("relay")) as process:
        yield process


def workers(relay: RelayProcess) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = Admin.of(relay).get("/status.json")["workers"]
    return rows


def pids(relay: RelayProcess) -> list[int]:
    return [each["pid"] for each in workers(relay) if each["state"] == "up"]


def worker_of(relay: RelayProcess) -> dict[str, int]:
    """Return the worker of each session, by id."""
    found = Admin.of(relay).get("/api/sessions?limit=1000")["sessions"]
    return {each["id"]: each["worker"] for each in found}


def opened(relay: RelayProcess) -> float:
    """Return how many handshakes have made a session."""
    return sum(
        value
        for (name, labels), value in Admin.of(relay).metrics().items()
        if name == "wsrelay_handshakes_total" and ("status", "101") in labels
    )


def wait_for_sessions(relay: RelayProcess, count: int) -> None:
    wait_until(lambda: len(worker_of(relay)) == count, f"{count} sessions")


def wait_for_workers(relay: RelayProcess, but: int = 0) -> None:
    wait_until(lambda: len(set(pids(relay)) - {but}) == 2, "two workers")


def check_alive(client: Wire, upstream: Wire) -> bool:
    try:
        client.send(masked(TEXT, b"up?"))
        return read_data(upstream).payload == b"up?"
    except (OSError, EOFError, AssertionError):
        return False


@pytest.fixture
def clean(relay: RelayProcess) -> None:
    """Begin when nothing is left of the test before."""
    wait_for_workers(relay)
    wait_for_sessions(relay, 0)
    wait_until(
        lambda: Admin.of(relay).metric("wsrelay_connections", listener="main") == 0, "nobody"
    )


@pytest.mark.usefixtures("clean")
def test_both_workers_relay_and_the_operator_sees_one_relay(stage: Stage) -> None:
    pairs = [stage.begin() for _ in range(SESSIONS)]
    wait_for_sessions(stage.relay, SESSIONS)
    shares = Counter(worker_of(stage.relay).values())
    assert set(shares) == {0, 1}
    assert max(shares.values()) - min(shares.values()) <= 4
    assert all(check_alive(*pair) for pair in pairs)
    admin = Admin.of(stage.relay)
    status = admin.get("/status.json")
    assert status["sessions"] == SESSIONS
    assert status["pid"] == stage.relay.pid
    assert [each["sessions"] for each in status["workers"]] == [shares[0], shares[1]]
    (main,) = [each for each in status["pools"] if each["name"] == "main"]
    assert main["upstreams"][0]["sessions"] == SESSIONS
    assert admin.metric("wsrelay_connections", listener="main") == SESSIONS
    for each in pairs:
        end_normally(*each)


@pytest.mark.usefixtures("clean")
def test_a_worker_that_is_killed_loses_its_own_sessions_and_is_replaced(stage: Stage) -> None:
    relay = stage.relay
    pairs = [stage.begin() for _ in range(SESSIONS)]
    wait_for_sessions(relay, SESSIONS)
    before = opened(relay)
    victim = workers(relay)[0]
    os.kill(victim["pid"], signal.SIGKILL)
    wait_for_workers(relay, victim["pid"])
    lost = victim["sessions"]
    assert lost
    alive = [pair for pair in pairs if check_alive(*pair)]
    assert len(alive) == SESSIONS - lost
    wait_for_sessions(relay, SESSIONS - lost)
    # Its successor takes the next ones: it has the fewest.
    new = [stage.begin() for _ in range(lost)]
    shares = Counter(worker_of(relay).values())
    assert shares[0] > 0
    assert all(check_alive(*pair) for pair in new)
    after = opened(relay)
    assert after == before + lost
    for each in (*alive, *new):
        end_normally(*each)


@pytest.mark.usefixtures("clean")
def test_who_waits_to_be_accepted_is_not_lost_with_all_workers(stage: Stage) -> None:
    relay = stage.relay
    old = pids(relay)
    for pid in old:
        os.kill(pid, signal.SIGSTOP)
    clients = [stage.ask() for _ in range(5)]
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    for _ in clients:
        upstream = stage.accept()
        upstream.read_head()
        upstream.send(switching())
    for client in clients:
        assert client.read_head().startswith(b"HTTP/1.1 101 ")
    wait_until(lambda: len(set(pids(relay)) - set(old)) == 2, "two new workers")


@pytest.mark.usefixtures("clean")
def test_limits_of_an_address_hold_over_all_workers(stage: Stage) -> None:
    pairs = [stage.begin(b"/limited") for _ in range(3)]
    for _ in range(6):
        client = stage.ask(b"/limited")
        check_own_answer(read_answer(client), 429)
        client.close()
    end_normally(*pairs.pop())
    wait_for_sessions(stage.relay, 2)
    pairs.append(stage.begin(b"/limited"))
    statuses = []
    for _ in range(12):
        client = stage.ask(b"/rated")
        if len(statuses) < 5:
            upstream = stage.accept()
            upstream.read_head()
            upstream.send(switching())
        statuses.append(client.read_head().split()[1])
    assert Counter(statuses) == {b"101": 5, b"429": 7}


@pytest.mark.usefixtures("clean")
def test_an_upstreams_limit_holds_over_all_workers_and_who_waits_is_called(stage: Stage) -> None:
    pairs = [stage.begin(b"/few") for _ in range(2)]
    waiting = [stage.ask(b"/few") for _ in range(4)]
    queue = lambda: Admin.of(stage.relay).metric("wsrelay_queue_length", pool="few")  # noqa: E731
    wait_until(lambda: queue() == 4, "four that wait")
    for _ in range(4):
        end_normally(*pairs.pop(0))
        upstream = stage.accept()
        upstream.read_head()
        upstream.send(switching())
        answered = []
        wait_until(
            lambda found=answered: bool(
                found or found.extend(each for each in waiting if each.has_data()) or found
            ),
            "one that is answered",
        )
        client = answered[0]
        waiting.remove(client)
        assert client.read_head().startswith(b"HTTP/1.1 101 ")
        pairs.append((client, upstream))
        assert stage.upstream.is_alone()
    for each in pairs:
        end_normally(*each)


@pytest.mark.usefixtures("clean")
def test_least_connections_counts_the_sessions_of_all_workers(
    stage: Stage, others: list[RawUpstream]
) -> None:
    taken: Counter[int] = Counter()
    for _ in range(30):
        client = stage.ask(b"/many")
        index, upstream = visited(stage, others)
        taken[index] += 1
        upstream.read_head()
        upstream.send(switching())
        assert client.read_head().startswith(b"HTTP/1.1 101 ")
    assert taken == {0: 10, 1: 10, 2: 10}


def visited(stage: Stage, upstreams: list[RawUpstream]) -> tuple[int, Wire]:
    """Wait for a connection to one of *upstreams*."""
    found: list[tuple[int, Wire]] = []

    def look() -> bool:
        for index, each in enumerate(upstreams):
            if (wire := each.visitor()) is not None:
                wire.sock.settimeout(PATIENCE)
                found.append((index, stage.keep(wire)))
        return bool(found)

    wait_until(look, "a connection")
    return found[0]


@pytest.mark.usefixtures("clean")
def test_what_one_worker_learnt_the_other_knows(stage: Stage, others: list[RawUpstream]) -> None:
    body = b'0{"sid":"Abc-123","upgrades":["websocket"],"pingInterval":25000}'
    opener = stage.connect()
    opener.send(
        b"GET /sid/?EIO=4&transport=polling HTTP/1.1\r\nHost: r.test\r\nConnection: close\r\n\r\n"
    )
    home, upstream = visited(stage, others)
    upstream.read_head()
    upstream.send(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
    )
    assert opener.read_to_end().endswith(body)
    seen = set()
    for _ in range(8):
        client = stage.ask(b"/sid/?EIO=4&sid=Abc-123")
        index, upstream = visited(stage, others)
        upstream.read_head()
        upstream.send(switching())
        client.read_head()
        assert index == home
        seen = set(worker_of(stage.relay).values())
    assert seen == {0, 1}


@pytest.mark.usefixtures("clean")
def test_a_drain_by_order_closes_sessions_of_every_worker(stage: Stage) -> None:
    pairs = [stage.begin() for _ in range(SESSIONS)]
    admin = Admin.of(stage.relay)
    admin.ask("PATCH", path_to("main", f"127.0.0.1:{stage.upstream.port}"), {"state": "drain"})
    for client, _ in pairs:
        assert client.read_frame().close_code == 1012
    check_own_answer(read_answer(stage.ask()), 503)
    admin.ask("PATCH", path_to("main", f"127.0.0.1:{stage.upstream.port}"), {"state": "ready"})
    for client, upstream in pairs:
        client.close()
        upstream.close()
    wait_for_sessions(stage.relay, 0)
    stage.works()


@pytest.mark.usefixtures("clean")
def test_a_failure_that_one_worker_saw_counts_in_all(stage: Stage, tmp_path: Path) -> None:
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{gone.getsockname()[1]}"
    text = f"""
[relay]
workers = 2
[listener:main]
endpoint = {LOCAL}
[route:main]
pool = main
retries = 0
[pool:main]
upstreams = {url} name=gone
max_fails = 2
fail_timeout = 1h
{ADMIN}
"""
    with started_relay(text, tmp_path) as relay:
        own = Stage(relay, stage.upstream)
        for _ in range(2):
            check_own_answer(read_answer(own.ask()), 502)
        wait_until(
            lambda: Admin.of(relay).metric("wsrelay_upstream_up", upstream="gone") == 0, "down"
        )
        assert relay.log().count("is down") == 1
        own.close()


@pytest.mark.usefixtures("clean")
def test_an_order_reaches_a_worker_that_has_not_begun_yet(stage: Stage) -> None:
    relay, admin = stage.relay, Admin.of(stage.relay)
    path = path_to("main", f"127.0.0.1:{stage.upstream.port}")
    wait_until(lambda: can_begin(*spares(relay)), "a spare process that can begin")
    (spare,) = spares(relay)
    os.kill(spare, signal.SIGSTOP)
    try:
        os.kill(workers(relay)[0]["pid"], signal.SIGKILL)
        wait_until(lambda: workers(relay)[0]["state"] == "starting", "one that begins")
        admin.order("PATCH", path, {"state": "drain"})
    finally:
        os.kill(spare, signal.SIGCONT)
    wait_for_workers(relay)
    for _ in range(SESSIONS):
        check_own_answer(read_answer(stage.ask()), 503)
    admin.order("PATCH", path, {"state": "ready"})
    stage.works()


def test_a_reload_reaches_every_worker(
    upstream: RawUpstream, others: list[RawUpstream], tmp_path: Path
) -> None:
    text = ini(upstream, others)
    (tmp_path / "found.txt").write_text(upstream.url)
    with started_relay(text, tmp_path) as relay:
        stage = Stage(relay, upstream)
        pair = stage.begin()
        extra = (
            f"[listener:second]\nendpoint = {LOCAL}\n"
            "[route:gone]\npath = /gone\nredirect = https://x.test/\n"
            "[route:found]\npath = /found\npool = found\n"
            f"[pool:found]\ndiscover = file path={tmp_path / 'found.txt'}\n"
        )
        relay.reload(text.replace("[pool:main]", extra + "[pool:main]"), "reload: route gone added")
        second = relay.ports["second"]
        for _ in range(20):
            client = stage.connect("second")
            client.send(b"GET /gone HTTP/1.1\r\nHost: r.test\r\nConnection: close\r\n\r\n")
            assert read_answer(client).status == 301
        found = [stage.begin(b"/found") for _ in range(SESSIONS)]
        assert set(worker_of(relay).values()) == {0, 1}
        for each in found:
            end_normally(*each)
        relay.reload(text.replace("pool = many", "pool = nowhere"), "reload refused")
        wider = text.replace(f"endpoint = {LOCAL}", f"endpoint = tcp:{relay.ports['main']}", 1)
        assert "remove that one first" in relay.reload(wider, "reload refused")
        relay.reload(text, "listener second closed")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", second), PATIENCE)
        assert check_alive(*pair)
        end_normally(*pair)
        stage.close()


def test_workers_follow_the_number_of_a_reload(
    upstream: RawUpstream, others: list[RawUpstream], tmp_path: Path
) -> None:
    text = ini(upstream, others)
    with started_relay(text, tmp_path) as relay:
        stage = Stage(relay, upstream)
        relay.reload(text.replace("workers = 2", "workers = 3"), "relay: workers changed")
        wait_until(lambda: len(pids(relay)) == 3, "three workers")
        pairs = [stage.begin() for _ in range(9)]
        assert set(worker_of(relay).values()) == {0, 1, 2}
        relay.reload(text.replace("workers = 2", "workers = 1"), "relay: workers changed")
        wait_until(lambda: len(pids(relay)) == 1, "one worker")
        closed = 0
        for client, _ in pairs:
            if client.has_data():
                assert client.read_frame().close_code == 1012
                closed += 1
        assert 4 <= closed <= 8
        relay.reload(text.replace("workers = 2", "workers = 40"), "reload refused: workers = 40")
        stage.close()


def test_a_stop_drains_every_worker_and_leaves_no_process(
    upstream: RawUpstream, others: list[RawUpstream], tmp_path: Path
) -> None:
    with started_relay(ini(upstream, others), tmp_path) as relay:
        stage = Stage(relay, upstream)
        pairs = [stage.begin() for _ in range(SESSIONS)]
        family = [relay.pid, *children_of(relay.pid)]
        assert len(family) == 4  # two workers and a spare
        relay.terminate()
        for client, peer in pairs:
            assert client.read_frame().close_code == 1012
            client.close()
            peer.close()
        assert relay.wait() == -signal.SIGTERM
        assert [pid for pid in family if is_running(pid)] == []
        assert "wsrelay worker, pid" not in relay.log()  # nothing is said past the parent
        stage.close()


def test_without_a_parent_workers_drain_and_end(
    upstream: RawUpstream, others: list[RawUpstream], tmp_path: Path
) -> None:
    text = ini(upstream, others).replace("drain_timeout = 1s", "drain_timeout = 4s")
    with started_relay(text, tmp_path) as relay:
        stage = Stage(relay, upstream)
        pairs = [stage.begin() for _ in range(4)]
        family = children_of(relay.pid)
        begun = [each for each in family if each in pids(relay)]
        os.kill(relay.pid, signal.SIGKILL)
        wait_until(lambda: refuses(relay.ports["main"]), "that nobody listens")
        assert all(is_running(pid) for pid in begun)
        for client, peer in pairs:
            assert client.read_frame().close_code == 1012
            client.close()
            peer.close()
        wait_until(lambda: not any(is_running(pid) for pid in family), "that all have ended")
        stage.close()


def others_can_run_python() -> bool:
    try:
        return subprocess.run([sys.executable, "-c", ""], user=NOBODY, check=False).returncode == 0
    except PermissionError:
        return False


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_workers_of_another_user_have_what_only_root_may_read(tmp_path: Path) -> None:
    if not others_can_run_python():  # it may be installed in root's own folder
        pytest.skip("no other user can run this Python")
    os.chmod(tmp_path, 0o755)
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    Authority(private).issue("a.test")
    ports = {"main": free_port(), "admin": free_port()}
    text = f"""
[relay]
workers = 2
[listener:main]
endpoint = tcp:{ports["main"]}:interface=127.0.0.1
certificates = {private}
[route:main]
redirect = https://b.test/
[admin]
listen = tcp:{ports["admin"]}:interface=127.0.0.1
[log]
access = private/access.log
"""
    (tmp_path / "relay.ini").write_text(text)
    code = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
    words = ["-n", "--pidfile=", f"--uid={NOBODY}", "wsrelay", "--config", "relay.ini"]
    with Process([sys.executable, "-c", code, *words], cwd=tmp_path) as relay:
        relay.wait_for_line(lambda line: "is up" in line, what="that the relay is up")
        admin = Admin(ports["admin"])
        victim = admin.status()["workers"][0]["pid"]
        os.kill(victim, signal.SIGKILL)
        wait_until(
            lambda: (
                admin.status()["workers"][0]["pid"] not in (None, victim)
                and admin.status()["workers"][0]["state"] == "up"
            ),
            "a successor",
        )
        for _ in range(4):
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            raw = socket.create_connection(("127.0.0.1", ports["main"]), PATIENCE)
            with context.wrap_socket(raw, server_hostname="a.test") as client:
                client.sendall(b"GET /nowhere HTTP/1.1\r\nHost: a.test\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 301 ")
        relay.terminate()
        relay.wait()
        assert "Traceback" not in relay.log()
    assert (private / "access.log").read_text().count("status=301") == 4


def test_without_memory_to_share_it_does_not_start_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "relay.ini").write_text(
        "[relay]\nworkers = 2\n[listener:main]\nendpoint = tcp:0:interface=127.0.0.1\n"
        "[route:main]\nredirect = https://b.test/\n"
    )
    twistd = Path(sys.executable).with_name("twistd")
    limited: list[str | Path] = ["sh", "-c", 'ulimit -f 1000; exec "$@"', "sh", twistd]
    with Process([*limited, "-n", "--pidfile=", "wsrelay", "-c", "relay.ini"], cwd=tmp_path) as it:
        assert it.wait() == 1
        assert it.log().startswith("wsrelay: The system gives no memory that processes can share")
        assert "Traceback" not in it.log()


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def spares(relay: RelayProcess) -> list[int]:
    known = [each["pid"] for each in workers(relay)]
    return [each for each in children_of(relay.pid) if each not in known]


def can_begin(*pids: int) -> bool:
    """Tell whether one process is there, has loaded everything, and waits."""
    status = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    caught = [int(re.findall("SigCgt:\\s+(\\w+)", each)[0], 16) for each in status]
    heard = 1 << signal.SIGTERM - 1  # the last that it does before it says hello
    return len(pids) == 1 and bool(caught[0] & heard) and "State:\tS" in status[0]


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
