"""One message for many sessions: all of them, in order, and never for long at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.relay.pumps import GroundTestCase, with_every_pump
from tests.relay.support import BINARY, ROUTE, TEXT, data_of, frame_from
from wsrelay.relay.published import MAX_PUBLISHED
from wsrelay.relay.publishing import LONGEST, MOST, Publisher
from wsrelay.relay.pump import Side
from wsrelay.wire.frames import ANY_BITS, DEFLATE_BITS

CLIENT, UPSTREAM = Side.CLIENT, Side.UPSTREAM


@define(eq=False)
class Listener:
    """A session that remembers what it was sent."""

    heard: list[tuple[Side, bytes, bool]] = field(factory=list)
    result: str = "sent"

    def publish(self, side: Side, payload: bytes, is_binary: bool) -> str:
        self.heard.append((side, payload, is_binary))
        return self.result


@define(eq=False)
class Broken:
    """A session whose pump has a fault."""

    def publish(self, *_: Any) -> str:
        raise ZeroDivisionError("broken on purpose")


def result_of(deferred: Deferred[Counter[str]]) -> Any:
    """Return what a Deferred has fired with; fails if it has not."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    assert results, "it has not fired yet"
    return results[0]


@define
class Turns:
    """A reactor whose turns pass one by one; in a `Clock` all pass that begin at once."""

    due: list[Callable[[], None]] = field(factory=list)
    now: float = 0.0

    def callLater(self, seconds: float, action: Callable[[], None]) -> None:  # noqa: N802
        assert seconds == 0
        self.due.append(action)

    def seconds(self) -> float:
        return self.now


def test_few_get_it_at_once() -> None:
    clock = Clock()
    sessions = [Listener(), Listener(result="busy"), Listener()]
    done = Publisher(clock).publish(sessions, UPSTREAM, b"x", True)  # type: ignore[arg-type]
    assert result_of(done) == {"sent": 2, "busy": 1}
    assert [each.heard for each in sessions] == [[(UPSTREAM, b"x", True)]] * 3
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("count", [0, 1, MOST - 1, MOST, MOST + 1, 3 * MOST])
def test_many_get_it_some_in_each_turn(count: int) -> None:
    reactor = Turns()
    sessions: list[Any] = [Listener() for _ in range(count)]
    done = Publisher(reactor).publish(sessions, CLIENT, b"x", False)
    heard, turns = sum(len(each.heard) for each in sessions), 0
    assert heard == min(count, MOST)
    while reactor.due:
        reactor.due.pop()()
        turns += 1
        now = sum(len(each.heard) for each in sessions)
        assert now <= heard + MOST
        heard = now
    assert result_of(done)["sent"] == count
    assert {len(each.heard) for each in sessions} <= {1}
    assert turns <= count // MOST


def test_a_turn_in_which_much_is_compressed_ends_early() -> None:
    reactor = Turns()
    heard: list[Listener] = []

    class Slow(Listener):
        def publish(self, side: Side, payload: bytes, is_binary: bool) -> str:
            heard.append(self)
            reactor.now += LONGEST * 0.4
            return "sent"

    sessions: list[Any] = [Slow() for _ in range(10)]
    publisher = Publisher(reactor)
    done = publisher.publish(sessions, CLIENT, b"x", False)
    after = publisher.publish(sessions[:1], CLIENT, b"y", False)
    for count in (3, 6, 9, 10):
        assert len(heard) == count
        reactor.due.pop()()
    assert result_of(done) == {"sent": 10}
    assert result_of(after) == {"sent": 1}
    assert heard == [*sessions, sessions[0]]
    assert reactor.due == []


def test_those_that_come_meanwhile_do_not_get_it() -> None:
    clock = Clock()
    sessions: dict[int, Any] = {each: Listener() for each in range(2 * MOST)}
    done = Publisher(clock).publish(sessions.values(), CLIENT, b"x", False)
    late = sessions[-1] = Listener()
    while clock.getDelayedCalls():
        clock.advance(0)
    assert result_of(done)["sent"] == 2 * MOST
    assert late.heard == []


