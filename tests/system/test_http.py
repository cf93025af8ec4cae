"""Plain HTTP through a real relay, over real sockets."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http.plain import OK, answer, ask, in_chunks
from tests.support import RelayProcess, free_port, started_relay
from tests.system.support import (
    LOCAL,
    TEXT,
    RawUpstream,
    Stage,
    Wire,
    check_ended,
    check_log_is_calm,
    end_normally,
    frame,
    handshake,
    masked,
    read_data,
    refuses,
    rss,
    switching,
    wait_until,
)
from tests.system.web import read_chunk, receive, receive_head

pytestmark = pytest.mark.peers

MIB = 1024 * 1024
POST = ask("/", method="POST", body=b"one order")


def config(upstream: RawUpstream, data_path: str = "auto", relay: str = "") -> str:
    return "\n".join(
        [
            f"[relay]\ndata_path = {data_path}\n{relay}",
            f"[listener:main]\nendpoint = {LOCAL}",
            "[route:main]\npool = main\nhttp_timeout = 1h",
            "[route:hasty]\npath = /hasty\npool = main\nhttp_timeout = 300ms",
            "[route:second]\npath = /second\npool = second",
            "[route:named]\npath = /named\npool = named",
            f"[pool:named]\nmax_fails = 0\nupstreams = ws://localhost:{upstream.port}",
            f"[pool:main]\nmax_fails = 0\nupstreams = {upstream.url}",
            "[pool:second]\nmax_fails = 0\nbalancer = first\nupstreams =",
            f"  ws://127.0.0.1:{free_port()}",
            f"  {upstream.url}",
            "[log]\nformat = json",
        ]
    )


@pytest.fixture(scope="module", params=["native", "python"])
def relay(
    request: pytest.FixtureRequest,
    upstream: RawUpstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RelayProcess]:
    folder = tmp_path_factory.mktemp("relay")
    with started_relay(config(upstream, request.param), folder) as process:
        yield process


def begin(stage: Stage, request: bytes = b"") -> tuple[Wire, Wire]:
    """Bring one request about; return the connections, both of which are kept."""
    client = stage.connect()
    client.send(ask())
    upstream = stage.accept()
    receive(upstream)
    upstream.send(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=60\r\nContent-Length: 0\r\n\r\n")
    assert receive(client).status == 200
    if request:
        client.send(request)
    return client, upstream


# connections


def test_both_connections_serve_many_requests(stage: Stage) -> None:
    client, upstream = begin(stage)
    for number in range(20):
        body = b"%d" % number * number
        client.send(ask(f"/{number}", method="POST", body=body))
        request = receive(upstream)
        assert (request.target, request.body) == (f"/{number}", body)
        upstream.send(answer("Keep-Alive: timeout=60", body=body))
        assert receive(client).body == body
    assert stage.upstream.is_alone()
    stage.relay.wait_for_event(event="http", path="/19", status=200)


def test_requests_sent_at_once_are_answered_in_their_order(stage: Stage) -> None:
    client, upstream = begin(stage, ask("/1") + POST + ask("/3"))
    for number in (1, 2, 3):
        receive(upstream)
        assert not upstream.has_data()
        upstream.send(answer(body=b"%d" % number))
    assert [receive(client).body for _ in range(3)] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("request_", [ask("/gone"), ask("/gone", method="POST", body=b"x")])
def test_a_request_is_not_sent_again_when_a_kept_connection_dies_with_it(
    stage: Stage, request_: bytes
) -> None:
    client, upstream = begin(stage, request_)
    receive(upstream)
    upstream.close()
    assert receive(client).status == 502
    assert stage.upstream.is_alone()
    _, record = stage.relay.wait_for_event(event="refused", path="/gone", status=502)
    assert record["attempts"] == 1


def test_a_post_is_not_sent_again_when_a_new_connection_dies_with_it(stage: Stage) -> None:
    client = stage.connect()
    client.send(POST)
    upstream = stage.accept()
    assert receive(upstream).body == b"one order"
    upstream.reset()
    assert receive(client).status == 502
    assert stage.upstream.is_alone()


def test_a_post_goes_to_another_upstream_when_one_refuses_the_connection(stage: Stage) -> None:
    client = stage.connect()
    client.send(ask("/second", method="POST", body=b"one order"))
    upstream = stage.accept()
    assert receive(upstream).body == b"one order"
    upstream.send(answer("Connection: close"))
    assert receive(client).status == 200
    _, record = stage.relay.wait_for_event(event="http", path="/second")
    assert record["attempts"] == 2


def test_a_client_that_leaves_drops_its_upstream_and_is_a_499(stage: Stage) -> None:
    client = stage.connect()
    client.send(ask("/left"))
    upstream = stage.accept()
    receive(upstream)
    client.close()
    upstream.wait_until_gone()
    stage.relay.wait_for_event(event="refused", path="/left", status=499)


def test_an_upstream_that_says_nothing_is_a_504(stage: Stage) -> None:
    client = stage.connect()
    client.send(ask("/hasty"))
    upstream = stage.accept()
    assert receive(client).status == 504
    upstream.wait_until_gone()


def test_http_1_0_and_an_upstream_that_ends_its_answer_by_leaving(stage: Stage) -> None:
    client = stage.connect()
    client.send(b"GET /old HTTP/1.0\r\n\r\n")
    upstream = stage.accept()
    assert receive(upstream).target == "/old"
    upstream.send(b"HTTP/1.0 200 OK\r\n\r\nhello")
    upstream.close()
    head, _, body = client.read_to_end().partition(b"\r\n\r\n")
    assert b"\r\nConnection: close" in head
    assert body == b"hello"


# answers


def test_events_arrive_one_by_one(stage: Stage) -> None:
    client, upstream = begin(stage, ask("/events"))
    receive(upstream)
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    assert receive_head(client).get("Transfer-Encoding") == "chunked"
    for number in range(50):
        event = b"data: %d\n\n" % number
        upstream.send(event)
        assert read_chunk(client) == event
    upstream.close()
    assert read_chunk(client) == b""
    client.send(ask())
    receive(stage.accept())


def test_an_answer_that_breaks_off_is_not_taken_for_whole(stage: Stage) -> None:
    client, upstream = begin(stage, ask("/broken"))
    receive(upstream)
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    receive_head(client)
    assert read_chunk(client) == b"abc"
    upstream.close()
    with pytest.raises(ConnectionResetError):
        client.read_to_end()
    _, record = stage.relay.wait_for_event(event="http", path="/broken")
    assert record["reason"]


def test_interim_answers_and_100_continue_pass(stage: Stage) -> None:
    client, upstream = begin(stage)
    client.send(ask("/", "Expect: 100-continue", "Content-Length: 3", method="PUT"))
    assert receive_head(upstream).get("Expect") == "100-continue"
    assert not client.has_data()
    upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.read_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"abc")
    assert upstream.read(3) == b"abc"
    upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    assert receive_head(client).get("Link") == "</a>"
    upstream.send(OK)
    assert receive(client).status == 200


def test_head_and_chunks_and_what_has_no_body_keep_the_connection(stage: Stage) -> None:
    client, upstream = begin(stage)
    client.send(ask(method="HEAD"))
    receive(upstream)
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
    assert receive(client, has_body=False).get("Content-Length") == "500"
    client.send(ask("/", "Transfer-Encoding: chunked", method="POST") + in_chunks(b"abc", b"de"))
    assert receive(upstream).body == b"abcde"
    upstream.send(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n")
    assert receive(client).get("ETag") == "x"
    client.send(ask())
    receive(upstream)
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + in_chunks(b"abc"))
    assert receive(client).body == b"abc"


@pytest.mark.parametrize("path", ["/early", "/named"])
@pytest.mark.parametrize("number", range(15))
def test_an_early_refusal_arrives_although_the_upstream_leaves_at_once(
    stage: Stage, number: int, path: str
) -> None:
    """It closes with a body before it that it did not read, so that its connection is reset."""
    client = stage.connect()
    client.send(ask(path, f"Content-Length: {40 * MIB}", method="POST"))
    upstream = stage.accept()
    upstream.read_head()
    body = bytes(MIB)

    def upload() -> None:
        with contextlib.suppress(OSError):  # in the end nobody reads it
            for _ in range(40):
                client.sock.sendall(body)

    sender = threading.Thread(target=upload)
    sender.start()
    upstream.read(number * 10_000)
    upstream.send(answer(status="413 Content Too Large", body=b"too much"))
    upstream.close()
    got = receive(client)
    assert (got.status, got.body, got.get("Connection")) == (413, b"too much", "close")
    sender.join(20)
    assert not sender.is_alive()
    assert client.read_to_end() == b""


# websockets on the same connection


def test_a_websocket_begins_behind_plain_requests(stage: Stage) -> None:
    client, _ = begin(stage, handshake())
    upstream = stage.accept()
    upstream.read_head()
    upstream.send(switching())
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    client.send(masked(TEXT, b"up"))
    assert read_data(upstream).payload == b"up"
    upstream.send(frame(TEXT, b"down"))
    assert read_data(client).payload == b"down"
    end_normally(client, upstream)


def test_a_websocket_does_not_overtake_an_answer_that_is_still_to_be_read(stage: Stage) -> None:
    client = stage.connect(rcvbuf=4096)
    client.send(ask("/big") + handshake())
    upstream = stage.accept()
    receive(upstream)
    body = bytes(range(250)) * (8 * MIB // 250)
    sender = threading.Thread(target=upstream.send, args=(answer(body=body),))
    sender.start()
    got = client.read_head()
    rest = len(body) - 100_000  # what the relay holds, and more
    received = client.read(rest)
    session = stage.accept()
    session.read_head()
    session.send(switching() + frame(TEXT, b"down"))
    received += client.read(len(body) - rest)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert received == body
    assert client.read_head().startswith(b"HTTP/1.1 101 ")
    assert read_data(client).payload == b"down"
    sender.join(20)
    end_normally(client, session)


# bodies of any size


def transfer(sender: Wire, receiver: Wire, size: int, pid: int) -> tuple[int, bool]:
    """Send so many bytes from one to the other; return what the relay grew by, and if all came."""
    block = bytes(range(256)) * 1024
    wanted, got = hashlib.md5(), hashlib.md5()
    before = rss(pid)
    most = 0

    def send() -> None:
        for _ in range(size // len(block)):
            sender.sock.sendall(block)
            wanted.update(block)

    thread = threading.Thread(target=send)
    thread.start()
    left = size
    while left:
        data = receiver.read(min(left, 4 * MIB))
        left -= len(data)
        got.update(data)
        most = max(most, rss(pid))
    thread.join(20)
    return most - before, wanted.digest() == got.digest()


def test_an_upload_of_any_size_takes_no_memory(stage: Stage) -> None:
    client, upstream = begin(stage)
    for size in (16 * MIB, 256 * MIB):
        client.send(ask("/up", f"Content-Length: {size}", method="PUT"))
        receive_head(upstream)
        grown, is_whole = transfer(client, upstream, size, stage.relay.pid)
        assert is_whole
        upstream.send(answer("Keep-Alive: timeout=60"))
        assert receive(client).status == 200
    assert grown < 8 * MIB


def test_a_download_of_any_size_takes_no_memory(stage: Stage) -> None:
    client, upstream = begin(stage)
    for size in (16 * MIB, 256 * MIB):
        client.send(ask("/down"))
        receive(upstream)
        upstream.send(
            b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=60\r\nContent-Length: %d\r\n\r\n" % size
        )
        receive_head(client)
        grown, is_whole = transfer(upstream, client, size, stage.relay.pid)
        assert is_whole
    assert grown < 8 * MIB


@pytest.mark.parametrize("down", [True, False])
def test_who_takes_nothing_stops_the_sender(stage: Stage, down: bool) -> None:
    client = stage.connect(rcvbuf=64 * 1024)
    client.send(ask("/stall", *([] if down else ["Content-Length: 1000000000"]), method="POST"))
    upstream = stage.accept()
    receive_head(upstream)
    sender = client
    if down:
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        receive_head(client)
        sender = upstream
    before, sent = rss(stage.relay.pid), 0
    sender.sock.settimeout(1)
    block = bytes(256 * 1024)
    with contextlib.suppress(TimeoutError):
        while sent < 200 * MIB:
            sent += sender.sock.send(block)
    assert sent < 100 * MIB, "the sender was never stopped"
    assert rss(stage.relay.pid) - before < 8 * MIB


# the end


def ended(relay: RelayProcess) -> None:
    check_ended(relay)
    check_log_is_calm(relay.log())


def test_a_stop_waits_for_requests_and_ends_idle_connections(
    upstream: RawUpstream, tmp_path: Path
) -> None:
    upstream.is_alone()
    with started_relay(config(upstream), tmp_path) as relay:
        stage = Stage(relay, upstream)
        busy, busy_upstream = begin(stage, ask("/slow", method="POST", body=b"x"))
        receive(busy_upstream)
        idle, idle_upstream = begin(stage)
        relay.terminate()
        assert idle.read_to_end() == b""
        assert idle_upstream.read_to_end() == b""
        busy_upstream.send(answer(body=b"done"))
        got = receive(busy)
        assert (got.body, got.get("Connection")) == (b"done", "close")
        assert busy.read_to_end() == b""
        idle.close()
        busy.close()
        ended(relay)
        stage.close()


def test_a_slow_client_gets_all_of_its_answer_before_a_stop(
    upstream: RawUpstream, tmp_path: Path
) -> None:
    upstream.is_alone()
    with started_relay(config(upstream), tmp_path) as relay:
        stage = Stage(relay, upstream)
        client = stage.connect(rcvbuf=4096)
        client.send(ask())
        peer = stage.accept()
        receive(peer)
        body = bytes(range(250)) * (8 * MIB // 250)
        sender = threading.Thread(target=peer.send, args=(answer(body=body),))
        sender.start()
        head = client.read_head()
        received = client.read(len(body) - 100_000)
        relay.terminate()
        sender.join(20)
        wait_until(lambda: "Received SIGTERM" in relay.log(), "the stop")
        received += client.read_to_end()
        assert head.startswith(b"HTTP/1.1 200 ")
        assert received == body
        client.close()
        ended(relay)
        stage.close()


def test_a_second_signal_cuts_requests_off(upstream: RawUpstream, tmp_path: Path) -> None:
    upstream.is_alone()
    with started_relay(config(upstream), tmp_path) as relay:
        stage = Stage(relay, upstream)
        client, peer = begin(stage, ask("/slow"))
        receive(peer)
        relay.terminate()
        wait_until(lambda: refuses(next(iter(relay.ports.values()))), "the drain")
        assert relay.returncode is None
        relay.terminate()
        assert receive(client).status == 503
        client.close()
        ended(relay)
        stage.close()


def test_what_is_left_after_drain_timeout_is_cut_off(upstream: RawUpstream, tmp_path: Path) -> None:
    upstream.is_alone()
    text = config(upstream, relay="drain_timeout = 300ms")
    with started_relay(text, tmp_path) as relay:
        stage = Stage(relay, upstream)
        client, peer = begin(stage, ask("/slow"))
        receive(peer)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        receive_head(client)
        relay.terminate()
        client.wait_until_gone()
        peer.wait_until_gone()
        ended(relay)
        stage.close()
