"""One connection to Redis: answers in order, and an end to it as soon as anything is wrong."""

from __future__ import annotations

import pytest
from attrs import define, field

from wsrelay.cluster.connection import GREETING, Away, RedisConnection, Subscribed

from .fakes import Peer, Turns, outcome


@define(eq=False)
class World:
    clock: Turns = field(factory=Turns)
    ends: list[Away] = field(factory=list)
    trips: list[float] = field(factory=list)
    connection: RedisConnection = field(init=False)
    peer: Peer = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.connection = RedisConnection(self.clock, self.ends.append, self.trips.append)
        self.peer = Peer(self.connection)


@pytest.fixture
def world() -> World:
    return World()


def test_answers_go_to_who_asked_in_order(world: World) -> None:
    first = outcome(world.connection.call("GET", "a"))
    world.connection.tell("SET", "b", 7)
    second = outcome(world.connection.call("GET", b"\xff\x00"))
    assert world.peer.commands() == [[b"GET", b"a"], [b"SET", b"b", b"7"], [b"GET", b"\xff\x00"]]
    world.clock.advance(0.1)
    world.peer.says(b"$1\r\nx\r\n+OK\r\n$")
    assert (first(), second()) == (b"x", None)
    world.peer.says(b"2\r\nyz\r\n")
    assert second() == b"yz"
    assert world.trips == [0.1] * 3
    assert world.ends == []


def test_an_answer_that_is_late_ends_the_connection_for_all(world: World) -> None:
    first = outcome(world.connection.call("GET", "a"))
    world.clock.advance(GREETING - 0.5)
    second = outcome(world.connection.call("GET", "b"))
    world.clock.pump([0.5, 0, 0])
    for found in (first(), second(), *world.ends):
        assert isinstance(found, Away)
        assert found.kind == "slow"
    assert len(world.ends) == 1
    assert world.peer.transport.aborted
    assert world.clock.getDelayedCalls() == []


def test_an_answer_in_time_gives_the_next_command_its_own_time(world: World) -> None:
    world.connection.tell("A")
    world.clock.advance(GREETING - 0.5)
    world.connection.tell("B")
    world.peer.says(b"+OK\r\n")
    world.clock.pump([0.5, 0, 0, GREETING - 0.6])
    assert world.ends == []
    world.clock.pump([0.1, 0, 0])
    assert len(world.ends) == 1


def test_a_process_that_was_late_itself_reads_before_it_judges(world: World) -> None:
    found = outcome(world.connection.call("GET", "a"))
    world.clock.advance(10 * GREETING)  # it stood still; the answer is there to be read
    world.peer.says(b"+x\r\n")
    world.clock.pump([0, 0])
    assert found() == b"x"
    assert world.ends == []
    assert world.clock.getDelayedCalls() == []


def test_an_error_for_an_answer_ends_the_connection(world: World) -> None:
    found = outcome(world.connection.call("SET", "a", 1))
    world.peer.says(b"-READONLY You can't write against a read only replica.\r\n")
    (end,) = world.ends
    assert (end.kind, found()) == ("refused", end)
    assert "READONLY You can't write" in end.why
    assert world.peer.transport.aborted


def test_what_is_secret_is_not_in_an_error(world: World) -> None:
    found = outcome(world.connection.call("AUTH", "s3cret", is_secret=True))
    world.peer.says(b"-ERR unknown command 'AUTH', with args beginning with: 's3cret'\r\n")
    assert world.ends[0].why == "it says ERR"
    assert "s3cret" not in str(found())


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x16\x03\x01\x00", b"?\r\n"]
)
def test_bytes_that_are_no_answer_end_the_connection(world: World, data: bytes) -> None:
    found = outcome(world.connection.call("PING"))
    world.peer.says(data)
    assert isinstance(found(), Away)
    assert world.ends[0].kind == "protocol"


def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one(world: World) -> None:
    world.peer.says(b"+OK\r\n")
    assert world.ends[0].kind == "protocol"
    assert isinstance(outcome(world.connection.call("GET", "a"))(), Away)


def test_who_does_not_wait_any_more_shifts_no_answers(world: World) -> None:
    given_up = world.connection.call("GET", "a")
    given_up.addErrback(lambda _: None)
    second = outcome(world.connection.call("GET", "b"))
    given_up.cancel()
    world.peer.says(b"+1\r\n+2\r\n")
    assert second() == b"2"


def test_the_end_of_the_connection_is_told_once(world: World) -> None:
    found = outcome(world.connection.call("GET", "a"))
    world.peer.lost()
    world.peer.lost()
    assert [each.kind for each in world.ends] == ["lost"]
    assert found() is world.ends[0]
    world.connection.tell("GET", "b")
    assert isinstance(outcome(world.connection.call("GET", "c"))(), Away)
    assert world.clock.getDelayedCalls() == []


def test_a_connection_that_is_closed_tells_nobody_but_those_who_wait(world: World) -> None:
    found = outcome(world.connection.call("GET", "a"))
    world.connection.close()
    assert isinstance(found(), Away)
    assert world.peer.transport.disconnecting
    world.peer.lost()
    assert world.ends == []


def test_messages_come_between_answers() -> None:
    messages: list[bytes] = []
    connection = Subscribed(Turns(), lambda _: None, lambda _: None, on_message=messages.append)
    peer = Peer(connection)
    subscribed = outcome(connection.call("SUBSCRIBE", "c"))
    peer.says(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n")
    assert subscribed() == [b"subscribe", b"c", 1]
    pong = outcome(connection.call("PING"))
    peer.says(b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n")
    assert messages == [b"hi"]
    assert pong() == [b"pong", b""]
