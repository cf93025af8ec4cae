"""Whole messages at a pace: what waits, what is closed, and what is left at the end."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.messages.ground import (
    CLIENT,
    ROUTE,
    TEXT,
    UPSTREAM,
    Ask,
    FakeFilters,
    converse,
    messages_heard,
)
from tests.relay.support import CLOSE, PING, PONG, Conversation, close_payload, frame_from
from wsrelay.config.model import Rate
from wsrelay.messages.leg import TURN
from wsrelay.wire.frames import BINARY

CLOSING = evolve(ROUTE, messages=Rate(10.0, 10))
THROTTLED = evolve(CLOSING, on_excess="throttle")
BYTES = evolve(ROUTE, bytes=Rate(1000.0, 1000), on_excess="throttle")


def numbered(count: int) -> list[bytes]:
    return [b"%03d" % number for number in range(count)]


def many(count: int) -> bytes:
    return b"".join(frame_from(CLIENT, TEXT, each) for each in numbered(count))


def got(pair: Conversation) -> list[bytes]:
    return [payload for _, payload in messages_heard(pair, UPSTREAM)]


def passing(ask: Ask) -> None:
    ask.decide(ask.payload)


def test_what_is_over_the_rate_is_closed_behind_what_was_within() -> None:
    pair = converse(CLOSING)
    pair.send(CLIENT, many(30))
    assert got(pair) == numbered(10)
    assert pair.close_heard(CLIENT) == (1008, b"more than 10 messages a second")
    assert pair.close_heard(UPSTREAM) == (1001, b"the client sent too much")
    assert pair.initiator() == "relay:rate"
    pair.advance(10)
    pair.assert_over()


def test_what_is_over_the_rate_is_closed_when_the_filters_have_let_pass_what_was_within() -> None:
    filters = FakeFilters()
    pair = converse(CLOSING, filters=filters)
    pair.send(CLIENT, many(30))
    for number in range(10):
        assert pair.close_heard(CLIENT) is None
        filters.asks[number].decide(filters.asks[number].payload)
    pair.settle()
    assert got(pair) == numbered(10)
    assert pair.close_heard(CLIENT) == (1008, b"more than 10 messages a second")
    assert filters.events == ["opened", "ended"]


@pytest.mark.parametrize("filters", [None, FakeFilters(passing)], ids=["bare", "filtered"])
def test_a_throttled_client_loses_nothing_and_is_no_faster_than_it_may(
    filters: FakeFilters | None,
) -> None:
    pair = converse(THROTTLED, filters=filters)
    pair.send(CLIENT, many(40))
    assert got(pair) == numbered(10)
    assert not pair.client.reading
    pair.advance(1)
    assert len(got(pair)) in (19, 20)
    pair.advance(2.1)
    assert got(pair) == numbered(40)
    assert pair.client.reading
    assert pair.session.pump.totals().throttles == 1
    pair.say_close(CLIENT, 1000)
    pair.say_close(UPSTREAM, 1000)
    pair.advance(0)
    assert pair.close_heard(CLIENT) == (1000, b"")


def test_throttled_bytes_are_whole_messages_all_the_same() -> None:
    pair = converse(BYTES)
    payload = bytes(range(250)) * 20
    pair.send(CLIENT, frame_from(CLIENT, BINARY, payload) + frame_from(CLIENT, BINARY, b"x"))
    pair.advance(3)
    assert messages_heard(pair, UPSTREAM) == []
    pair.advance(1.2)
    assert messages_heard(pair, UPSTREAM) == [(BINARY, payload), (BINARY, b"x")]


def test_what_a_filter_holds_back_is_not_passed_on_by_the_time_that_goes_by() -> None:
    filters = FakeFilters()
    pair = converse(THROTTLED, filters=filters)
    pair.send(CLIENT, many(12) + frame_from(CLIENT, PING, b"?"))
    pair.advance(4)
    assert len(filters.asks) == 1
    for number in range(12):
        assert len(filters.asks) == number + 1
        filters.asks[number].decide(filters.asks[number].payload)
        pair.advance(0.01)
    assert got(pair) == numbered(12)
    assert pair.heard(UPSTREAM)[-1].opcode == PING
    pair.say(UPSTREAM, PONG, b"?")
    assert pair.heard(CLIENT)[-1].opcode == PONG


def test_what_has_its_room_does_not_wait_for_more() -> None:
    """A burst longer than what is handled in one turn of the reactor."""
    pair = converse(evolve(THROTTLED, messages=Rate(0.1, 2 * TURN)))
    pair.send(CLIENT, many(2 * TURN + 1))
    pair.advance(0.1)
    assert got(pair) == numbered(2 * TURN)
    pair.advance(10)
    assert got(pair) == numbered(2 * TURN + 1)


def test_what_has_its_room_goes_on_as_soon_as_the_upstream_takes_more() -> None:
    pair = converse(evolve(THROTTLED, messages=Rate(0.1, 10)))
    pair.upstream.stalled = True
    big = frame_from(CLIENT, BINARY, bytes(90_000))
    pair.send(CLIENT, big * 2 + many(10))
    pair.advance(1)
    pair.upstream.stalled = False
    for _ in range(3):
        pair.advance(0.1)
    assert got(pair) == [bytes(90_000)] * 2 + numbered(8)


def test_a_throttled_client_that_leaves_has_its_last_words_passed_on() -> None:
    pair = converse(THROTTLED)
    pair.session.pump.received_from(CLIENT)(many(30))
    pair.session.pump.lost(CLIENT)
    pair.client.lost = True
    pair.advance(2.5)
    assert got(pair) == numbered(30)
    assert pair.close_heard(UPSTREAM) == (1001, b"the client is gone")
    pair.say_close(UPSTREAM, 1001)
    pair.end(UPSTREAM)
    pair.advance(0)
    pair.assert_over()


def test_a_throttled_client_that_leaves_with_too_much_to_say_is_not_waited_for() -> None:
    pair = converse(evolve(THROTTLED, messages=Rate(0.1, 10)))
    pair.session.pump.received_from(CLIENT)(many(30))
    pair.session.pump.lost(CLIENT)
    pair.client.lost = True
    pair.advance(6)
    assert got(pair) == numbered(10)
    assert pair.close_heard(UPSTREAM) == (1001, b"the client is gone")
    pair.say_close(UPSTREAM, 1001)
    pair.end(UPSTREAM)
    pair.advance(10)
    pair.assert_over()


def test_it_is_not_waited_for_when_the_upstream_goes_meanwhile() -> None:
    filters = FakeFilters(passing)
    pair = converse(evolve(THROTTLED, messages=Rate(0.1, 10)), filters=filters)
    pair.session.pump.received_from(CLIENT)(many(30))
    pair.session.pump.lost(CLIENT)
    pair.client.lost = True
    pair.advance(1)
    pair.reset(UPSTREAM)
    pair.advance(0)
    pair.assert_over()
    assert filters.is_over


@pytest.mark.parametrize("held", [False, True], ids=["throttled", "filtered, too"])
def test_a_close_ends_the_wait(held: bool) -> None:
    filters = FakeFilters() if held else None
    pair = converse(evolve(THROTTLED, messages=Rate(0.1, 10)), filters=filters)
    pair.send(CLIENT, many(30))
    pair.session.close(1001, "bye", "drain")
    pair.settle()
    pair.send(CLIENT, frame_from(CLIENT, CLOSE, close_payload(1001)))
    pair.send(UPSTREAM, frame_from(UPSTREAM, CLOSE, close_payload(1001)))
    pair.end(CLIENT)
    pair.end(UPSTREAM)
    pair.advance(0.5)
    pair.assert_over()
    assert got(pair) == ([] if held else numbered(10))


def test_an_upstreams_close_reaches_a_throttled_client_and_its_answer_comes_back() -> None:
    pair = converse(evolve(THROTTLED, messages=Rate(0.1, 10)))
    pair.send(CLIENT, many(30))
    pair.say_close(UPSTREAM, 4000, b"enough")
    assert pair.close_heard(CLIENT) == (4000, b"enough")
    pair.say_close(CLIENT, 4000, b"enough")
    pair.advance(20)
    assert pair.is_over
    assert pair.clock.getDelayedCalls() == []


def test_a_client_that_is_reset_while_it_has_to_wait_is_let_go() -> None:
    pair = converse(evolve(THROTTLED, messages=Rate(0.1, 10)))
    pair.send(CLIENT, many(30))
    pair.session.abort()
    pair.advance(0)
    pair.assert_over()


def test_a_client_that_takes_nothing_ends_the_session() -> None:
    pair = converse(evolve(ROUTE, slow_consumer=2.0, max_message_size_down=None))
    pair.client.stalled = True
    pair.say(UPSTREAM, BINARY, bytes(1_000_000))
    pair.advance(1.9)
    assert pair.session.cause is None
    pair.advance(0.7)
    assert (pair.code(), pair.initiator()) == (1013, "relay:slow")
    assert pair.close_heard(UPSTREAM) == (1013, b"the client takes no data")
    pair.advance(6)
    pair.assert_over()


def test_a_client_that_takes_a_long_message_slowly_does_not() -> None:
    pair = converse(evolve(ROUTE, slow_consumer=2.0, max_message_size_down=None))
    pair.client.stalled = True
    pair.say(UPSTREAM, BINARY, bytes(1_000_000))
    for _ in range(12):
        pair.advance(1)
        pair.client.peer_takes(10_000)
        pair.settle()
    assert pair.session.cause is None


def test_a_session_that_is_old_is_closed_behind_what_goes_out() -> None:
    pair = converse(evolve(ROUTE, max_session_age=3.0, session_age_jitter=0.0))
    pair.client.stalled = True
    pair.say(UPSTREAM, BINARY, bytes(90_000))
    pair.advance(3)
    assert pair.initiator() == "relay:age"
    pair.client.stalled = False
    pair.settle()
    assert messages_heard(pair, CLIENT) == [(BINARY, bytes(90_000))]
    assert pair.close_heard(CLIENT) == (1001, b"the session is old; connect again")


def test_a_session_in_which_a_long_message_goes_out_slowly_is_not_idle() -> None:
    pair = converse(evolve(ROUTE, idle_timeout=3.0, max_message_size_down=None))
    pair.client.stalled = True
    pair.say(UPSTREAM, BINARY, bytes(1_000_000))
    for _ in range(10):
        pair.advance(1)
        pair.client.peer_takes(70_000)
        pair.settle()
    assert pair.session.cause is None
    pair.client.stalled = False
    pair.settle()
    pair.advance(2.9)
    assert pair.session.cause is None
    assert messages_heard(pair, CLIENT) == [(BINARY, bytes(1_000_000))]
    pair.advance(0.2)
    assert pair.initiator() == "relay:idle"
