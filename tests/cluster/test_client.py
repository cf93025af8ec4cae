"""A Redis that may be there or not: when it is used, and when it is tried again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred, succeed

from wsrelay.cluster import client as module
from wsrelay.cluster.client import DEADLINE, LONGEST_PAUSE, Redis
from wsrelay.cluster.connection import Away, RedisConnection
from wsrelay.config.model import RedisUrl

from .fakes import Endpoint, Peer, Turns, outcome


@define(eq=False)
class World:
    url: RedisUrl = field(factory=lambda: RedisUrl("r1"))
    clock: Turns = field(factory=Turns)
    log: list[str] = field(factory=list)
    endpoint: Endpoint = field(init=False)
    redis: Redis = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.endpoint = Endpoint(self.clock)
        self.redis = Redis(self.clock, self.url, self.endpoint, self._prepare)
        self.redis.on_up = lambda: self.log.append("up")
        self.redis.on_down = lambda: self.log.append("down")

    def _prepare(self, connection: RedisConnection) -> Deferred[Any]:
        return connection.call("GET", "needed")

    @property
    def peer(self) -> Peer:
        return self.endpoint.peers[-1]

    def is_there(self) -> None:
        self.peer.commands()
        self.peer.says(b"$-1\r\n+PONG\r\n")
        assert self.redis.is_up


@pytest.fixture(autouse=True)
def no_chance(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module.random, "uniform", lambda low, high: 1.0)
    return


@pytest.fixture
def world() -> World:
    return World()


def test_it_is_up_when_it_has_done_what_is_needed(world: World) -> None:
    world.redis.start()
    assert world.peer.commands() == [[b"GET", b"needed"]]
    world.peer.says(b"$-1\r\n")
    assert world.peer.commands() == [[b"PING"]]
    assert not world.redis.is_up
    world.peer.says(b"+PONG\r\n")
    assert world.redis.is_up
    assert world.log == ["up"]
    assert world.redis.problem == ""
    assert world.peer.connection.deadline == DEADLINE


def test_user_password_and_database_come_first() -> None:
    world = World(RedisUrl("r1", user="u", password="p", database=2))
    world.redis.start()
    assert world.peer.commands() == [[b"AUTH", b"u", b"p"]]
    world.peer.says(b"+OK\r\n")
    assert world.peer.commands() == [[b"SELECT", b"2"]]
    world.peer.says(b"+OK\r\n")
    assert world.peer.commands() == [[b"GET", b"needed"]]


def test_a_password_needs_no_user() -> None:
    world = World(RedisUrl("r1", password="p"))
    world.redis.start()
    assert world.peer.commands() == [[b"AUTH", b"p"]]


def test_a_password_that_is_refused_is_tried_again(world: World) -> None:
    """It may be the one in Redis that was wrong."""
    world = World(RedisUrl("r1", password="p"))
    world.redis.start()
    world.peer.says(b"-WRONGPASS invalid username-password pair\r\n")
    assert not world.redis.is_up
    assert world.redis.problem == "it says WRONGPASS"
    world.clock.advance(5)
    assert len(world.endpoint.peers) == 2


def test_pauses_grow_to_a_bound(world: World) -> None:
    world.endpoint.is_open = False
    world.redis.start()
    world.clock.pump([0.25] * 200)
    tries = world.endpoint.tries
    pauses = [after - before for before, after in pairwise(tries)]
    assert pauses[:5] == pytest.approx([0.25, 0.5, 1, 2, 4])
    assert pauses[5:] == pytest.approx([LONGEST_PAUSE] * len(pauses[5:]))
    assert world.redis.meters.errors["connect"] == len(tries)


def test_a_redis_that_connects_and_never_answers_is_not_there(world: World) -> None:
    world.redis.start()
    world.clock.pump([2, 0, 0, 0.3])
    assert not world.redis.is_up
    assert world.redis.meters.errors["slow"] == 1
    assert len(world.endpoint.peers) == 2
    assert world.log == []


def test_a_redis_that_is_always_late_is_never_used(world: World) -> None:
    """Else each new connection would cost the handshakes of its first moment their patience."""
    world.redis.start()
    world.clock.pump([1.0])
    world.peer.says(b"$-1\r\n")  # what is needed may take longer
    assert world.peer.commands()[-1] == [b"PING"]
    world.clock.pump([DEADLINE, 0, 0])
    assert world.peer.transport.aborted
    assert world.log == []
    assert world.redis.meters.errors["slow"] == 1


def test_one_late_answer_and_nobody_waits_any_more(world: World) -> None:
    world.redis.start()
    world.is_there()
    waiting = outcome(world.redis.call("GET", "a"))
    world.clock.pump([DEADLINE, 0, 0])
    assert isinstance(waiting(), Away)
    assert not world.redis.is_up
    assert world.log == ["up", "down"]
    world.redis.tell("GET", "b")  # said to nobody
    world.clock.advance(0.25)
    world.is_there()
    assert world.log == ["up", "down", "up"]


def test_who_was_up_for_long_is_tried_again_soon(world: World) -> None:
    world.endpoint.is_open = False
    world.redis.start()
    world.clock.pump([1] * 60)
    world.endpoint.is_open = True
    world.clock.advance(LONGEST_PAUSE)
    world.is_there()
    world.clock.advance(10)
    world.peer.lost()
    count = len(world.endpoint.tries)
    world.clock.advance(0.25)
    assert len(world.endpoint.tries) == count + 1


def test_who_comes_and_goes_is_tried_less_and_less(world: World) -> None:
    world.redis.start()
    for _ in range(6):
        world.is_there()
        world.peer.lost()
        world.clock.advance(LONGEST_PAUSE)
    world.is_there()
    world.peer.lost()
    count = len(world.endpoint.tries)
    world.clock.advance(LONGEST_PAUSE - 0.5)
    assert len(world.endpoint.tries) == count


def test_a_stop_leaves_nothing_behind(world: World) -> None:
    world.redis.start()
    world.is_there()
    world.redis.stop()
    assert not world.redis.is_up
    world.peer.lost()
    assert world.clock.getDelayedCalls() == []
    assert world.log == ["up"]


def test_a_stop_between_two_attempts_is_the_last_word(world: World) -> None:
    world.endpoint.is_open = False
    world.redis.start()
    world.redis.stop()
    assert world.clock.getDelayedCalls() == []


def test_what_cannot_be_prepared_is_not_used(world: World) -> None:
    world.redis.prepare = lambda connection: succeed(None).addCallback(lambda _: 1 / 0)
    world.redis.start()
    assert not world.redis.is_up
    assert world.peer.transport.aborted
