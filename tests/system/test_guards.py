"""Guards of routes on real sockets: who is refused, who is counted, and that counts go back."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support import RelayProcess, free_port, started_relay
from tests.system.admin import ADMIN, Admin
from tests.system.site import listener
from tests.system.support import (
    CLOSE,
    LOCAL,
    Answer,
    RawUpstream,
    Stage,
    Wire,
    answer_close,
    check_log_is_calm,
    check_own_answer,
    close_payload,
    end_normally,
    handshake,
    lines,
    masked,
    read_answer,
    switching,
    wait_until,
)
from tests.system.test_addresses import has_ipv6, needs_ipv6

PAGE = b"https://chat.example.com"


def route(name: str, *options: str, pool: str = "main") -> str:
    return "\n".join([f"[route:{name}]", f"path = /{name}", f"pool = {pool}", *options])


def ini(data_path: str, url: str, port6: int) -> str:
    """Return a whole relay.ini.

    :param port6: of the listener on ::1; 0: there is none.
    """
    rows = [
        f"[relay]\ndata_path = {data_path}",
        listener("main"),
        listener("behind", "trusted_proxies = 127.0.0.1"),
        listener("proxied", "trusted_proxies = 127.0.0.1", "proxy_protocol = yes"),
        listener("unix", endpoint=f"unix:{data_path}.sock"),
        listener("six", endpoint=rf"tcp6:{port6}:interface=\:\:1") if port6 else "",
        route("two", "connections_per_ip = 2", "close_timeout = 200ms"),
        route("rare", "handshakes_per_ip = 1/m burst 2"),
        route("pages", f"origins =\n    {PAGE.decode()}\n    same-host"),
        route("near", "allow =\n    127.0.0.0/8\n    ::1\n    198.51.100.0/24"),
        route("far", "deny =\n    127.0.0.0/9\n    198.51.100.9", "allow = 127.0.0.3"),
        route("nobody", "connections_per_ip = 1", pool="nobody"),
        route("drained", "connections_per_ip = 1", pool="drained"),
        f"[pool:main]\nmax_fails = 0\nupstreams = {url}",
        f"[pool:drained]\nmax_fails = 0\nupstreams = {url} name=a",
        f"[pool:nobody]\nmax_fails = 0\nupstreams = ws://127.0.0.1:{free_port()}",
        ADMIN,
        "[log]\nformat = json",
    ]
    return "\n".join(rows) + "\n"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Give a folder whose path is short enough for sockets."""
    with TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module")
def port6() -> int:
    return free_port() if has_ipv6() else 0


