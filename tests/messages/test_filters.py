"""What filters decide about messages, and when they are asked."""

from __future__ import annotations

from typing import Any

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
from wsrelay.interfaces import DOWN, DROP, UP, Close
from wsrelay.relay.pump import Side
from wsrelay.wire.frames import BINARY

DIRECTION = {CLIENT: UP, UPSTREAM: DOWN}


def asking(answer: Any = lambda ask: None) -> tuple[Conversation, FakeFilters]:
    filters = FakeFilters(answer)
    return converse(filters=filters), filters


def pass_on(ask: Ask) -> None:
    ask.decide(ask.payload)


@pytest.mark.parametrize("side", list(Side))
def test_they_are_asked_about_each_message_and_told_of_begin_and_end(side: Side) -> None:
    pair, filters = asking(pass_on)
    pair.say(side, TEXT, b"one", final=False)
    assert filters.asks == []
    pair.say(side, 0, b", two")
    pair.say(side, BINARY, b"three")
    asked = [(each.direction, each.payload, each.is_binary) for each in filters.asks]
    assert asked == [(DIRECTION[side], b"one, two", False), (DIRECTION[side], b"three", True)]
    assert messages_heard(pair, side.other) == [(TEXT, b"one, two"), (BINARY, b"three")]
    assert filters.events == ["opened"]
    pair.session.close(1012, "stopping", "drain")
    assert filters.events == ["opened", "ended"]


def test_they_are_told_of_the_begin_behind_the_101_and_before_the_first_message() -> None:
    filters = FakeFilters(pass_on)
    told: list[str] = []
    filters.on_opened = lambda: told.append(f"asked {len(filters.asks)}")
    pair = converse(filters=filters, from_client=frame_from(CLIENT, TEXT, b"early"))
    assert told == ["asked 0"]
    assert messages_heard(pair, UPSTREAM) == [(TEXT, b"early")]


@pytest.mark.parametrize("later", [False, True])
def test_what_they_decide_is_done(later: bool) -> None:
    answers: dict[bytes, Any] = {b"keep": b"keep", b"change": b"new", b"drop": DROP}

    def answer(ask: Ask) -> None:
        if not later:
            ask.decide(answers[ask.payload])

    pair, filters = asking(answer)
    for payload in answers:
        pair.say(CLIENT, TEXT, payload)
        if later:
            filters.asks[-1].decide(answers[payload])
            pair.settle()
    assert messages_heard(pair, UPSTREAM) == [(TEXT, b"keep"), (TEXT, b"new")]
    assert pair.session.cause is None


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("side", list(Side))
def test_a_close_of_theirs_ends_the_session(side: Side, later: bool) -> None:
    close = Close(4001, "enough")
    pair, filters = asking(lambda ask: None if later else ask.decide(close))
    pair.say(side, TEXT, b"bad")
    pair.say(side, TEXT, b"more")
    if later:
        assert pair.session.cause is None
        filters.asks[0].decide(close)
        pair.settle()
    for each in Side:
        assert pair.close_heard(each) == (4001, b"enough")
    assert (pair.code(), pair.initiator()) == (4001, "relay:filter")
    assert messages_heard(pair, side.other) == []
    assert len(filters.asks) == 1
    assert filters.events == ["opened", "ended"]


def test_messages_keep_their_order_while_one_waits_and_the_other_direction_does_not_wait() -> None:
    pair, filters = asking()
    for payload in (b"1", b"2"):
        pair.say(CLIENT, TEXT, payload)
    pair.say(UPSTREAM, TEXT, b"answer")
    assert [each.payload for each in filters.asks] == [b"1", b"answer"]
    filters.asks[1].decide(b"answer")
    pair.settle()
    assert messages_heard(pair, CLIENT) == [(TEXT, b"answer")]
    filters.asks[0].decide(b"1")
    assert filters.asks[2].payload == b"2"
    filters.asks[2].decide(b"2")
    pair.settle()
    assert messages_heard(pair, UPSTREAM) == [(TEXT, b"1"), (TEXT, b"2")]


