"""Limits of a real relay: on clients, on descriptors, and on what a flood can write to a log."""

from __future__ import annotations

import contextlib
import random
import resource
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.certificates import Authority, KeyPair
from tests.support import Process, RelayProcess, event_in, started_relay
from tests.system.admin import ADMIN, Admin
from tests.system.secure import connect_tls
from tests.system.support import (
    LOCAL,
    TEXT,
    RawUpstream,
    Stage,
    Wire,
    check_own_answer,
    end_normally,
    fd_count,
    frame,
    handshake,
    masked,
    read_answer,
    read_data,
    switching,
    wait_until,
)

MOST = 6
PROXY = b"PROXY TCP4 203.0.113.9 198.51.100.1 56324 4433\r\n"
pumps = pytest.mark.parametrize("pump", ["native", "python"])


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, KeyPair]:
    authority = Authority(tmp_path_factory.mktemp("papers"))
    return authority.certificate(), authority.issue("relay.test")


@pytest.fixture(scope="module", params=["native", "python"])
def relay(
    request: pytest.FixtureRequest,
    upstream: RawUpstream,
    papers: tuple[Path, KeyPair],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RelayProcess]:
    pair = papers[1]
    config = f"""
[relay]
data_path = {request.param}
[listener:main]
endpoint = {LOCAL}
max_connections = {MOST}
[listener:tls]
endpoint = {LOCAL}
certificate = {pair.certificate}
key = {pair.key}
max_connections = 1
[listener:proxied]
endpoint = {LOCAL}
proxy_protocol = yes
trusted_proxies = 127.0.0.0/8
max_connections = 1
[route:main]
pool = main
close_timeout = 50ms
[pool:main]
upstreams = {upstream.url}
max_fails = 0
{ADMIN}
[log]
format = json
"""
    with started_relay(config, tmp_path_factory.mktemp("relay")) as process:
        yield process


def connections(relay: RelayProcess, listener: str = "main") -> float:
    return Admin.of(relay).metric("wsrelay_connections", listener=listener)


def wait_for_connections(relay: RelayProcess, count: int, listener: str = "main") -> None:
    wait_until(lambda: connections(relay, listener) == count, f"{count} connections")


def test_who_is_one_too_many_gets_an_answer_whatever_it_sends(stage: Stage) -> None:
    wait_for_connections(stage.relay, 0)
    inside = [stage.connect() for _ in range(MOST)]
    wait_for_connections(stage.relay, MOST)
    silent = stage.connect()
    check_own_answer(read_answer(silent), 503)
    eager = stage.connect()
    eager.send(handshake() + bytes(30_000))
    answer = read_answer(eager)
    check_own_answer(answer, 503)
    assert answer.get(b"Retry-After") == b"5"
    inside[0].close()
    wait_for_connections(stage.relay, MOST - 1)
    stage.works()


def test_with_tls_and_behind_a_proxy_it_is_the_same(
    stage: Stage, papers: tuple[Path, KeyPair]
) -> None:
    for listener in ("tls", "proxied"):
        wait_for_connections(stage.relay, 0, listener)
    stage.connect("tls")
    wait_for_connections(stage.relay, 1, "tls")
    client = connect_tls(stage, ssl.create_default_context(cafile=str(papers[0])))
    client.send(handshake())
    check_own_answer(read_answer(client), 503)
    stage.connect("proxied")
    wait_for_connections(stage.relay, 1, "proxied")
    client = stage.connect("proxied")
    client.send(PROXY + handshake())
    check_own_answer(read_answer(client), 503)
    start = len(stage.relay.log().splitlines()) - 50
    stage.relay.wait_for_event(max(start, 0), event="refused", client="203.0.113.9:56324")


def one_round(stage: Stage, source: random.Random) -> int:
    """Fill the relay, and more; end all of them in some way; return how many were refused."""
    sessions = [stage.begin() for _ in range(source.randrange(1, 4))]
    idle = [stage.connect() for _ in range(MOST - len(sessions))]
    wait_for_connections(stage.relay, MOST)
    refused = [stage.ask() if source.random() < 0.5 else stage.connect() for _ in range(3)]
    for wire in refused:
        if source.random() < 0.7:
            check_own_answer(read_answer(wire), 503)
        else:
            assert wire.read(12) == b"HTTP/1.1 503"
            wire.reset()
    for client, upstream in sessions:
        how = source.randrange(4)
        if how == 0:
            end_normally(client, upstream)
        elif how == 1:
            client.reset()
            upstream.wait_until_gone()
        elif how == 2:
            upstream.reset()
            client.close()
        else:
            client.send(frame(TEXT, b"unmasked"))
            client.close()
            upstream.wait_until_gone()
    for wire in idle:
        how = source.randrange(4)
        if how == 0:
            wire.send(handshake()[:30])
        elif how == 1:
            wire.send(b"GET / HTTP/9.9\r\n\r\n")
        wire.close() if source.random() < 0.5 else wire.reset()
    for wire in (*refused, *(wire for pair in sessions for wire in pair)):
        wire.close()
    stage.upstream.is_alone()
    return len(refused)