@pytest.fixture(scope="module", params=["native", "python"])
def data_path(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def relay(
    data_path: str, upstream: RawUpstream, folder: Path, port6: int
) -> Iterator[RelayProcess]:
    with started_relay(ini(data_path, upstream.url, port6), folder) as process:
        yield process


_mine = itertools.count(21)


@pytest.fixture
def me() -> str:
    """Give an address of this machine that no other test has: a client nobody has counted."""
    number = next(_mine)
    return f"127.0.{number // 200}.{number % 200 + 10}"


def ask(stage: Stage, path: str, *more: bytes, me: str = "127.0.0.1", door: str = "main") -> Wire:
    """Connect from an address, and send a handshake."""
    sock = socket.create_connection(("127.0.0.1", stage.relay.ports[door]), source_address=(me, 0))
    client = stage.keep(Wire(sock))
    client.send(handshake(path.encode(), *more))
    return client


def joined(stage: Stage, client: Wire) -> Wire:
    """Let the upstream take the session that *client* has asked for; return its end."""
    upstream = stage.accept()
    upstream.read_head()
    upstream.send(switching())
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    return upstream


def begin(
    stage: Stage, path: str, *more: bytes, me: str = "127.0.0.1", door: str = "main"
) -> tuple[Wire, Wire]:
    client = ask(stage, path, *more, me=me, door=door)
    return client, joined(stage, client)


def check_refused(
    stage: Stage, client: Wire, status: int, refusal: str, start: int, before: float
) -> Answer:
    """Check the answer, the line in the access log, and the metric."""
    answer = read_answer(client)
    check_own_answer(answer, status)
    _, event = stage.relay.wait_for_event(start, event="refused", status=status)
    assert event["reason"] == answer.body.decode().strip()
    assert rejected(stage, refusal) == before + 1
    assert stage.upstream.is_alone()
    return answer


def rejected(stage: Stage, refusal: str) -> float:
    return Admin.of(stage.relay).metric("wsrelay_rejected_total", reason=refusal)


def line_count(stage: Stage) -> int:
    return len(stage.relay.log().splitlines())


def is_refused(client: Wire, status: int = 429) -> bool:
    answer = read_answer(client)
    client.close()
    return answer.status == status


def sessions_of(stage: Stage, route: str) -> int:
    return sum(each["route"] == route for each in Admin.of(stage.relay).sessions())


def check_room_for(stage: Stage, path: str, me: str, count: int) -> None:
    """Check that so many sessions may begin now, and no more: every count has gone back."""
    wait_until(lambda: sessions_of(stage, path.strip("/")) == 0, "the end of all sessions")
    pairs = [begin(stage, path, me=me) for _ in range(count)]
    assert is_refused(ask(stage, path, me=me))
    for pair in pairs:
        end_normally(*pair)


# who may come in


@pytest.mark.parametrize(
    ("path", "more", "refusal"),
    [
        ("/far", (), "address"),
        ("/pages", (), "origin"),
        ("/pages", (b"Origin: https://evil.example.com",), "origin"),
        ("/pages", (b"Origin: null",), "origin"),
        ("/pages", (b"Origin: " + PAGE, b"Origin: " + PAGE), "origin"),
    ],
)
def test_who_may_not_is_told_so_and_no_upstream_hears_of_it(
    stage: Stage, me: str, path: str, more: tuple[bytes, ...], refusal: str
) -> None:
    start, before = line_count(stage), rejected(stage, refusal)
    client = ask(stage, path, *more, me=me)
    answer = check_refused(stage, client, 403, refusal, start, before)
    assert answer.get(b"Retry-After") is None


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/near", ()),
        ("/pages", (b"Origin: " + PAGE,)),
        ("/pages", (b"Origin: http://r.test",)),
    ],
)
def test_who_may_has_a_session(stage: Stage, me: str, path: str, more: tuple[bytes, ...]) -> None:
    end_normally(*begin(stage, path, *more, me=me))


def test_the_most_specific_network_decides(stage: Stage) -> None:
    end_normally(*begin(stage, "/far", me="127.0.0.3"))
    assert is_refused(ask(stage, "/far", me="127.0.0.4"), 403)


def test_plain_requests_are_asked_for_address_and_origin_only(stage: Stage, me: str) -> None:
    def get(path: bytes, *more: bytes) -> Wire:
        where = "127.0.0.1", stage.relay.ports["main"]
        client = stage.keep(Wire(socket.create_connection(where, source_address=(me, 0))))
        head = lines(b"GET %b HTTP/1.1" % path, b"Host: r.test", b"Connection: close", *more)
        client.send(head)
        return client

    def passes(path: bytes, *more: bytes) -> bool:
        client = get(path, *more)
        upstream = stage.accept()
        upstream.read_head()
        upstream.send(lines(b"HTTP/1.1 200 OK", b"Content-Length: 0", b"Connection: close"))
        upstream.close()
        return read_answer(client).status == 200

    assert passes(b"/pages")
    assert passes(b"/pages", b"Origin: " + PAGE)
    assert is_refused(get(b"/pages", b"Origin: https://evil.example.com"), 403)
    assert is_refused(get(b"/far"), 403)
    assert all(passes(b"/rare") for _ in range(4))


# how many, and how often


def test_so_many_connections_and_no_more(stage: Stage, me: str) -> None:
    pairs = [begin(stage, "/two", me=me) for _ in range(2)]
    start, before = line_count(stage), rejected(stage, "too-many-connections")
    client = ask(stage, "/two", me=me)
    answer = check_refused(stage, client, 429, "too-many-connections", start, before)
    assert answer.get(b"Retry-After") == b"5"
    end_normally(*begin(stage, "/two", me="127.0.0.9"))
    for pair in pairs:
        end_normally(*pair)
    check_room_for(stage, "/two", me, 2)


