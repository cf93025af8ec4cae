"""The body of a request on its way up: as it comes, no faster than it is taken, within limits."""

from __future__ import annotations

from itertools import pairwise

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http.plain import OK, answer, ask, check_over, in_chunks, take
from tests.relay.support import HIGH_WATER, READ_SIZE, FakeTransport
from tests.relay.world import ROUTE, UPSTREAMS, World
from wsrelay.http.upload import MAX_HELD

BIG = 10_000_000
POST_BIG = ask("/", f"Content-Length: {BIG}", method="POST")
POST_CHUNKED = ask("/", "Transfer-Encoding: chunked", method="POST")


def one_place(**options: object) -> World:
    """Make a relay whose only upstream takes one request at a time, and others wait."""
    return World(
        upstreams=[evolve(UPSTREAMS[0], max_connections=1)], queue_timeout=100.0, **options
    )


def test_pieces_go_up_as_they_come() -> None:
    world = World()
    client = world.ask(ask("/", "Content-Length: 6", method="PUT"))
    upstream = world.accept()
    for piece in (b"abc", b"d", b"ef"):
        world.send(client, piece)
        assert upstream.received.endswith(b"\r\n\r\n" + b"abcdef"[: b"abcdef".index(piece)] + piece)
    world.send(upstream, OK)
    assert take(client).get("Connection") is None
    check_over(world)


def test_chunks_go_up_as_chunks_as_they_come() -> None:
    world = World()
    client = world.ask(POST_CHUNKED)
    upstream = world.accept()
    upstream.received.clear()
    for sent, seen in (
        (b"3;a=b\r\nab", b"2\r\nab\r\n"),
        (b"c\r\n", b"1\r\nc\r\n"),
        (b"2\r\nde\r\n1\r\nf\r\n", b"3\r\ndef\r\n"),
        (b"0\r\nTrailer: x\r\n", b""),
        (b"\r\n", b"0\r\n\r\n"),
    ):
        world.send(client, sent)
        assert bytes(upstream.received) == seen
        upstream.received.clear()
    world.send(upstream, OK)
    assert take(client).status == 200
    assert world.observer.exchanges[0][1].bytes_up == 6
    check_over(world)


def test_an_empty_chunked_body_is_one() -> None:
    world = World()
    client = world.ask(POST_CHUNKED + b"0\r\n\r\n")
    upstream = world.accept()
    assert take(upstream).body == b""
    world.send(upstream, OK)
    assert take(client).get("Connection") is None
    check_over(world)


def test_what_comes_behind_a_body_is_the_next_request() -> None:
    world = World()
    client = world.ask(POST_CHUNKED + in_chunks(b"abc", b"de") + ask("/next"))
    upstream = world.accept()
    assert take(upstream).body == b"abcde"
    world.send(upstream, OK)
    world.advance(0)
    assert take(upstream).target == "/next"
    world.send(upstream, answer(body=b"next"))
    assert client.received.endswith(b"next")
    check_over(world)


# waiting for an upstream


def test_no_more_than_64_kib_wait_for_an_upstream() -> None:
    world = one_place()
    first = world.ask(ask())
    second = world.ask(POST_BIG)
    for _ in range(20):
        world.send(second, bytes(10_000))
    assert not second.reading
    world.advance(90)  # longer than http_timeout, but it is not the client's fault
    world.send(world.accept(), OK)
    assert take(first).status == 200
    assert second.reading
    upstream = world.transports[-1]
    # The first one's connection is asked again.
    body = bytes(upstream.received).partition(b"\r\n\r\n")[2].partition(b"\r\n\r\n")[2]
    assert len(body) == 200_000
    world.leave_all()
    world.advance(1)
    check_over(world)