def test_a_hundred_rounds_of_opening_refusing_and_killing_leave_nobody(stage: Stage) -> None:
    relay, source = stage.relay, random.Random(11)
    wait_for_connections(relay, 0)
    for listener in ("tls", "proxied"):
        wait_for_connections(relay, 0, listener)
    admin = Admin.of(relay)
    descriptors = fd_count(relay.pid)
    before = admin.metric("wsrelay_rejected_total", reason="full")
    refused = 0
    for _ in range(100):
        refused += one_round(stage, source)
        wait_for_connections(relay, 0)
    assert admin.metric("wsrelay_rejected_total", reason="full") - before == refused == 300
    wait_until(lambda: fd_count(relay.pid) <= descriptors, "the end of all connections")
    assert admin.status()["connections"] == 0
    stage.works()


def test_a_reload_changes_the_limits_and_leaves_who_is_there(
    upstream: RawUpstream, tmp_path: Path
) -> None:
    def config(here: str, all_in_all: str) -> str:
        return (
            f"[relay]\nmax_connections = {all_in_all}\n"
            f"[listener:main]\nendpoint = {LOCAL}\nmax_connections = {here}\n"
            f"[route:main]\npool = main\n[pool:main]\nupstreams = {upstream.url}\n{ADMIN}"
        )

    with started_relay(config("off", "off"), tmp_path) as relay:
        stage = Stage(relay, upstream)
        pairs = [stage.begin() for _ in range(3)]
        assert relay.reload(config("3", "off")).endswith("listener main: max_connections changed")
        check_own_answer(read_answer(stage.connect()), 503)
        assert "relay: max_connections changed" in relay.reload(
            config("off", "4"), "relay: max_connections"
        )
        idle = stage.connect()
        wait_for_connections(relay, 4)
        check_own_answer(read_answer(stage.connect()), 503)
        assert Admin.of(relay).metric("wsrelay_max_connections", listener="") == 4
        idle.close()
        for client, far in pairs:
            client.send(masked(TEXT, b"still here"))
            assert read_data(far).payload == b"still here"
            end_normally(client, far)
        wait_for_connections(relay, 0)
        stage.close()


# descriptors


@pumps
def test_a_relay_that_runs_out_of_descriptors_serves_who_is_in_and_recovers(
    pump: str, upstream: RawUpstream, tmp_path: Path
) -> None:
    config = (
        f"[relay]\ndata_path = {pump}\n[listener:main]\nendpoint = {LOCAL}\n"
        f"handshake_timeout = 1m\n[route:main]\npool = main\n"
        f"[pool:main]\nupstreams = {upstream.url}\n"
        f"{ADMIN}\n[log]\nformat = json\n"
    )
    with started_relay(config, tmp_path, limited(100, 256)) as relay:
        assert "raised from 100 to 256" in relay.log()
        stage, admin = Stage(relay, upstream), Admin.of(relay)
        sessions = [stage.begin() for _ in range(20)]
        clients = [stage.connect() for _ in range(150)]
        wait_until(lambda: admin.metric("wsrelay_accepting") == 0, "that accepting stops")
        assert admin.ask("GET", "/readyz").status == 503
        assert admin.status()["accepting"] is False
        inside = int(connections(relay)) - len(sessions)
        assert 40 < inside < 100

        # All who are in can have their session; long frames need pipes as well.
        for client in clients[:inside]:
            client.send(handshake())
        opened = [(client, answered(stage)) for client in clients[:inside]]
        for client, _ in opened:
            assert client.read_head().startswith(b"HTTP/1.1 101 ")
        for client, far in (*sessions, *by_pairs(stage, opened)):
            exchange(client, far, 200_000)
        assert fd_count(relay.pid) < 256
        assert not clients[inside].has_data()

        # Those who leave make room for those who wait; sessions are as they were.
        for client, far in by_pairs(stage, opened):
            end_normally(client, far)
        waiting = clients[inside:]
        for client in waiting[:10]:
            client.send(handshake())
            answered(stage)
            assert client.read_head().startswith(b"HTTP/1.1 101 ")
        for client in waiting:
            client.close()
        wait_until(lambda: admin.metric("wsrelay_accepting") == 1, "that accepting goes on")
        assert admin.ask("GET", "/readyz").status == 200
        for client, far in sessions:
            exchange(client, far, 10)
        log = relay.log()
        assert "no more clients are let in" in log
        assert "clients are let in again" in log
        assert log.count('"event":"refused"') == 0
        stage.close()