def test_every_session_gets_messages_in_the_order_they_were_published() -> None:
    clock = Clock()
    publisher = Publisher(clock)
    sessions: list[Any] = [Listener() for _ in range(MOST + 10)]
    first = publisher.publish(sessions, CLIENT, b"1", False)
    # The last one is among the first of the second message.
    second = publisher.publish(sessions[-1:], CLIENT, b"2", False)
    third = publisher.publish(sessions, CLIENT, b"3", False)
    while clock.getDelayedCalls():
        clock.advance(0)
    for done, count in ((first, MOST + 10), (second, 1), (third, MOST + 10)):
        assert result_of(done)["sent"] == count
    assert [payload for _, payload, _ in sessions[-1].heard] == [b"1", b"2", b"3"]
    assert [payload for _, payload, _ in sessions[0].heard] == [b"1", b"3"]


def test_one_that_is_cancelled_is_sent_all_the_same() -> None:
    clock = Clock()
    publisher = Publisher(clock)
    sessions: list[Any] = [Listener() for _ in range(2 * MOST)]
    done = publisher.publish(sessions, CLIENT, b"1", False)
    done.addErrback(lambda failure: None)
    done.cancel()
    after = publisher.publish(sessions[:1], CLIENT, b"2", False)
    while clock.getDelayedCalls():
        clock.advance(0)
    assert len(sessions[-1].heard) == 1
    assert result_of(after) == {"sent": 1}


def test_one_that_fails_is_over_and_the_next_goes_out() -> None:
    clock = Clock()
    publisher = Publisher(clock)
    sessions: list[Any] = [Listener() for _ in range(MOST)]
    broken: list[Any] = [*sessions, Broken(), *sessions]
    failed = publisher.publish(broken, CLIENT, b"1", False)
    after = publisher.publish(sessions, CLIENT, b"2", False)
    while clock.getDelayedCalls():
        clock.advance(0)
    assert result_of(failed).check(ZeroDivisionError)
    assert result_of(after)["sent"] == MOST
    assert publisher.publish([], CLIENT, b"", False).called


@with_every_pump
class SessionTests(GroundTestCase):
    """What becomes of a message for one session."""

    def test_it_is_sent_to_the_side_that_is_meant(self) -> None:
        pair = self.converse()
        for side, opcode in ((CLIENT, TEXT), (UPSTREAM, BINARY)):
            self.assertEqual(pair.session.publish(side, b"ours", opcode == BINARY), "sent")
            pair.settle()
            (frame,) = pair.heard(side)
            self.assertEqual((frame.opcode, frame.payload), (opcode, b"ours"))

    def test_compression_is_no_obstacle_and_an_unknown_extension_is(self) -> None:
        for bits, result in ((DEFLATE_BITS, "sent"), (ANY_BITS, "extension")):
            pair = self.converse(bits=bits)
            self.assertEqual(pair.session.publish(CLIENT, b"ours", False), result)
            pair.settle()
            self.assertEqual(len(pair.heard(CLIENT)), int(result == "sent"))

    def test_a_session_that_ends_gets_none_on_either_side(self) -> None:
        for end in ("close", "peer", "loss"):
            pair = self.converse()
            if end == "close":
                pair.session.close(1012, "stopping", "drain")
            elif end == "peer":
                pair.say_close(CLIENT, 1000)
            else:
                pair.end(UPSTREAM)
            for side in Side:
                self.assertEqual(pair.session.publish(side, b"ours", False), "ending")
            pair.settle()
            self.assertEqual(data_of(pair.heard(CLIENT)), [])

    def test_a_session_that_is_over_gets_none(self) -> None:
        pair = self.converse()
        pair.session.abort()
        pair.settle()
        pair.assert_over()
        self.assertEqual(pair.session.publish(CLIENT, b"ours", False), "ending")

    def test_a_client_that_takes_too_little_is_busy(self) -> None:
        pair = self.converse()
        pair.send(UPSTREAM, frame_from(UPSTREAM, TEXT, b"1", final=False))
        self.assertEqual(pair.session.publish(CLIENT, bytes(MAX_PUBLISHED), True), "sent")
        self.assertEqual(pair.session.publish(CLIENT, b"ours", False), "busy")

    def test_a_session_that_gets_messages_is_not_idle(self) -> None:
        pair = self.converse(evolve(ROUTE, idle_timeout=10.0))
        for _ in range(3):
            pair.advance(7)
            self.assertEqual(pair.session.publish(CLIENT, b"ours", False), "sent")
        pair.advance(9)
        self.assertFalse(pair.session.is_ending)
        pair.advance(1.1)
        self.assertEqual(pair.initiator(), "relay:idle")
