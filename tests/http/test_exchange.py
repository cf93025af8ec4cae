"""A plain request: sent to an upstream as it comes, answered as that answers, never sent twice."""

from __future__ import annotations

import itertools

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError as TooLate

from tests.http.plain import (
    NO_BODY,
    OK,
    answer,
    ask,
    check_over,
    messages_in,
    read_head,
    take,
    take_all,
)
from tests.relay.support import HIGH_WATER, READ_SIZE, FakeTransport
from tests.relay.world import REQUEST, ROUTE, SWITCHING, UPSTREAMS, World, answer_in
from wsrelay.config.model import ListenerConfig, StickyConfig
from wsrelay.relay.answer import CLIENT_PATIENCE
from wsrelay.relay.client import KEEP_ALIVE, MAX_EARLY, MAX_UNSENT

POST = ask("/orders", method="POST", body=b"one order")


def keeps(client: FakeTransport) -> bool:
    """Say whether the relay lets a client ask again."""
    return not client.eof and not client.aborted and client.reading


def ask_on(world: World, client: FakeTransport, request: bytes) -> None:
    """Let a client ask again by its connection."""
    assert keeps(client)
    world.send(client, request)


# a request and its answer


def test_the_request_goes_up_and_the_answer_comes_down() -> None:
    world = World()
    client = world.ask(ask("/a%20b?c=d", "Accept: text/*", "X-Mine: 1", method="PUT", body=b"abc"))
    upstream = world.accept()
    request = take(upstream)
    assert request.first == "PUT /a%20b?c=d HTTP/1.1"
    assert request.body == b"abc"
    assert request.get("Host") == "www.example.com"
    assert request.get("Accept") == "text/*"
    assert request.get("X-Mine") == "1"
    assert request.get("X-Forwarded-For") == "192.0.2.7"
    assert request.get("Connection") is None
    world.send(upstream, answer("ETag: x", "Set-Cookie: a", "Set-Cookie: b", body=b"hello"))
    got = take(client)
    assert (got.status, got.body, got.get("ETag")) == (200, b"hello", "x")
    assert got.all("Set-Cookie") == ["a", "b"]
    assert got.get("Connection") is None
    [(facts, what)] = world.observer.exchanges
    assert (facts.method, facts.path, facts.query) == ("PUT", "/a%20b", "c=d")
    assert (facts.status, facts.upstream, facts.attempts) == (200, "a", 1)
    assert (what.bytes_up, what.bytes_down, what.problem) == (3, 5, "")
    assert world.observer.refusals == []
    assert world.active == {}
    check_over(world)