def test_so_many_handshakes_and_no_more(stage: Stage, me: str) -> None:
    for _ in range(2):
        end_normally(*begin(stage, "/rare", me=me))
    start, before = line_count(stage), rejected(stage, "too-many-handshakes")
    client = ask(stage, "/rare", me=me)
    answer = check_refused(stage, client, 429, "too-many-handshakes", start, before)
    assert 50 < int(answer.get(b"Retry-After") or b"") <= 60


# who that is


def forwarded(address: str) -> bytes:
    return b"X-Forwarded-For: " + address.encode()


def test_whom_a_trusted_proxy_names_is_counted(stage: Stage) -> None:
    near = {"door": "behind"}
    pairs = [begin(stage, "/two", forwarded("198.51.100.1"), **near) for _ in range(2)]
    assert is_refused(ask(stage, "/two", forwarded("198.51.100.1"), **near))
    assert is_refused(ask(stage, "/two", forwarded("10.9.8.7, 198.51.100.1"), **near))
    assert is_refused(ask(stage, "/two", forwarded("::ffff:198.51.100.1"), **near))
    pairs.append(begin(stage, "/two", forwarded("198.51.100.1, 198.51.100.2"), **near))
    assert is_refused(ask(stage, "/far", forwarded("198.51.100.9"), **near), 403)
    for pair in pairs:
        end_normally(*pair)


@pytest.mark.parametrize("door", ["main", "behind"])
def test_what_a_stranger_says_of_itself_counts_for_nothing(
    stage: Stage, me: str, door: str
) -> None:
    pairs = [
        begin(stage, "/two", forwarded(f"198.51.100.{number}"), me=me, door=door)
        for number in range(2)
    ]
    assert is_refused(ask(stage, "/two", forwarded("198.51.100.7"), me=me, door=door))
    assert is_refused(ask(stage, "/far", forwarded("127.0.0.3"), me=me, door=door), 403)
    for pair in pairs:
        end_normally(*pair)


def test_of_ipv6_a_network_is_one_client(stage: Stage) -> None:
    near = {"door": "behind"}
    pairs = [begin(stage, "/two", forwarded(f"2001:db8:1:2::{n}"), **near) for n in range(2)]
    assert is_refused(ask(stage, "/two", forwarded("2001:db8:1:2:3:4:5:6"), **near))
    pairs.append(begin(stage, "/two", forwarded("2001:db8:1:3::1"), **near))
    for pair in pairs:
        end_normally(*pair)


@needs_ipv6
def test_a_client_that_comes_by_ipv6(stage: Stage, port6: int) -> None:
    def connect(path: bytes) -> Wire:
        client = stage.keep(Wire(socket.create_connection(("::1", port6))))
        client.send(handshake(path))
        return client

    clients = [connect(b"/two")]
    others = [joined(stage, clients[0])]
    clients.append(connect(b"/two"))
    others.append(joined(stage, clients[1]))
    assert is_refused(connect(b"/two"))
    near = connect(b"/near")
    end_normally(near, joined(stage, near))
    for client, other in zip(clients, others, strict=True):
        end_normally(client, other)


def test_whom_a_proxy_header_names_is_counted(stage: Stage) -> None:
    def ask_from(last: int, path: bytes = b"/two") -> Wire:
        client = stage.connect("proxied")
        header = b"PROXY TCP4 198.51.100.%d 203.0.113.1 5000 80\r\n" % last
        client.send(header + handshake(path))
        return client

    clients = [ask_from(1)]
    others = [joined(stage, clients[0])]
    clients.append(ask_from(1))
    others.append(joined(stage, clients[1]))
    assert is_refused(ask_from(1))
    clients.append(ask_from(2))
    others.append(joined(stage, clients[2]))
    assert is_refused(ask_from(9, b"/far"), 403)
    for client, other in zip(clients, others, strict=True):
        end_normally(client, other)


def test_who_has_no_address_is_in_no_network_and_has_no_limits(
    stage: Stage, folder: Path, data_path: str
) -> None:
    def connect(path: bytes) -> Wire:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(folder / f"{data_path}.sock"))
        client = stage.keep(Wire(sock))
        client.send(handshake(path))
        return client

    assert is_refused(connect(b"/near"), 403)
    clients = [connect(b"/two") for _ in range(3)]
    others = [joined(stage, client) for client in clients]
    for client, other in zip(clients, others, strict=True):
        end_normally(client, other)


# the counts go back