def test_a_control_frame_behind_a_message_that_waits_stays_behind_it() -> None:
    for side in Side:
        pair, filters = asking()
        pair.say(side, TEXT, b"first")
        pair.say(side, PING, b"there?")
        pair.say_close(side, 1000, b"bye")
        assert pair.heard(side.other) == []
        assert pair.session.cause is None
        filters.asks[0].decide(b"first")
        pair.settle()
        assert [each.opcode for each in pair.heard(side.other)] == [TEXT, PING, CLOSE]
        assert pair.close_heard(side.other) == (1000, b"bye")


def test_a_violation_behind_a_message_that_waits_stays_behind_it() -> None:
    pair, filters = asking()
    pair.send(CLIENT, frame_from(CLIENT, TEXT, b"good") + frame_from(CLIENT, 3))
    assert pair.session.cause is None
    filters.asks[0].decide(b"good")
    pair.settle()
    assert messages_heard(pair, UPSTREAM) == [(TEXT, b"good")]
    assert pair.close_heard(CLIENT) == (1002, b"reserved opcode 3")


def test_the_sender_is_read_on_until_something_has_to_wait() -> None:
    pair, filters = asking()
    pair.say(CLIENT, TEXT, b"1")
    assert pair.client.reading, "a message that is decided about soon costs no pause"
    pair.say(CLIENT, TEXT, b"2")
    assert not pair.client.reading
    assert pair.session.pump.is_paused(CLIENT)
    assert pair.session.pump.totals().client_pauses == 0, "nobody failed to take something"
    pair.client.peer_sends(frame_from(CLIENT, BINARY, bytes(60_000)) * 10)
    pair.settle()
    assert pair.session.pump.received(CLIENT) < 100
    for _ in range(12):
        filters.asks[-1].decide(filters.asks[-1].payload)
        pair.settle()
    assert pair.client.reading
    assert len(messages_heard(pair, UPSTREAM)) == 12


def test_a_session_does_not_die_of_pongs_that_wait_behind_a_message() -> None:
    filters = FakeFilters()
    pair = converse(evolve(ROUTE, keepalive=10.0, keepalive_timeout=2.0), filters=filters)
    pair.say(CLIENT, TEXT, b"1")
    for _ in range(100):
        pair.advance(1)
        for side in Side:
            for ping in pair.heard(side):
                if ping.opcode == PING:
                    pair.say(side, PONG, ping.payload)
    assert pair.session.cause is None
    filters.asks[0].decide(b"1")
    pair.settle()
    assert messages_heard(pair, UPSTREAM) == [(TEXT, b"1")]


# ends


@pytest.mark.parametrize("side", list(Side))
def test_a_message_of_a_lost_leg_still_arrives_before_the_other_is_told(side: Side) -> None:
    pair, filters = asking()
    pair.say(side, TEXT, b"last words")
    pair.end(side)
    assert pair.session.cause is None
    assert pair.heard(side.other) == []
    pair.advance(3)
    filters.asks[0].decide(b"last words")
    pair.settle()
    assert [each.opcode for each in pair.heard(side.other)] == [TEXT, CLOSE]
    assert (pair.code(), pair.initiator()) == (1006, side.value)
    pair.say_close(side.other, 1000)
    pair.end(side.other)
    pair.advance(1)
    pair.assert_over()
    assert filters.events == ["opened", "ended"]


@pytest.mark.parametrize("side", list(Side))
def test_it_is_waited_for_no_longer_than_filters_and_closes_may_take(side: Side) -> None:
    filters = FakeFilters()
    pair = converse(evolve(ROUTE, filter_timeout=7.0, close_timeout=2.0), filters=filters)
    pair.say(side, TEXT, b"last words")
    pair.end(side)
    pair.advance(6.9)
    assert pair.session.cause is None
    pair.advance(0.2)
    assert (pair.code(), pair.initiator()) == (1006, side.value)
    assert [each.opcode for each in pair.heard(side.other)] == [CLOSE]
    filters.asks[0].decide(b"last words")
    pair.advance(2.1)
    assert [each.opcode for each in pair.heard(side.other)] == [CLOSE]
    pair.assert_over()
    assert filters.events == ["opened", "ended"]


@pytest.mark.parametrize("side", list(Side))
def test_a_session_that_is_closed_does_not_wait_for_an_answer(side: Side) -> None:
    pair, filters = asking()
    pair.say(side, TEXT, b"too late")
    pair.session.close(1012, "stopping", "drain")
    assert filters.is_over
    pair.say_close(side, 1000)
    pair.say_close(side.other, 1000)
    for each in (UPSTREAM, CLIENT):
        pair.end(each)
    pair.assert_over()
    assert messages_heard(pair, side.other) == []