def test_an_answer_passes_piece_by_piece_as_it_comes() -> None:
    world = World()
    client = world.ask(ask("/events"))
    upstream = world.accept()
    world.send(upstream, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    head, rest = read_head(bytes(client.received))
    assert (head.get("Transfer-Encoding"), rest) == ("chunked", b"")
    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        client.received.clear()
        world.send(upstream, event)
        assert bytes(client.received) == b"%x\r\n%b\r\n" % (len(event), event)
    client.received.clear()
    world.end(upstream)
    assert bytes(client.received) == b"0\r\n\r\n"
    assert keeps(client)
    check_over(world)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_clients_connection_serves_any_number_of_requests(number: int) -> None:
    world = World()
    client = world.client()
    for each in range(number):
        ask_on(world, client, ask(f"/{each}"))
        upstream = world.accept()
        assert take(upstream).target == f"/{each}"
        world.send(upstream, answer("Connection: close", body=b"%d" % each))
        assert take(client).body == b"%d" % each
    assert len({facts.id for facts, _ in world.observer.exchanges}) == number
    assert len(world.dials) == number
    check_over(world)


def test_an_upstreams_connection_serves_the_next_request_of_anybody() -> None:
    world = World()
    first = world.ask(ask("/1"))
    upstream = world.accept()
    world.send(upstream, OK)
    take(upstream)
    second = world.ask(POST)
    assert take(upstream).body == b"one order"
    world.send(upstream, answer(body=b"two"))
    assert take(second).body == b"two"
    ask_on(world, first, ask("/3"))
    assert take(upstream).target == "/3"
    world.send(upstream, answer(body=b"three"))
    assert take_all(first)[-1].body == b"three"
    assert len(world.dials) == 1
    check_over(world)


def test_requests_sent_at_once_are_answered_one_after_the_other() -> None:
    world = World()
    client = world.ask(ask("/1") + POST + ask("/3"))
    upstream = world.accept()
    assert take(upstream).target == "/1"
    world.send(upstream, answer(body=b"1"))
    world.advance(0)
    assert take(upstream).body == b"one order"
    world.send(upstream, answer(body=b"2"))
    world.advance(0)
    assert take(upstream).target == "/3"
    world.send(upstream, answer(body=b"3"))
    assert [each.body for each in take_all(client)] == [b"1", b"2", b"3"]
    assert keeps(client)
    check_over(world)


def test_what_a_client_sends_behind_its_last_request_is_not_read_as_one() -> None:
    world = World()
    client = world.ask(ask("/1", "Connection: close") + ask("/2"))
    upstream = world.accept()
    world.send(upstream, OK)
    world.advance(0)
    assert take(client).get("Connection") == "close"
    assert client.eof
    assert len(messages_in(bytes(upstream.received))) == 1
    check_over(world)


def test_a_client_that_sends_on_and_on_is_not_read_before_its_turn() -> None:
    world = World()
    client = world.ask(ask("/0"))
    for number in range(1, 2000):
        client.peer_sends(ask(f"/{number}"))
    world.settle()
    assert not client.reading
    upstream = world.accept()
    for number in range(2000):
        assert take(upstream).target == f"/{number}"
        world.send(upstream, NO_BODY)
        world.advance(0.01)
    assert len(take_all(client)) == 2000
    check_over(world)


def test_what_a_client_sends_ahead_stays_bounded_however_many_answers_it_got() -> None:
    world = World()
    client = world.ask(ask("/0"))
    upstream = world.accept()
    for _ in range(50):
        client.peer_sends(ask("/", "X-Long: " + 1000 * "x") * 100)
    protocol = client.protocol
    for _ in range(200):
        world.send(upstream, NO_BODY)
        world.advance(0.01)
        assert len(protocol._buffer) <= MAX_EARLY + 2 * READ_SIZE
    assert len(take_all(client)) == 200
    protocol.abort()
    world.settle()
    check_over(world)


def test_a_client_that_reads_no_answers_is_asked_for_no_more_requests() -> None:
    world = World()
    client = world.ask(ask("/1") + ask("/2") + ask("/3"))
    client.stalled = True
    upstream = world.accept()
    take(upstream)
    world.send(upstream, answer(body=bytes(MAX_UNSENT)))
    world.advance(CLIENT_PATIENCE - 10)
    assert upstream.received == b""
    client.stalled = False
    world.advance(1)
    upstream = world.accept()
    assert take(upstream).target == "/2"
    client.stalled = True
    world.send(upstream, answer(body=bytes(MAX_UNSENT)))
    world.advance(CLIENT_PATIENCE + 1)
    assert client.aborted
    assert len(world.dials) == 2
    check_over(world)


def test_what_a_slow_client_sends_on_and_on_is_not_read() -> None:
    world = World()
    client = world.ask(ask("/0"))
    client.stalled = True
    upstream = world.accept()
    world.send(upstream, answer("Connection: close", body=bytes(MAX_UNSENT)))
    for number in range(1, 101):
        world.send(client, ask(f"/{number}", "X-Long: " + 1000 * "x"))
    assert not client.reading
    client.stalled = False
    world.advance(1)
    upstream = world.accept()
    for number in range(1, 101):
        assert take(upstream).target == f"/{number}"
        world.send(upstream, NO_BODY)
        world.advance(0.01)
    assert len(take_all(client)) == 101
    check_over(world)


@pytest.mark.parametrize("framing", ["Content-Length: 300000", "Transfer-Encoding: chunked"])
def test_a_body_that_was_sent_ahead_is_read_on(framing: str) -> None:
    world = World()
    client = world.ask(ask("/1"))
    upstream = world.accept()
    take(upstream)
    client.peer_sends(ask("/2", framing, method="POST"))
    body = bytes(300_000) if "Length" in framing else b"493e0\r\n%b\r\n0\r\n\r\n" % bytes(300_000)
    client.peer_sends(body)
    world.settle()
    assert not client.reading
    world.send(upstream, NO_BODY)
    world.advance(0)
    assert len(take(upstream).body) == 300_000
    world.send(upstream, OK)
    assert len(take_all(client)) == 2
    check_over(world)


def test_a_head_that_was_begun_ahead_is_read_to_its_end() -> None:
    listener = ListenerConfig("web", "tcp:8080", max_header_size=4 * MAX_EARLY)
    world = World(listener=listener)
    client = world.ask(ask("/1"))
    upstream = world.accept()
    take(upstream)
    client.peer_sends(ask("/2", "X-Long: " + 2 * MAX_EARLY * "x"))
    world.settle()
    assert not client.reading
    world.send(upstream, NO_BODY)
    world.advance(0)
    assert take(upstream).target == "/2"
    world.send(upstream, NO_BODY)
    assert len(take_all(client)) == 2
    check_over(world)


def test_routes_and_upstreams_are_chosen_for_each_request() -> None:
    names = iter("abca")
    world = World(
        balancer=lambda offered: next(each for each in offered if each.name == turn),
        upstreams=UPSTREAMS,
    )
    client = world.client()
    for turn in names:
        ask_on(world, client, ask("/"))
        if world.dials[-1].over:  # a's connection is asked again
            upstream = next(each for each in world.transports[1:] if each.received)
        else:
            upstream = world.accept()
        take(upstream)
        world.send(upstream, answer(body=turn.encode()))
        assert take(client).body == turn.encode()
    assert world.names_dialled() == ["a", "b", "c"]
    check_over(world)


def test_a_websocket_may_begin_on_a_connection_that_had_requests() -> None:
    world = World()
    client = world.ask(ask("/"))
    upstream = world.accept()
    world.send(upstream, OK)
    assert take(client).status == 200
    ask_on(world, client, REQUEST)
    upstream = world.accept()
    world.send(upstream, SWITCHING)
    assert answer_in(client).status == 101
    assert len(world.relay.sessions) == 1
    check_over(world)


def test_a_websocket_may_be_asked_for_before_the_answer_to_a_request_was_read() -> None:
    world = World()
    client = world.ask(ask("/"))
    client.stalled = True
    world.send(client, REQUEST)
    upstream = world.accept()
    world.send(upstream, answer(body=b"x" * 1000))
    world.advance(0)
    upstream = world.accept()
    world.send(upstream, SWITCHING + b"\x81\x01x")
    client.stalled = False
    world.settle()
    received = bytes(client.received)
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.endswith(b"\r\n\r\n\x81\x01x")
    assert received.index(b"x" * 1000) < received.index(b"HTTP/1.1 101 ")
    check_over(world)


# heads


def test_an_answer_to_head_has_no_body_whatever_it_says_of_its_length() -> None:
    world = World()
    client = world.ask(ask(method="HEAD"))
    upstream = world.accept()
    world.send(upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
    assert take(client, "HEAD").get("Content-Length") == "500"
    ask_on(world, client, ask(method="HEAD"))
    world.send(upstream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert take(client, "HEAD").status == 200
    ask_on(world, client, ask())
    world.send(upstream, OK)
    assert take(client).body == b"ok"
    assert len(world.dials) == 1
    check_over(world)


def test_a_body_behind_an_answer_to_head_reaches_nobody() -> None:
    for split in (True, False):
        world = World()
        client = world.ask(ask(method="HEAD"))
        upstream = world.accept()
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
        world.send(upstream, head if split else head + b"ok")
        if split:
            world.send(upstream, b"ok")
        assert take(client, "HEAD").get("Content-Length") == "2"
        assert upstream.aborted
        ask_on(world, client, ask())
        world.send(world.accept(), OK)
        assert take(client).body == b"ok"
        check_over(world)


def test_the_relays_own_answers_to_head_have_no_body() -> None:
    world = World(evolve(ROUTE, retries=0))
    client = world.ask(ask(method="HEAD"))
    world.refuse()
    own = take(client, "HEAD")
    assert own.status == 502
    assert own.get("Content-Length") not in (None, "0")
    ask_on(world, client, ask("/", "Expect: miracles", method="HEAD"))
    assert take(client, "HEAD").status == 417
    check_over(world)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_some_answers_end_with_their_head(status: str) -> None:
    world = World()
    client = world.ask(ask())
    upstream = world.accept()
    world.send(upstream, f"HTTP/1.1 {status}\r\nETag: x\r\n\r\n".encode())
    assert take(client).get("ETag") == "x"
    ask_on(world, client, ask())
    world.send(upstream, OK)
    assert take(client).status == 200
    check_over(world)


def test_what_is_for_one_hop_passes_neither_way() -> None:
    world = World()
    client = world.ask(
        ask("/", "Connection: keep-alive, X-Mine", "X-Mine: 1", "Keep-Alive: timeout=9", "TE: gzip")
    )
    upstream = world.accept()
    request = take(upstream)
    for name in ("Connection", "X-Mine", "Keep-Alive", "TE"):
        assert request.get(name) is None
    world.send(upstream, answer("Connection: X-Yours", "X-Yours: 1", "Keep-Alive: timeout=5"))
    got = take(client)
    for name in ("Connection", "X-Yours", "Keep-Alive"):
        assert got.get(name) is None
    check_over(world)


@pytest.mark.parametrize(
    "fields",
    [
        ("Connection: Content-Length, close",),
        ("Connection: content-length", "X-Other: 1"),
        ("Transfer-Encoding: chunked", "Connection: transfer-encoding"),
    ],
)
def test_a_client_cannot_take_the_framing_of_its_body_away(fields: tuple[str, ...]) -> None:
    """Else the body would be read as another request."""
    world = World()
    client = world.ask(ask("/", *fields, method="POST"))
    assert take(client).status == 400
    assert world.dials == []
    world.leave_all()
    world.assert_clean()


# clients of HTTP/1.0


def test_http_1_0_ends_with_the_answer() -> None:
    world = World()
    client = world.ask(b"GET /old HTTP/1.0\r\n\r\n")
    upstream = world.accept()
    request = take(upstream)
    assert request.first == "GET /old HTTP/1.1"
    assert request.get("Host") == "192.0.2.100:9000"
    assert request.get("X-Forwarded-Host") is None
    world.send(upstream, OK)
    got = take(client)
    assert (got.body, got.get("Connection")) == (b"ok", "close")
    assert client.eof
    check_over(world)


def test_http_1_0_may_go_on_if_it_says_so() -> None:
    world = World()
    client = world.client()
    for _ in range(2):
        ask_on(world, client, ask("/", "Connection: Keep-Alive", version="1.0"))
        upstream = world.accept() if len(world.transports) == 1 else world.transports[1]
        world.send(upstream, OK)
        got = take(client)
        assert (got.body, got.get("Connection")) == (b"ok", "keep-alive")
    check_over(world)


def test_http_1_0_gets_the_end_of_its_connection_for_a_body_without_length() -> None:
    world = World()
    client = world.ask(ask("/", "Connection: keep-alive", version="1.0"))
    upstream = world.accept()
    world.send(upstream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    head, rest = read_head(bytes(client.received))
    assert (head.get("Transfer-Encoding"), head.get("Connection")) == (None, "close")
    assert rest == b"abc"
    world.send(upstream, b"2\r\nde\r\n0\r\n\r\n")
    assert read_head(bytes(client.received))[1] == b"abcde"
    assert client.eof
    check_over(world)


def test_http_1_0_gets_no_interim_answers_and_expects_none() -> None:
    world = World()
    lines = ("Expect: 100-continue", "Content-Length: 2")
    client = world.ask(ask("/", *lines, method="POST", version="1.0"))
    upstream = world.accept()
    assert b"Expect" not in upstream.received
    world.send(client, b"hi")
    world.send(upstream, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK)
    assert take(client).status == 200
    check_over(world)


def test_http_1_0_knows_no_expectations_to_be_refused() -> None:
    world = World()
    client = world.ask(ask("/", "Expect: miracles", version="1.0"))
    world.send(world.accept(), OK)
    assert take(client).status == 200
    check_over(world)


# interim answers


def test_interim_answers_pass_in_their_order() -> None:
    world = World()
    client = world.ask(ask("/", "Expect: 100-continue", "Content-Length: 3", method="POST"))
    upstream = world.accept()
    assert b"Expect: 100-continue\r\n" in upstream.received
    world.send(upstream, b"HTTP/1.1 100 Continue\r\n\r\n")
    assert bytes(client.received) == b"HTTP/1.1 100 Continue\r\n\r\n"
    world.send(client, b"abc")
    assert upstream.received.endswith(b"\r\n\r\nabc")
    world.send(upstream, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\n")
    world.send(upstream, OK)
    early, final = take_all(client)[1:]
    assert (early.status, early.get("Link"), early.get("Connection")) == (103, "</a>", None)
    assert (final.status, final.get("Connection")) == (200, None)
    assert keeps(client)
    check_over(world)


def test_interim_answers_in_one_piece_with_the_final_one_pass_too() -> None:
    world = World()
    client = world.ask(ask())
    world.send(world.accept(), b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3 + OK)
    assert [each.status for each in take_all(client)] == [103, 103, 103, 200]
    check_over(world)


def test_a_final_answer_instead_of_100_ends_the_connection() -> None:
    world = World()
    client = world.ask(ask("/", "Expect: 100-continue", "Content-Length: 3", method="POST"))
    upstream = world.accept()
    world.send(upstream, answer(status="401 Unauthorized"))
    got = take(client)
    assert (got.status, got.get("Connection")) == (401, "close")
    assert client.eof
    assert upstream.lost
    check_over(world)


def test_an_upstream_that_switches_protocols_unasked_is_broken() -> None:
    world = World()
    client = world.ask(ask())
    upstream = world.accept()
    world.send(upstream, SWITCHING)
    assert take(client).status == 502
    assert upstream.aborted
    assert len(world.dials) == 1
    check_over(world)


# what the relay refuses


@pytest.mark.parametrize(
    ("request_", "status", "refusal"),
    [
        (ask("/", "Expect: miracles"), 417, "expectation"),
        (ask(method="TRACE"), 405, "method"),
        (ask(method="CONNECT"), 405, "method"),
        (ask(method="POST", body=b"x" * 101), 413, "body-too-large"),
    ],
)
def test_some_requests_are_refused_before_an_upstream_is_looked_for(
    request_: bytes, status: int, refusal: str
) -> None:
    world = World(evolve(ROUTE, max_body_size=100))
    client = world.ask(request_)
    answer = take(client)
    assert answer.status == status
    assert (answer.get("Allow") is not None) == (status == 405)  # RFC 9110 section 15.5.6
    assert world.dials == []
    [facts] = world.observer.refused_facts
    assert (facts.refusal, facts.upstream) == (refusal, "")
    assert client.eof == (status == 413)
    check_over(world)


def test_a_refusal_of_a_request_without_a_body_lets_the_connection_go_on() -> None:
    world = World(evolve(ROUTE, host="www.example.com", retries=0))
    client = world.ask(ask().replace(b"www.", b"xxx."))
    got = take(client)
    assert (got.status, got.get("Connection")) == (404, None)
    ask_on(world, client, ask())
    world.refuse()
    assert take(client).status == 502
    for each in world.pool.upstreams:
        each.state = "down"
    ask_on(world, client, ask())
    got = take(client)
    assert (got.status, got.get("Connection"), got.get("Retry-After")) == (503, None, "5")
    assert keeps(client)
    check_over(world)


def test_a_refusal_of_a_request_with_a_body_ends_the_connection_properly() -> None:
    world = World(evolve(ROUTE, host="www.example.com"))
    client = world.ask(POST.replace(b"www.", b"xxx."))
    assert take(client).get("Connection") == "close"
    assert client.eof
    assert client.reading
    assert not client.aborted
    world.send(client, ask("/next"))
    assert client.received == b""
    check_over(world)


def test_a_malformed_request_is_the_last_of_its_connection() -> None:
    world = World()
    client = world.ask(ask())
    world.send(world.accept(), OK)
    take(client)
    ask_on(world, client, b"GET nothing HTTP/1.1\r\n\r\n" + ask())
    got = take(client)
    assert (got.status, got.get("Connection")) == (400, "close")
    assert client.eof
    check_over(world)


def test_a_second_request_that_is_never_complete_is_refused() -> None:
    world = World(listener=ListenerConfig("web", "tcp:8080", handshake_timeout=3.0))
    client = world.ask(ask())
    world.send(world.accept(), OK)
    take(client)
    world.advance(20)
    world.send(client, ask()[:-1])
    world.advance(2.9)
    assert client.received == b""
    world.advance(0.2)
    assert take(client).status == 408
    check_over(world)


# trying others


def test_another_upstream_is_tried_when_one_refuses_the_connection_be_it_a_post() -> None:
    world = World()
    client = world.ask(POST)
    world.refuse()
    upstream = world.accept()
    assert world.names_dialled() == ["a", "b"]
    assert take(upstream).body == b"one order"
    world.send(upstream, OK)
    assert take(client).status == 200
    assert world.observer.retries == ["pool"]
    assert world.observer.exchanges[0][0].attempts == 2
    check_over(world)


def test_another_upstream_is_tried_when_one_does_not_accept_in_time() -> None:
    world = World()
    client = world.ask(POST)
    world.advance(ROUTE.connect_timeout)
    upstream = world.accept()
    assert world.names_dialled() == ["a", "b"]
    world.send(upstream, OK)
    assert take(client).status == 200
    check_over(world)


def test_no_more_than_retries_others_are_tried() -> None:
    world = World(evolve(ROUTE, retries=1))
    client = world.ask(POST)
    world.refuse()
    world.dials[-1].fail(TooLate())
    world.settle()
    assert take(client).status == 502
    assert world.names_dialled() == ["a", "b"]
    assert keeps(client), "the body was read"
    check_over(world)


@pytest.mark.parametrize("request_", [ask(), POST, ask(method="DELETE")])
@pytest.mark.parametrize("how", ["ends", "resets", "babbles", "is silent", "answers half"])
def test_nobody_else_is_asked_once_the_request_went_out(request_: bytes, how: str) -> None:
    world = World()
    client = world.ask(request_)
    upstream = world.accept()
    if how == "ends":
        world.end(upstream)
    elif how == "resets":
        world.reset(upstream)
    elif how == "babbles":
        world.send(upstream, b"220 mail.example.com ESMTP\r\n\r\n")
    elif how == "is silent":
        world.advance(60)
    else:
        world.send(upstream, OK[:20])
        world.end(upstream)
    assert take(client).status == (504 if how == "is silent" else 502)
    assert world.observer.retries == []
    assert len(world.dials) == 1
    check_over(world)


@pytest.mark.parametrize("request_", [ask(), POST])
@pytest.mark.parametrize("resets", [True, False])
def test_a_kept_connection_that_dies_with_a_request_is_a_502(request_: bytes, resets: bool) -> None:
    world = World()
    client = world.ask(ask())
    upstream = world.accept()
    world.send(upstream, OK)
    take(client)
    ask_on(world, client, request_)
    (world.reset if resets else world.end)(upstream)
    assert take(client).status == 502
    assert len(world.dials) == 1
    check_over(world)


# answers that go wrong


BREAKS = [
    *itertools.product(
        ["Content-Length: 9", "Transfer-Encoding: chunked"], ["ends", "resets", "is silent"]
    ),
    ("Transfer-Encoding: chunked", "breaks its framing"),  # a length cannot be broken
]


@pytest.mark.parametrize(("framing", "how"), BREAKS)
def test_an_answer_that_breaks_off_breaks_the_clients_connection(framing: str, how: str) -> None:
    world = World()
    client = world.ask(ask())
    upstream = world.accept()
    begun = b"3\r\nabc\r\n" if framing.startswith("Transfer") else b"abc"
    world.send(upstream, b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing.encode() + begun)
    if how == "is silent":
        world.advance(59)
        assert not client.aborted
        world.advance(1)
    elif how == "breaks its framing":
        world.send(upstream, b"xyz\r\n")
    else:
        (world.end if how == "ends" else world.reset)(upstream)
    assert client.aborted
    assert client.received.endswith(b"abc") or client.received.endswith(b"abc\r\n")
    assert upstream.lost
    [(facts, what)] = world.observer.exchanges
    assert (facts.status, what.bytes_down) == (200, 3)
    assert what.problem != ""
    check_over(world)


def test_an_answer_until_the_end_is_not_whole_after_a_reset() -> None:
    world = World()
    client = world.ask(ask())
    upstream = world.accept()
    world.send(upstream, b"HTTP/1.1 200 OK\r\n\r\nabc")
    world.reset(upstream)
    assert client.aborted
    check_over(world)


def test_each_piece_of_an_answer_gives_the_upstream_its_time_anew() -> None:
    world = World(evolve(ROUTE, http_timeout=10.0))
    client = world.ask(ask())
    upstream = world.accept()
    world.advance(9)
    world.send(upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
    for byte in b"abc":
        world.advance(9)
        world.send(upstream, bytes([byte]))
    assert take(client).body == b"abc"
    check_over(world)


def test_each_interim_answer_gives_the_upstream_its_time_anew() -> None:
    world = World(evolve(ROUTE, http_timeout=10.0))
    client = world.ask(ask())
    upstream = world.accept()
    for _ in range(3):
        world.advance(9)
        world.send(upstream, b"HTTP/1.1 102 Processing\r\n\r\n")
    world.advance(9)
    world.send(upstream, OK)
    assert [each.status for each in take_all(client)] == [102, 102, 102, 200]
    check_over(world)


def test_without_http_timeout_a_poll_may_last_for_days() -> None:
    world = World(evolve(ROUTE, http_timeout=None))
    client = world.ask(ask())
    upstream = world.accept()
    world.advance(200_000)
    world.send(upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    world.advance(200_000)
    world.send(upstream, b"ok")
    assert take(client).body == b"ok"
    check_over(world)


def test_an_answer_that_comes_twice_reaches_nobody_the_second_time() -> None:
    for at_once in (True, False):
        world = World()
        client = world.ask(ask())
        upstream = world.accept()
        world.send(upstream, OK + OK if at_once else OK)
        if not at_once:
            world.send(upstream, OK)
        assert take(client).body == b"ok"
        assert upstream.lost
        ask_on(world, client, ask())
        world.send(world.accept(), answer(body=b"mine"))
        assert take(client).body == b"mine"
        check_over(world)


def test_a_head_without_end_is_a_502() -> None:
    world = World()
    client = world.ask(ask())
    upstream = world.accept()
    world.send(upstream, b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000)
    assert take(client).status == 502
    check_over(world)


# clients that leave


@pytest.mark.parametrize("resets", [True, False])
def test_a_client_that_leaves_unanswered_is_a_499_and_its_upstream_is_dropped(
    resets: bool,
) -> None:
    world = World()
    client = world.ask(POST)
    upstream = world.accept()
    (world.reset if resets else world.end)(client)
    assert upstream.aborted
    [facts] = world.observer.refused_facts
    assert (facts.status, facts.refusal, facts.upstream) == (499, "client-left", "a")
    assert world.active == {}
    check_over(world)


def test_a_client_that_leaves_before_an_upstream_is_connected_calls_the_dial_off() -> None:
    world = World()
    client = world.ask(ask())
    world.end(client)
    assert world.dials[0].called_off
    assert world.observer.refusals[0][0] == 499
    check_over(world)


def test_a_client_that_leaves_before_the_balancer_has_chosen_is_forgotten() -> None:
    choice: Deferred[object] = Deferred()
    world = World(balancer=lambda offered: choice)
    client = world.ask(ask())
    world.end(client)
    assert world.dials == []
    assert world.observer.refusals[0][0] == 499
    check_over(world)


def test_a_client_that_leaves_in_mid_answer_ends_it() -> None:
    world = World()
    client = world.ask(ask())
    upstream = world.accept()
    world.send(upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    world.reset(client)
    assert upstream.aborted
    [(facts, what)] = world.observer.exchanges
    assert (facts.status, what.problem) == (200, "the client left")
    check_over(world)


def test_an_answer_for_a_client_that_left_in_the_same_turn_reaches_nobody() -> None:
    world = World()
    client = world.ask(ask())
    upstream = world.accept()
    upstream.peer_sends(OK)
    client.peer_ends()
    client.turn()
    world.settle()
    assert len(world.observer.refusals) == 1
    assert world.observer.exchanges == []
    check_over(world)


def test_a_client_that_takes_nothing_stops_the_upstream_and_ends_in_time() -> None:
    world = World()
    client = world.ask(ask())
    client.stalled = True
    upstream = world.accept()
    world.send(upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
    for _ in range(10):
        world.send(upstream, bytes(50_000))
    assert not upstream.reading
    assert len(client.buffer) < 2 * HIGH_WATER + 1000
    world.advance(CLIENT_PATIENCE - 1)
    assert not client.aborted
    world.advance(1)
    assert client.aborted
    assert upstream.lost
    check_over(world)


def test_a_client_that_reads_on_gets_everything() -> None:
    world = World()
    client = world.ask(ask())
    client.stalled = True
    upstream = world.accept()
    body = bytes(range(250)) * 4000
    upstream.peer_sends(answer(body=body))
    while len(client.received) < len(body):
        world.advance(CLIENT_PATIENCE / 6)  # 128 KiB take a little less
        client.peer_takes(30_000)
        world.settle()
    client.stalled = False
    world.settle()
    assert take(client).body == body
    assert keeps(client)
    check_over(world)


def test_a_connection_that_waits_too_long_for_its_next_request_ends() -> None:
    world = World()
    client = world.ask(ask())
    world.send(world.accept(), OK)
    world.advance(KEEP_ALIVE - 1)
    assert keeps(client)
    world.advance(1)
    assert client.eof
    assert not client.aborted
    assert world.observer.refusals == []
    check_over(world)


@pytest.mark.parametrize("is_late", [False, True])
def test_an_empty_line_behind_a_body_is_not_the_beginning_of_a_request(is_late: bool) -> None:
    """RFC 9112 section 2.2: some clients send one after a POST."""
    world = World()
    client = world.ask(POST + (b"" if is_late else b"\r\n"))
    upstream = world.accept()
    world.send(upstream, answer("Keep-Alive: timeout=56"))
    assert take(client).status == 200
    if is_late:
        world.send(client, b"\r")
        world.send(client, b"\n")
    world.advance(KEEP_ALIVE - 30)
    assert client.received == b""
    take(upstream)
    ask_on(world, client, POST)
    assert take(upstream).body == b"one order"
    world.send(upstream, OK)
    assert take(client).status == 200
    world.send(client, b"\r\n")
    world.advance(KEEP_ALIVE + 10)
    assert client.received == b""
    assert client.lost
    assert world.observer.refusals == []
    check_over(world)


def test_a_client_that_leaves_between_two_requests_is_nobodys_business() -> None:
    world = World()
    client = world.ask(ask())
    world.send(world.accept(), OK)
    world.end(client)
    assert world.observer.refusals == []
    assert len(world.observer.exchanges) == 1
    check_over(world)


# stickiness


def test_the_sticky_cookie_is_set_and_obeyed() -> None:
    world = World(
        balancer=lambda offered: offered[-1],
        upstreams=UPSTREAMS[:3],
        sticky=StickyConfig(secret="s3cret"),
    )
    client = world.ask(ask())
    assert world.names_dialled() == ["c"]
    upstream = world.accept()
    world.send(upstream, answer("Set-Cookie: theirs=1"))
    theirs, ours = take(client).all("Set-Cookie")
    assert theirs == "theirs=1"
    cookie = ours.partition(";")[0]
    assert world.balancer is not None
    world.balancer.answer = lambda offered: offered[0]
    take(upstream)
    ask_on(world, client, ask("/", f"Cookie: {cookie}"))
    assert take(upstream).target == "/"
    world.send(upstream, OK)
    assert take(client).all("Set-Cookie") == []
    ask_on(world, client, ask("/"))
    assert world.names_dialled() == ["c", "a"]
    world.send(world.accept(), OK)
    assert len(take(client).all("Set-Cookie")) == 1
    check_over(world)


# failures of the relay itself


def test_a_failure_while_the_answer_is_made_ends_the_client_and_leaves_nothing() -> None:
    world = World()
    client = world.ask(ask())
    upstream = world.accept()
    world.pool.sticky = object()  # type: ignore[assignment]
    world.send(upstream, OK)
    assert client.aborted
    assert upstream.lost
    check_over(world)


def test_a_balancer_that_fails_costs_its_request_only() -> None:
    world = World(balancer=lambda offered: 1 / 0)
    client = world.ask(ask())
    assert take(client).status == 500
    assert world.balancer is not None
    world.balancer.answer = lambda offered: offered[0]
    ask_on(world, client, ask())
    world.send(world.accept(), OK)
    assert take(client).status == 200
    check_over(world)
