"""What a relay tells Redis of its clients, and when it tells all again."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from wsrelay.cluster.connection import Away
from wsrelay.cluster.keys import Keys
from wsrelay.cluster.limits import BATCH, RENEWED, Limits
from wsrelay.cluster.scripts import ADMIT, COUNT
from wsrelay.relay.gate import Limit

from .fakes import outcome


@define(eq=False)
class FakeRedis:
    reactor: Clock = field(factory=Clock)
    is_up: bool = True
    calls: list[tuple[tuple[Any, ...], Deferred[Any]]] = field(factory=list)
    told: list[tuple[Any, ...]] = field(factory=list)

    def call(self, *command: Any) -> Deferred[Any]:
        self.calls.append((command, Deferred()))
        return self.calls[-1][1]

    def tell(self, *command: Any) -> None:
        self.told.append(command)


def limits() -> tuple[Any, FakeRedis]:
    redis = FakeRedis()
    return Limits(Keys("t"), redis, "me.1"), redis  # type: ignore[arg-type]


def limit(number: int = 1, most: int | None = 5) -> Limit:
    return Limit("r", bytes([10, 0, number >> 8, number & 255]), most, (10.0, 20.0))


def test_a_session_is_told_when_it_begins_and_when_it_ends() -> None:
    shared, redis = limits()
    given: list[int] = []
    release = shared.hold(limit(), lambda: given.append(1))
    asked = outcome(shared.ask(limit()))
    ((command, answer),) = redis.calls
    assert command[:6] == (
        "EVALSHA",
        ADMIT.sha,
        3,
        "t:alive",
        "t:count:r:10.0.0.1",
        "t:rate:r:10.0.0.1",
    )
    assert command[6:] == ("me.1", 1, 5, "100000.000", "1900000.000", 600_000)
    answer.callback(0)
    assert asked() == 0
    release()
    release()
    assert given == [1]
    assert redis.told == [("EVALSHA", COUNT.sha, 1, "t:count:r:10.0.0.1", "me.1", 600_000, 0)]


def test_answers_are_seconds() -> None:
    for said, seconds in ((0, 0.0), (-1, -1.0), (2300, 2.3), (1, 0.001)):
        shared, redis = limits()
        asked = outcome(shared.ask(limit()))
        redis.calls[0][1].callback(said)
        assert asked() == seconds


def test_who_cannot_be_asked_about_may_come() -> None:
    shared, redis = limits()
    asked = outcome(shared.ask(limit()))
    redis.calls[0][1].errback(Away("slow", "late"))
    assert asked() == 0
    redis.is_up = False
    assert shared.ask(limit()) is None
    shared.redis = None
    assert shared.ask(limit()) is None


def test_all_counts_are_written_some_at_a_time_and_again_after_a_while() -> None:
    shared, redis = limits()
    for number in range(BATCH + 7):
        shared.hold(limit(number), lambda: None)
    shared.hold(limit(0), lambda: None)
    shared.publish()
    ((first, answer),) = redis.calls
    assert first[2] == BATCH
    assert first[3 + BATCH :] == ("me.1", 600_000, 2, *[1] * (BATCH - 1))
    answer.callback(BATCH)
    (second, answer) = redis.calls[1]
    assert second[2] == 7
    answer.callback(7)
    assert len(redis.calls) == 2
    redis.reactor.advance(RENEWED)
    assert len(redis.calls) == 3
    assert len(redis.reactor.getDelayedCalls()) == 0


def test_a_new_beginning_in_mid_writing_leaves_one_writer() -> None:
    shared, redis = limits()
    for number in range(BATCH + 1):
        shared.hold(limit(number), lambda: None)
    shared.publish()
    shared.publish()
    while redis.calls:
        redis.calls.pop(0)[1].callback(1)
    assert len(redis.reactor.getDelayedCalls()) == 1
    shared.publish()
    assert redis.reactor.getDelayedCalls() == []


def test_nothing_is_written_while_redis_is_away() -> None:
    shared, redis = limits()
    release = shared.hold(limit(), lambda: None)
    shared.publish()
    redis.calls.pop(0)[1].errback(Away("lost", "gone"))
    redis.is_up = False
    shared.pause()
    release()
    shared.publish()
    assert (redis.calls, redis.told) == ([], [])
    assert redis.reactor.getDelayedCalls() == []


def test_what_has_ended_meanwhile_is_written_as_nothing() -> None:
    shared, redis = limits()
    for number in range(BATCH):
        shared.hold(limit(number), lambda: None)
    release = shared.hold(limit(1000), lambda: None)
    shared.publish()
    release()
    redis.calls[0][1].callback(BATCH)
    assert redis.calls[1][0][-1] == 0