def test_closed_on_one_leg_only_the_other_direction_goes_on() -> None:
    pair, filters = asking()
    pair.say_close(CLIENT, 1000)
    pair.say(UPSTREAM, TEXT, b"on its way already")
    pair.say_close(UPSTREAM, 1000)
    assert not filters.is_over
    filters.asks[0].decide(b"on its way already")
    pair.settle()
    assert [each.opcode for each in pair.heard(CLIENT)] == [TEXT, CLOSE]
    assert filters.is_over


def test_a_lost_receiver_ends_what_waits_for_it() -> None:
    pair, filters = asking()
    pair.say(CLIENT, TEXT, b"for nobody")
    pair.reset(UPSTREAM)
    assert pair.close_heard(CLIENT) == (1011, b"the upstream is gone")
    assert filters.is_over
    pair.say_close(CLIENT, 1000)
    pair.end(CLIENT)
    pair.assert_over()


def test_both_legs_lost_with_an_answer_outstanding_is_an_end_at_once() -> None:
    pair, filters = asking()
    pair.say(CLIENT, TEXT, b"for nobody")
    pair.client.peer_resets()
    pair.upstream.peer_resets()
    pair.advance(0)
    pair.settle()
    pair.advance(0)
    pair.assert_over()
    assert filters.is_over


def test_an_abort_ends_them() -> None:
    pair, filters = asking()
    pair.say(CLIENT, TEXT, b"1")
    pair.session.abort()
    assert filters.is_over
    pair.settle()
    pair.assert_over()


# their own messages


def test_their_own_message_goes_out_before_the_one_they_are_asked_about() -> None:
    def answer(ask: Ask) -> None:
        assert pair.session.pump.inject(CLIENT, b"got it", False)
        assert pair.session.pump.inject(UPSTREAM, b"there is more", False)
        ask.decide(ask.payload)

    pair, filters = asking(answer)
    pair.say(CLIENT, TEXT, b"hello")
    assert messages_heard(pair, CLIENT) == [(TEXT, b"got it")]
    assert messages_heard(pair, UPSTREAM) == [(TEXT, b"there is more"), (TEXT, b"hello")]
    assert len(filters.asks) == 1, "no filter sees it"


def test_a_welcome_goes_out_when_the_session_begins() -> None:
    filters = FakeFilters(pass_on)
    welcome: list[bool] = []
    filters.on_opened = lambda: welcome.append(True)
    pair = converse(filters=filters)
    assert welcome == [True]
    assert pair.session.pump.inject(CLIENT, b"welcome", False)
    pair.settle()
    assert messages_heard(pair, CLIENT) == [(TEXT, b"welcome")]


def test_closing_the_session_while_asked_ends_it_and_the_answer_is_nothing() -> None:
    def answer(ask: Ask) -> None:
        pair.session.close(4002, "now", "filter")
        ask.decide(ask.payload)

    pair, filters = asking(answer)
    pair.send(CLIENT, frame_from(CLIENT, TEXT, b"1") + frame_from(CLIENT, TEXT, b"2"))
    assert pair.close_heard(CLIENT) == (4002, b"now")
    assert messages_heard(pair, UPSTREAM) == []
    assert len(filters.asks) == 1


def test_a_failure_in_the_middle_ends_both_legs_at_once() -> None:
    pair, filters = asking()
    pair.say(CLIENT, TEXT, b"1")
    pair.session.pump._legs[UPSTREAM].messages.say = None  # type: ignore[attr-defined]
    filters.asks[0].decide(b"1")
    pair.settle()
    pair.assert_over()
    assert pair.initiator() == "relay:abort"


def test_a_close_of_the_peers_that_waits_is_answered_in_time() -> None:
    """A client that closes behind a message that waits gets its answer when that is decided."""
    pair, filters = asking()
    pair.say(CLIENT, TEXT, b"1")
    pair.send(CLIENT, frame_from(CLIENT, CLOSE, close_payload(1000)))
    pair.advance(3)
    filters.asks[0].decide(b"1")
    pair.settle()
    pair.say_close(UPSTREAM, 1000)
    assert pair.close_heard(CLIENT) == (1000, b"")