def test_a_whole_body_may_wait_for_longer_than_the_client_may_pause() -> None:
    world = one_place()
    first = world.ask(ask())
    second = world.ask(ask(method="POST", body=b"x" * MAX_HELD))
    upstream = world.accept()
    world.advance(59)
    world.send(upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    world.advance(40)
    take(upstream)
    world.send(upstream, b"ok")
    assert take(first).status == 200
    assert len(take(upstream).body) == MAX_HELD
    world.send(upstream, OK)
    assert take(second).get("Connection") is None
    assert len(world.dials) == 1
    world.advance(1)
    check_over(world)


def test_a_client_that_leaves_the_queue_is_a_499() -> None:
    world = one_place()
    first = world.ask(ask())
    second = world.ask(ask(method="POST", body=b"abc"))
    world.end(second)
    assert [facts.status for facts in world.observer.refused_facts] == [499]
    world.send(world.accept(), OK)
    assert take(first).status == 200
    world.advance(1)
    check_over(world)


def test_many_small_pieces_that_wait_arrive_in_order() -> None:
    world = World()
    client = world.ask(ask("/", "Content-Length: 3000", method="POST"))
    for number in range(1000):
        client.peer_sends(b"%03d" % number)
    world.settle()
    upstream = world.accept()
    assert take(upstream).body == b"".join(b"%03d" % number for number in range(1000))
    world.send(upstream, OK)
    check_over(world)


# an upstream that takes its time


def push(world: World, count: int) -> tuple[FakeTransport, FakeTransport]:
    """Let a client send so many pieces of 50,000 bytes to an upstream that takes nothing of it."""
    client = world.ask(POST_BIG)
    upstream = world.accept()
    upstream.stalled = True
    for _ in range(count):
        client.peer_sends(bytes(50_000))
    world.settle()
    return client, upstream


def test_a_client_is_not_read_while_the_upstream_takes_nothing() -> None:
    world = World()
    client, upstream = push(world, 20)
    assert not client.reading
    assert len(upstream.buffer) <= HIGH_WATER + READ_SIZE + 1000
    upstream.stalled = False
    world.settle()
    assert client.reading
    assert len(bytes(upstream.received).partition(b"\r\n\r\n")[2]) == 1_000_000
    check_over(world)


def test_an_upstream_that_takes_nothing_is_too_slow() -> None:
    world = World()
    client = world.ask(POST_BIG)
    upstream = world.accept()
    upstream.stalled = True
    world.advance(30)
    for _ in range(20):
        client.peer_sends(bytes(50_000))
    world.settle()
    world.advance(59)
    assert client.received == b""
    world.advance(1)
    got = take(client)
    assert (got.status, got.get("Connection")) == (504, "close")
    assert upstream.aborted
    assert client.reading, "what is left of the body is read and dropped, so the answer arrives"
    check_over(world)


def test_an_upstream_has_its_whole_time_from_the_bodys_end() -> None:
    world = World()
    client = world.ask(ask("/", "Content-Length: 3", method="POST"))
    upstream = world.accept()
    for byte in b"abc":
        world.advance(59)
        world.send(client, bytes([byte]))
    world.advance(59)
    assert client.received == b""
    world.advance(1)
    assert take(client).status == 504
    assert upstream.aborted
    check_over(world)


# a client that takes its time


@pytest.mark.parametrize("begun", [b"", b"abc"])
@pytest.mark.parametrize("connects_after", [0, 3])
def test_a_client_that_stands_still_in_its_body_gets_408(begun: bytes, connects_after: int) -> None:
    world = World()
    client = world.ask(POST_BIG + begun)
    world.advance(connects_after)
    upstream = world.accept()
    world.advance(30)
    world.send(client, b"d")
    world.advance(59)
    assert client.received == b""
    world.advance(1)
    got = take(client)
    assert (got.status, got.get("Connection")) == (408, "close")
    assert upstream.aborted
    assert [facts.refusal for facts in world.observer.refused_facts] == ["too-slow"]
    assert world.pool.upstreams[0].failures == 0
    check_over(world)


def test_a_client_has_its_time_anew_when_the_upstream_takes_more() -> None:
    world = World()
    client, upstream = push(world, 4)
    world.advance(50)
    upstream.stalled = False
    world.settle()
    world.advance(59)
    assert client.received == b""
    world.advance(1)
    assert take(client).status == 408
    check_over(world)


def test_a_client_that_waits_for_100_is_not_to_blame_for_the_upstreams_silence() -> None:
    world = World()
    client = world.ask(ask("/", "Content-Length: 3", "Expect: 100-continue", method="POST"))
    world.advance(3)
    world.accept()
    world.advance(59.9)
    assert client.received == b""
    world.advance(0.2)
    assert take(client).status == 504
    check_over(world)


def test_a_client_that_waits_for_100_in_the_queue_may_do_so() -> None:
    world = one_place()
    first = world.ask(ask())
    second = world.ask(ask("/", "Content-Length: 3", "Expect: 100-continue", method="POST"))
    upstream = world.accept()
    world.advance(59)
    world.send(upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    world.advance(30)
    assert second.received == b""
    world.send(upstream, b"ok")
    assert take(first).status == 200
    world.send(upstream, b"HTTP/1.1 100 Continue\r\n\r\n")
    world.send(second, b"abc")
    world.send(upstream, OK)
    assert second.received.endswith(OK)
    world.advance(1)
    check_over(world)


@pytest.mark.parametrize("begins", [True, False])
def test_a_client_that_was_told_to_continue_is_awaited(begins: bool) -> None:
    """It was, or it began without."""
    world = World()
    client = world.ask(ask("/", "Content-Length: 3", "Expect: 100-continue", method="POST"))
    upstream = world.accept()
    if begins:
        world.send(client, b"a")
    else:
        world.send(upstream, b"HTTP/1.1 100 Continue\r\n\r\n")
        client.received.clear()
    world.advance(59)
    assert client.received == b""
    world.advance(1)
    assert take(client).status == 408
    check_over(world)


def test_other_interim_answers_do_not_begin_the_upstreams_time_while_the_client_is_awaited() -> (
    None
):
    world = World()
    client = world.ask(ask("/", "Content-Length: 3", method="POST"))
    upstream = world.accept()
    world.advance(10)
    world.send(upstream, b"HTTP/1.1 103 Early Hints\r\n\r\n")
    client.received.clear()
    world.advance(50)
    assert take(client).status == 408
    check_over(world)


def test_an_unasked_100_while_the_upstream_takes_nothing_is_not_the_clients_turn() -> None:
    world = World()
    client, upstream = push(world, 4)
    world.send(upstream, b"HTTP/1.1 100 Continue\r\n\r\n")
    client.received.clear()
    world.advance(60)
    assert take(client).status == 504
    check_over(world)


def test_without_http_timeout_a_client_may_take_days() -> None:
    world = World(evolve(ROUTE, http_timeout=None))
    client = world.ask(ask("/", "Content-Length: 2", method="POST"))
    upstream = world.accept()
    for byte in b"ab":
        world.advance(200_000)
        world.send(client, bytes([byte]))
    world.advance(200_000)
    world.send(upstream, OK)
    assert take(client).status == 200
    check_over(world)


# bodies that are no good


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("in_one", [True, False])
def test_a_bad_chunk_is_a_400_and_the_upstream_is_dropped(connected: bool, in_one: bool) -> None:
    world = World()
    bad = b"xyz\r\n"
    client = world.ask(POST_CHUNKED + b"3\r\nabc\r\n" + (bad if in_one and not connected else b""))
    if connected:
        world.accept()
        world.send(client, bad)
    elif not in_one:
        world.send(client, bad)
    got = take(client)
    assert (got.status, got.get("Connection")) == (400, "close")
    assert [facts.refusal for facts in world.observer.refused_facts] == ["malformed"]
    assert all(dial.over for dial in world.dials)
    assert all(each.aborted for each in world.transports[1:])
    check_over(world)


def test_a_body_that_is_over_the_limit_at_once_asks_nobody() -> None:
    world = World(evolve(ROUTE, max_body_size=100))
    client = world.ask(POST_CHUNKED + in_chunks(b"x" * 101))
    assert take(client).status == 413
    assert world.dials == []
    check_over(world)


def test_a_chunked_body_may_be_as_long_as_the_limit_and_no_longer() -> None:
    world = World(evolve(ROUTE, max_body_size=100))
    client = world.ask(POST_CHUNKED + in_chunks(b"x" * 60, b"x" * 40))
    upstream = world.accept()
    world.send(upstream, OK)
    assert take(client).status == 200
    world.send(client, POST_CHUNKED + b"3c\r\n" + b"x" * 60)
    world.send(client, b"\r\n29\r\n" + b"x" * 41)
    got = take(client)
    assert (got.status, got.get("Connection")) == (413, "close")
    assert upstream.aborted
    assert [facts.refusal for facts in world.observer.refused_facts] == ["body-too-large"]
    check_over(world)


def test_a_bad_chunk_behind_the_beginning_of_the_answer_breaks_it_off() -> None:
    world = World()
    client = world.ask(POST_CHUNKED)
    upstream = world.accept()
    world.send(upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    world.send(client, b"xyz\r\n")
    assert client.aborted
    assert upstream.aborted
    assert len(world.observer.exchanges) == 1
    assert world.observer.refusals == []
    check_over(world)


# ends in the body


@pytest.mark.parametrize("resets", [True, False])
def test_a_client_that_leaves_in_its_body_drops_the_upstream(resets: bool) -> None:
    world = World()
    client = world.ask(POST_BIG + b"abc")
    upstream = world.accept()
    (world.reset if resets else world.end)(client)
    assert upstream.aborted
    assert world.observer.refusals[0][0] == 499
    check_over(world)


@pytest.mark.parametrize("resets", [True, False])
def test_an_upstream_that_ends_in_the_body_is_a_502_that_can_be_read(resets: bool) -> None:
    world = World()
    client = world.ask(POST_BIG)
    upstream = world.accept()
    (world.reset if resets else world.end)(upstream)
    got = take(client)
    assert (got.status, got.get("Connection")) == (502, "close")
    assert client.eof
    assert client.reading
    world.send(client, bytes(100_000))
    assert not client.aborted
    assert len(world.dials) == 1
    check_over(world)


# early answers


def early(world: World) -> tuple[FakeTransport, FakeTransport]:
    """Let an upstream answer in the middle of a body."""
    client = world.ask(POST_BIG + bytes(1000))
    upstream = world.accept()
    world.send(upstream, answer(status="413 Content Too Large", body=b"too much"))
    return client, upstream


def test_an_early_answer_passes_and_the_connection_ends_properly() -> None:
    world = World()
    client, upstream = early(world)
    got = take(client)
    assert (got.status, got.body, got.get("Connection")) == (413, b"too much", "close")
    assert client.eof
    assert upstream.lost
    for _ in range(10):
        world.send(client, bytes(50_000))
    assert not client.aborted, "a reset would take the answer away"
    world.end(client)
    [(facts, what)] = world.observer.exchanges
    assert (facts.status, what.problem) == (413, "")
    check_over(world)


def test_an_early_answer_to_a_client_that_goes_on_and_on_ends_in_time() -> None:
    world = World()
    client, _ = early(world)
    for _ in range(100):
        world.advance(1)
        world.send(client, bytes(1000))
    assert client.lost
    check_over(world)


def test_a_body_goes_up_while_its_answer_comes_down() -> None:
    """As with an application that echoes."""
    world = World()
    client = world.ask(POST_CHUNKED)
    upstream = world.accept()
    world.send(upstream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    upstream.received.clear()
    for _ in range(3):
        client.received.clear()
        world.advance(40)
        world.send(client, b"3\r\nabc\r\n")
        assert upstream.received.endswith(b"3\r\nabc\r\n")
        world.send(upstream, b"3\r\nABC\r\n")
        assert bytes(client.received) == b"3\r\nABC\r\n"
    world.send(client, b"0\r\n\r\n")
    world.send(upstream, b"0\r\n\r\n")
    assert client.eof
    check_over(world)


def test_an_early_answer_stops_the_clients_time() -> None:
    world = World(evolve(ROUTE, http_timeout=10.0))
    client = world.ask(POST_BIG)
    upstream = world.accept()
    world.send(upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    for _ in range(10):
        world.advance(9)
        world.send(upstream, b"0123456789")
    assert take(client).body == b"0123456789" * 10
    check_over(world)


def test_an_early_answer_while_the_client_is_not_read_has_it_read_to_the_end() -> None:
    world = World()
    client, upstream = push(world, 20)
    assert not client.reading
    world.send(upstream, answer(status="403 Forbidden"))
    assert take(client).status == 403
    assert client.reading
    check_over(world)


def test_a_connection_with_a_rest_of_a_body_to_send_is_not_asked_again() -> None:
    """The next request would overtake that rest."""
    world = World()
    client = world.ask(ask("/", "Content-Length: 2000", method="POST"))
    upstream = world.accept()
    upstream.stalled = True
    world.send(client, bytes(2000))
    world.send(upstream, OK)
    assert take(client).get("Connection") is None
    world.send(client, ask("/next"))
    assert upstream.lost
    upstream = world.accept()
    assert take(upstream).target == "/next"
    world.send(upstream, OK)
    assert take(client).status == 200
    check_over(world)


# any body, however it is cut


@settings(max_examples=150, deadline=None)
@given(
    pieces=st.lists(st.binary(min_size=1, max_size=40), max_size=8),
    chunked=st.booleans(),
    cuts=st.lists(st.integers(0, 1000), max_size=8),
    accept_at=st.integers(0, 9),
    down_framing=st.sampled_from(["length", "chunked", "close"]),
)
def test_any_body_arrives_whole_both_ways_however_it_is_cut(
    pieces: list[bytes], chunked: bool, cuts: list[int], accept_at: int, down_framing: str
) -> None:
    body = b"".join(pieces)
    world = World()
    request = (
        POST_CHUNKED + in_chunks(*pieces) if chunked else ask("/", method="POST", body=body)
    ) + ask("/next")
    parts = cut(request, cuts)
    client = world.client()
    upstream = None
    for number, part in enumerate(parts):
        world.send(client, part)
        if upstream is None and number >= accept_at and world.dials:
            upstream = world.accept()
    upstream = upstream or world.accept()
    assert take(upstream).body == body
    if down_framing == "length":
        down = answer("X: y", body=body)
    elif down_framing == "chunked":
        down = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + in_chunks(*pieces)
    else:
        down = b"HTTP/1.1 200 OK\r\n\r\n" + body
    for part in cut(down, cuts):
        world.send(upstream, part)
    if down_framing == "close":
        world.end(upstream)
    assert take(client).body == body
    world.advance(0)
    upstream = world.accept() if down_framing == "close" else upstream
    assert take(upstream).target == "/next"
    world.send(upstream, OK)
    assert take(client).status == 200
    check_over(world)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    parts = [data[start:end] for start, end in pairwise(edges)]
    return [part for part in parts if part]