def by_client(client: Wire, upstream: Wire) -> None:
    client.reset()
    upstream.wait_until_gone()


def by_upstream(client: Wire, upstream: Wire) -> None:
    upstream.reset()
    client.wait_until_gone()


def by_violation(client: Wire, upstream: Wire) -> None:
    client.send(b"\xff" * 10)
    client.wait_until_gone()


def by_silence(client: Wire, upstream: Wire) -> None:
    """Neither answers the close frame, so that ``close_timeout`` has to end it."""
    client.send(masked(CLOSE, close_payload(1000)))
    client.wait_until_gone()
    upstream.wait_until_gone()


@pytest.mark.parametrize("how", [by_client, by_upstream, by_violation, by_silence, end_normally])
def test_sessions_that_end_in_any_way_count_no_more(
    stage: Stage, me: str, how: Callable[[Wire, Wire], None]
) -> None:
    for _ in range(2):
        for pair in [begin(stage, "/two", me=me) for _ in range(2)]:
            how(*pair)
        wait_until(lambda: sessions_of(stage, "two") == 0, "the end of all sessions")
    check_room_for(stage, "/two", me, 2)


@pytest.mark.parametrize(
    "answer",
    [
        lines(b"HTTP/1.1 403 Forbidden", b"Content-Length: 0"),
        lines(b"HTTP/1.1 101 Switching Protocols"),
        b"",
    ],
    ids=["refused", "broken", "gone"],
)
def test_handshakes_that_an_upstream_refuses_count_no_more(
    stage: Stage, me: str, answer: bytes
) -> None:
    for _ in range(4):
        client = ask(stage, "/two", me=me)
        upstream = stage.accept()
        upstream.read_head()
        upstream.send(answer)
        upstream.close()
        assert read_answer(client).status in (403, 502)
    check_room_for(stage, "/two", me, 2)


def test_handshakes_that_find_no_upstream_count_no_more(stage: Stage, me: str) -> None:
    for _ in range(4):
        assert is_refused(ask(stage, "/nobody", me=me), 502)


def test_clients_that_do_not_wait_for_the_answer_count_no_more(stage: Stage, me: str) -> None:
    for _ in range(4):
        client = ask(stage, "/two", me=me)
        stage.accept().read_head()
        start = line_count(stage)
        client.reset()
        stage.relay.wait_for_event(start, event="refused", status=499)
    check_room_for(stage, "/two", me, 2)


def test_sessions_that_are_drained_count_no_more(stage: Stage, me: str) -> None:
    admin = Admin.of(stage.relay)
    client, upstream = begin(stage, "/drained", me=me)
    assert is_refused(ask(stage, "/drained", me=me))
    admin.order("PATCH", "/api/pools/drained/upstreams/a", {"state": "drain"})
    answer_close(client, upstream)
    admin.order("PATCH", "/api/pools/drained/upstreams/a", {"state": "ready"})
    check_room_for(stage, "/drained", me, 1)


# reloads


def test_a_reload_keeps_the_counts(upstream: RawUpstream, tmp_path: Path, data_path: str) -> None:
    def text(connections: int, rate: str) -> str:
        guards = f"connections_per_ip = {connections}\nhandshakes_per_ip = {rate}"
        return (
            f"[relay]\ndata_path = {data_path}\n[listener:main]\nendpoint = {LOCAL}\n"
            f"[route:main]\npool = main\n{guards}\n[pool:main]\nupstreams = {upstream.url}\n"
        )

    with started_relay(text(2, "1/m burst 4"), tmp_path) as relay:
        stage = Stage(relay, upstream)
        pairs = [begin(stage, "/") for _ in range(2)]
        relay.reload(text(2, "1/m burst 5"))
        assert b"too many connections" in read_answer(ask(stage, "/")).body
        relay.reload(text(3, "1/m burst 5"))
        pairs.append(begin(stage, "/"))
        assert b"too many connections" in read_answer(ask(stage, "/")).body
        assert b"too often" in read_answer(ask(stage, "/")).body
        for pair in pairs:
            end_normally(*pair)
        relay.reload(text(3, "1000/s"))
        pairs = [begin(stage, "/") for _ in range(3)]
        assert is_refused(ask(stage, "/"))
        stage.close()
    check_log_is_calm(relay.log())
