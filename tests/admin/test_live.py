"""What dashboards are told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.admin.support import HANDSHAKE, SESSION, STATUS, Client, World, logged, request
from tests.relay.support import BINARY, CLOSE, PING, PONG, TEXT
from wsrelay.admin.live import read_filter
from wsrelay.wire.frames import encode_frame


@pytest.fixture
def world() -> World:
    return World()


def code_of(client: Client) -> int:
    """Return the code of the close frame, which is all that has come."""
    (frame,) = client.frames()
    assert frame.opcode == CLOSE
    return int.from_bytes(frame.payload[:2], "big")


def choose(client: Client, **wanted: str) -> None:
    client.say(TEXT, json.dumps({"filter": wanted}).encode())


def test_a_dashboard_is_told_everything_at_once_and_then_every_second(world: World) -> None:
    world.control.say("hello")
    client = world.watch()
    (first,) = client.messages()
    assert first == {
        "status": STATUS,
        "sessions": {"total": 1, "sessions": [SESSION]},
        "log": world.control.lines,
    }
    world.advance(0.9, client)
    assert client.messages() == []
    world.control.say("again")
    world.advance(0.1, client)
    (second,) = client.messages()
    assert [line["text"] for line in second["log"]] == ["again"]
    world.advance(1.0, client)
    (third,) = client.messages()
    assert third["log"] == []


@pytest.mark.parametrize("options", [{"secure": True}, {"unix": True}])
def test_it_does_not_matter_what_carries_it(world: World, options: dict[str, bool]) -> None:
    assert world.watch(**options).messages()[0]["status"] == STATUS


def test_nothing_is_computed_while_nobody_looks(world: World) -> None:
    first, second = world.watch(), world.watch()
    first.transport.peer_ends()
    first.settle()
    assert len(world.reactor.getDelayedCalls()) == 1
    second.transport.peer_resets()
    second.settle()
    world.assert_at_rest()
    asked = world.control.statuses
    world.advance(10.0)
    assert world.control.statuses == asked
    client = world.watch()
    world.advance(1.0, client)
    assert len(client.messages()) == 2


def test_a_turn_is_computed_once_for_all(world: World) -> None:
    clients = [world.watch() for _ in range(5)]
    choose(clients[0], pool="chat")
    world.control.asked.clear()
    before = world.control.statuses
    world.advance(1.0, *clients)
    assert world.control.statuses == before + 1
    assert world.control.asked == [({"pool": "chat"}, 200), ({}, 200)]
    assert [len(client.messages()) for client in clients] == [2] * 5


def test_each_dashboard_chooses_its_sessions(world: World) -> None:
    client = world.watch()
    choose(client, pool="chat", upstream="a")
    world.advance(1.0, client)
    choose(client)
    world.advance(1.0, client)
    assert [wanted for wanted, _ in world.control.asked] == [
        {},
        {"pool": "chat", "upstream": "a"},
        {},
    ]
    assert len(client.messages()) == 3


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"filter",
        b"{}",
        b"[]",
        b"7",
        b'"filter"',
        b"null",
        b'{"filter": null}',
        b'{"filter": []}',
        b'{"filter": {"pool": 7}}',
        b'{"filter": {"wieght": "7"}}',
        b'{"filter": {}, "more": 1}',
        b'{"order": {}}',
        b"[" * 4000,
        b"\xff",
    ],
)
def test_a_bad_message_ends_the_connection(world: World, message: bytes) -> None:
    client = world.watch()
    client.messages()
    client.say(BINARY, message)
    assert code_of(client) == 1008
    client.say(TEXT, b'{"filter": {}}')
    world.advance(4.0, client)
    assert client.frames() == []
    world.advance(2.0, client)
    assert client.transport.lost
    world.assert_at_rest()


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: (
            st.dictionaries(st.sampled_from(["filter", "pool", "x"]), inner) | st.lists(inner)
        ),
    )
)
def test_no_message_is_a_filter_of_anything_but_texts(value: Any) -> None:
    try:
        found = read_filter(json.dumps(value).encode())
    except ValueError:
        return
    assert dict(found) == value["filter"]
    assert all(isinstance(text, str) for text in dict(found).values())


def test_a_filter_that_the_relay_refuses_ends_this_connection_only(world: World) -> None:
    client, other = world.watch(), world.watch()
    client.messages()
    choose(client, pool="gone")
    world.advance(1.0, client, other)
    assert code_of(client) == 1008
    world.advance(1.0, client, other)
    assert len(other.messages()) == 3


@pytest.mark.parametrize("pieces", [[4097], [3000, 3000]])
def test_a_message_that_is_too_long_ends_the_connection(world: World, pieces: list[int]) -> None:
    client = world.watch()
    client.messages()
    client.say(TEXT, b'{"filter": {}}'.ljust(4096))
    assert client.frames() == []
    for number, size in enumerate(pieces):
        final = number == len(pieces) - 1
        client.send(encode_frame(0 if number else TEXT, b" " * size, b"abcd", final=final))
    assert code_of(client) == 1009
    world.advance(6.0, client)
    assert client.transport.lost
    world.assert_at_rest()


def test_a_ping_is_answered_and_a_close_too(world: World) -> None:
    client = world.watch()
    client.messages()
    client.say(PING, b"hello")
    (pong,) = client.frames()
    assert (pong.opcode, pong.payload) == (PONG, b"hello")
    client.say(CLOSE, (1000).to_bytes(2, "big"))
    assert code_of(client) == 1000
    assert client.transport.lost
    world.assert_at_rest()


def test_a_dashboard_that_does_not_read_is_told_nothing_more_and_dropped(world: World) -> None:
    world.control.padding = "x" * 100_000
    client, other = world.watch(), world.watch()
    client.transport.stalled = True
    world.advance(1.0, client, other)
    held = len(client.transport.buffer)
    assert held > 100_000
    assert not client.transport.reading
    world.advance(28.0, client, other)
    assert len(client.transport.buffer) == held
    assert not client.transport.lost
    world.advance(2.0, client, other)
    assert client.transport.aborted
    assert len(other.messages()) == 32


def test_a_dashboard_that_reads_again_has_missed_no_log(world: World) -> None:
    world.control.padding = "x" * 100_000
    client = world.watch()
    client.messages()
    client.transport.stalled = True
    world.advance(1.0, client)
    world.control.say("while it was stuck")
    world.advance(20.0, client)
    client.transport.stalled = False
    client.settle()
    client.messages()
    assert client.transport.reading
    world.advance(1.0, client)
    (message,) = client.messages()
    assert [line["text"] for line in message["log"]] == ["while it was stuck"]
    world.advance(60.0, client)
    assert not client.transport.lost


def test_what_fails_is_logged_once_and_all_are_told(world: World) -> None:
    clients = [world.watch(), world.watch()]
    for client in clients:
        client.messages()
    world.control.broken = True
    with logged() as events:
        world.advance(10.0, *clients)
    assert [event["log_failure"].type for event in events if "log_failure" in event] == [
        ZeroDivisionError
    ]
    assert [code_of(client) for client in clients] == [1011, 1011]
    assert all(client.transport.lost for client in clients)
    world.assert_at_rest()


# answers that come later


@pytest.fixture
def slow(world: World) -> World:
    """A world whose relay answers when a test says so."""
    world.control.late = True
    return world


def give_all(world: World, *clients: Client) -> None:
    while world.control.waiting:
        world.control.give()
    for client in clients:
        client.settle()


def test_answers_that_come_later_are_told_when_they_are_there(slow: World) -> None:
    client = slow.watch()
    slow.advance(0.5, client)
    assert client.messages() == []
    give_all(slow, client)
    (message,) = client.messages()
    assert (message["status"], message["sessions"]["total"]) == (STATUS, 1)


def test_two_rounds_never_overlap(slow: World) -> None:
    client = slow.watch()
    slow.advance(4.0, client)
    assert len(slow.control.waiting) == 1
    give_all(slow, client)
    assert slow.control.statuses == 1
    assert len(client.messages()) == 1
    slow.advance(1.0, client)
    give_all(slow, client)
    assert slow.control.statuses == 2
    assert len(client.messages()) == 1


def test_who_comes_in_the_middle_of_a_round_has_the_next_one_at_once(slow: World) -> None:
    first = slow.watch()
    second = slow.watch()
    slow.control.give()  # the status
    slow.control.give()  # the sessions
    for client, count in ((first, 1), (second, 0)):
        client.settle()
        assert len(client.messages()) == count
    give_all(slow, first, second)
    assert (len(first.messages()), len(second.messages())) == (0, 1)


def test_no_line_of_the_log_is_lost_between_two_dashboards_of_a_round(slow: World) -> None:
    slow.control.late = False
    clients = [slow.watch() for _ in range(3)]
    choose(clients[1], pool="chat")
    slow.advance(1.0, *clients)
    slow.control.late = True
    slow.control.say("one")
    slow.advance(1.0, *clients)
    slow.control.give()
    slow.control.give()
    slow.control.say("two")
    give_all(slow, *clients)
    slow.advance(1.0, *clients)
    give_all(slow, *clients)
    for client in clients:
        told = [line["text"] for message in client.messages() for line in message["log"]]
        assert told == ["one", "two"]


def test_an_answer_that_never_comes_costs_a_turn_and_no_dashboard(slow: World) -> None:
    client = slow.watch()
    with logged() as events:
        slow.advance(4.9, client)
        slow.control.late = False  # what is asked from now on is answered
        slow.advance(0.05, client)
        assert client.messages() == []
        slow.advance(1.05, client)
    assert [event["log_level"].name for event in events if "seconds" in event] == ["warn"]
    assert client.messages()


def test_an_answer_that_fails_late_is_logged_and_all_are_told(slow: World) -> None:
    client = slow.watch()
    slow.control.broken = True
    with logged() as events:
        give_all(slow, client)
    assert [event["log_failure"].type for event in events if "log_failure" in event] == [
        ZeroDivisionError
    ]
    assert code_of(client) == 1011


def test_a_filter_that_is_refused_late_ends_this_connection_only(slow: World) -> None:
    client, other = slow.watch(), slow.watch()
    give_all(slow, client, other)
    for each in (client, other):
        assert len(each.messages()) == 1
    choose(client, pool="gone")
    slow.advance(1.0, client, other)
    give_all(slow, client, other)
    assert code_of(client) == 1008
    assert len(other.messages()) == 1


def test_who_has_left_meanwhile_is_told_nothing_and_the_others_are(slow: World) -> None:
    client, other = slow.watch(), slow.watch()
    give_all(slow, client, other)
    for each in (client, other):
        assert len(each.messages()) == 1
    slow.advance(1.0, client, other)
    client.transport.peer_resets()
    client.settle()
    give_all(slow, other)
    assert len(other.messages()) == 1


def test_nothing_is_left_when_the_last_one_leaves_in_the_middle_of_a_round(slow: World) -> None:
    client = slow.watch()
    client.transport.peer_resets()
    client.settle()
    slow.assert_at_rest()
    with logged() as events:
        give_all(slow)
    assert not [event for event in events if "log_failure" in event]
    again = slow.watch()
    give_all(slow, again)
    assert len(again.messages()) == 1


def test_there_are_so_many_dashboards_at_most(world: World) -> None:
    clients = [world.watch() for _ in range(32)]
    reply = world.ask("GET", "/live", HANDSHAKE)
    assert reply.status == 503
    assert "too many" in reply.error
    clients[0].transport.peer_ends()
    clients[0].settle()
    world.watch()


@pytest.mark.parametrize(
    "changes",
    [
        {"Sec-WebSocket-Version": "8"},
        {"Sec-WebSocket-Key": "short"},
        {"Sec-WebSocket-Key": ""},
        {"Connection": "close"},
    ],
)
def test_a_broken_handshake_is_refused_and_leaves_nothing(
    world: World, changes: dict[str, str]
) -> None:
    client = world.connect()
    client.send(request("GET", "/live", {**HANDSHAKE, **changes}))
    assert client.take()[9:10] == b"4"
    client.settle()
    assert client.transport.lost
    world.assert_at_rest()