def limited(soft: int, hard: int) -> list[str]:
    return ["sh", "-c", f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"', "sh"]


def answered(stage: Stage) -> Wire:
    """Be the upstream of the next handshake."""
    far = stage.accept()
    far.read_head()
    far.send(switching())
    return far


def by_pairs(stage: Stage, opened: list[tuple[Wire, Wire]]) -> list[tuple[Wire, Wire]]:
    """Find out which upstream is whose: they came at once."""
    found = {}
    for number, (client, _) in enumerate(opened):
        client.send(masked(TEXT, b"%d" % number))
    for _, far in opened:
        found[int(read_data(far).payload)] = far
    return [(client, found[number]) for number, (client, _) in enumerate(opened)]


def exchange(client: Wire, far: Wire, size: int) -> None:
    payload = random.randbytes(size)
    client.send(masked(TEXT, payload))
    assert read_data(far).payload == payload
    far.send(frame(TEXT, payload))
    assert read_data(client).payload == payload


@pumps
def test_an_upstream_that_cannot_be_connected_to_for_want_of_descriptors_is_not_blamed(
    pump: str, upstream: RawUpstream, tmp_path: Path
) -> None:
    config = (
        f"[relay]\ndata_path = {pump}\n[listener:main]\nendpoint = {LOCAL}\n"
        f"[route:main]\npool = main\n"
        f"[pool:main]\nupstreams = {upstream.url}\nmax_fails = 1\n"
        f"health_check = tcp interval=100ms fall=1\n{ADMIN}\n[log]\nformat = json\n"
    )
    with started_relay(config, tmp_path, limited(200, 200)) as relay:
        stage, admin = Stage(relay, upstream), Admin.of(relay)
        client, far = begin_among_checks(stage)
        late = stage.connect()
        wait_for_connections(relay, 2)
        # Somebody takes all that is left away: the limit is what is in use now.
        set_limit(relay, fd_count(relay.pid))
        late.send(handshake())
        check_own_answer(read_answer(late), 503)
        relay.wait_for_event(event="refused", status=503)
        exchange(client, far, 500_000)
        set_limit(relay, 200)
        found = admin.upstream("main", upstream_name(admin))
        assert (found["health"], found["failures"]) == ("up", 0)
        begin_among_checks(stage)
        stage.close()


def upstream_name(admin: Admin) -> str:
    (name,) = admin.upstreams("main")
    return name


def set_limit(relay: Process, limit: int) -> None:
    resource.prlimit(relay.pid, resource.RLIMIT_NOFILE, (limit, 200))


def begin_among_checks(stage: Stage) -> tuple[Wire, Wire]:
    """Open a session where health checks connect as well, and say nothing."""
    client = stage.ask()
    while True:
        far = stage.accept()
        try:
            far.read_head()
        except AssertionError:
            continue
        far.send(switching())
        assert client.read_head().startswith(b"HTTP/1.1 101 ")
        return client, far


# floods

AT_ONCE = 100
HELLO = b"\x16\x03\x01\x00\x05hello"


def flood(port: int, count: int, says: bytes) -> None:
    for _ in range(count // AT_ONCE):
        wires = []
        for _ in range(AT_ONCE):
            wire = Wire(socket.create_connection(("127.0.0.1", port)))
            with contextlib.suppress(ConnectionError):  # it may be gone already
                wire.send(says)
            wires.append(wire)
        for wire in wires:
            wire.wait_until_gone()
            wire.close()


@pytest.mark.parametrize(
    ("listener", "says", "word", "crowd"),
    [
        ("plain", b"GET / HTTP/9.9\r\n\r\n", "malformed", 10_000),
        ("secure", HELLO, "malformed", 10_000),
        ("full", handshake(), "full", 3_000),
        ("down", handshake(), "upstream-failed", 3_000),
    ],
)
def test_a_flood_is_counted_to_the_last_client_and_the_logs_stay_short(
    listener: str, says: bytes, word: str, crowd: int, papers: tuple[Path, KeyPair], tmp_path: Path
) -> None:
    pair = papers[1]
    config = f"""
[listener:plain]
endpoint = {LOCAL}
[listener:secure]
endpoint = {LOCAL}
certificate = {pair.certificate}
key = {pair.key}
[listener:full]
endpoint = {LOCAL}
max_connections = 1
[listener:down]
endpoint = {LOCAL}
[route:main]
pool = main
[pool:main]
upstreams = unix:/none/such
max_fails = 0
{ADMIN}
[log]
format = json
"""
    with started_relay(config, tmp_path) as relay:
        wait_for_connections(relay, 0, "full")  # the one that looked whether it listens
        one = socket.create_connection(("127.0.0.1", relay.ports["full"]))
        wait_for_connections(relay, 1, "full")
        begun = time.monotonic()
        flood(relay.ports[listener], crowd, says)
        took = time.monotonic() - begun
        admin = Admin.of(relay)
        assert admin.metric("wsrelay_rejected_total", reason=word) == crowd
        one.close()
        relay.terminate()
        relay.wait()
        events = [event_in(line) for line in relay.log().splitlines()]
        refused = [each for each in events if each.get("event") == "refused"]
        more = [each for each in events if each.get("event") == "refused-more"]
        refused = [each for each in refused if each["listener"] == listener]
        assert len(refused) + sum(each["count"] for each in more) == crowd
        assert {each["reason"] for each in more} == {word}
        assert more[0]["client"] == "127.0.0.1"
        # Of each cause, of which there are two at most: ten lines in a second, and a sum.
        assert len(events) < 2 * 11 * (took + 2) + 40, relay.log()[-3000:]
