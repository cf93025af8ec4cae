"""What a balancer that learns from answers is shown, and that it cannot do harm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from zope.interface import implementer

from tests.http.plain import OK, answer, ask, check_over, in_chunks, take
from tests.relay.world import World
from wsrelay.interfaces import LEARNS, IHandshake, ILearningBalancer, IUpstream
from wsrelay.wire.headers import Headers


@implementer(ILearningBalancer)
@define(eq=False)
class Pupil:
    """Chooses the first, and remembers what it is shown."""

    wants: Callable[[IHandshake], bool] = lambda request: True
    lessons: list[tuple[str, int, str, bytes]] = field(factory=list)
    fails: bool = False
    when: Callable[[], object] = lambda: None

    def choose(self, request: IHandshake, upstreams: Sequence[IUpstream]) -> Any:
        return upstreams[0]

    def upstreams_changed(self, upstreams: Sequence[IUpstream]) -> None:
        """Do nothing."""

    def wants_answer(self, request: IHandshake) -> bool:
        return self.wants(request)

    def answered(
        self, request: IHandshake, upstream: IUpstream, status: int, headers: Headers, body: bytes
    ) -> None:
        self.when()
        if self.fails:
            raise ZeroDivisionError
        self.lessons.append((request.path, status, upstream.name, body))


def world_with(pupil: Pupil) -> World:
    world = World()
    world.pool.balancer = pupil
    return world


def test_a_short_answer_is_shown_whole_and_without_its_framing() -> None:
    pupil = Pupil()
    world = world_with(pupil)
    client = world.ask(ask("/socket.io/"))
    upstream = world.accept()
    head = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
    world.send(upstream, head + in_chunks(b"0{", b"sid}"))
    assert pupil.lessons == [("/socket.io/", 201, "a", b"0{sid}")]
    assert take(client).status == 201
    check_over(world)


def test_an_empty_answer_is_shown_too() -> None:
    pupil = Pupil()
    world = world_with(pupil)
    world.ask(ask())
    world.send(world.accept(), answer())
    assert pupil.lessons == [("/", 200, "a", b"")]
    check_over(world)


def test_a_long_answer_is_shown_once_when_there_is_enough_of_it() -> None:
    pupil = Pupil()
    world = world_with(pupil)
    client = world.ask(ask())
    upstream = world.accept()
    body = bytes(range(256)) * 20
    data = answer(body=body)
    start = len(data) - len(body)
    world.send(upstream, data[: start + LEARNS - 1])
    assert pupil.lessons == []
    world.send(upstream, data[start + LEARNS - 1 : -1])
    assert pupil.lessons == [("/", 200, "a", body[:LEARNS])]
    world.send(upstream, data[-1:])
    assert take(client).body == body
    assert len(pupil.lessons) == 1
    check_over(world)


def test_it_is_shown_before_the_client_can_ask_again() -> None:
    pupil = Pupil()
    world = world_with(pupil)
    client = world.ask(ask())
    seen: list[bytes] = []
    pupil.when = lambda: seen.append(bytes(client.received))
    world.send(world.accept(), OK)
    assert seen == [b""]
    check_over(world)


@define(eq=False)
class Others:
    """Those who are told of what was learnt."""

    telling: Deferred[None] | None = field(factory=Deferred)

    def ask(self, *_: object) -> None:
        """Know nothing."""

    def told(self) -> Deferred[None] | None:
        telling, self.telling = self.telling, None
        return telling


CLOSING = b"HTTP/1.1 200 OK\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + in_chunks(b"ok")


@pytest.mark.parametrize("said", [OK, CLOSING, CHUNKED])
@pytest.mark.parametrize("leaves", [False, True])
def test_the_end_of_an_answer_waits_until_others_know_what_was_learnt(
    said: bytes, leaves: bool
) -> None:
    world, others = world_with(Pupil()), Others()
    world.pool.elsewhere = others
    telling = others.telling
    assert telling is not None
    client = world.ask(ask())
    upstream = world.accept()
    world.send(upstream, said)
    if leaves or said is CLOSING:
        world.end(upstream)
    assert not client.received.endswith((b"ok", b"0\r\n\r\n"))
    assert len(world.relay.exchanges) == 1
    telling.callback(None)
    world.settle()
    assert take(client).body == b"ok"
    check_over(world)


def test_a_client_may_leave_while_its_answer_waits() -> None:
    world, others = world_with(Pupil()), Others()
    world.pool.elsewhere = others
    telling = others.telling
    assert telling is not None
    client = world.ask(ask())
    world.send(world.accept(), OK)
    world.reset(client)
    telling.callback(None)
    assert len(world.observer.exchanges) == 1
    check_over(world)


def test_an_answer_that_breaks_off_is_shown_as_far_as_it_came() -> None:
    pupil = Pupil()
    world = world_with(pupil)
    world.ask(ask())
    upstream = world.accept()
    world.send(upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    world.end(upstream)
    assert pupil.lessons == [("/", 200, "a", b"abc")]
    check_over(world)


def test_what_it_does_not_want_is_not_shown() -> None:
    pupil = Pupil(wants=lambda request: request.path == "/yes")
    world = world_with(pupil)
    for path in ("/no", "/yes"):
        client = world.ask(ask(path))
        world.send(world.accept() if path == "/no" else world.transports[1], OK)
        assert take(client).status == 200
    assert [path for path, *_ in pupil.lessons] == ["/yes"]
    check_over(world)


def test_its_failures_harm_nobody() -> None:
    def fails(request: IHandshake) -> bool:
        raise ZeroDivisionError

    for pupil in (Pupil(fails=True), Pupil(wants=fails)):
        world = world_with(pupil)
        client = world.ask(ask())
        world.send(world.accept(), OK)
        assert take(client).body == b"ok"
        assert pupil.lessons == []
        check_over(world)
