"""Sessions of a relay whose route has filters."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from tests.messages.fakes import Listens, Says, adds, passes
from tests.relay.support import TEXT, FakeTransport, data_of, frame_from, frames_in
from tests.relay.world import ROUTE, SWITCHING, World, answer_in, close_code
from wsrelay.config.model import PluginCall, RouteConfig
from wsrelay.interfaces import DOWN, DROP, UP, Close, ISession
from wsrelay.relay import filters
from wsrelay.relay.pump import Side
from wsrelay.relay.reconfigure import prepare

CHAT = evolve(ROUTE, mode="messages", filters=(PluginCall("own"),), filter_timeout=3.0)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Listens:
    """The one filter that is made."""
    made = Listens(passes)
    monkeypatch.setattr(filters, "make_filter", lambda call, reactor: made)
    return made


def say(world: World, leg: FakeTransport, side: Side, text: bytes) -> None:
    world.send(leg, frame_from(side, TEXT, text))


def got(leg: FakeTransport) -> list[bytes]:
    return data_of(frames_in(bytes(leg.received))[0])


def test_messages_go_through_them_both_ways(own: Listens) -> None:
    own.answer = adds(b"!")
    world = World(CHAT)
    client, upstream = world.establish()
    say(world, client, Side.CLIENT, b"up")
    say(world, upstream, Side.UPSTREAM, b"down")
    assert own.asked == [(UP, b"up", False), (DOWN, b"down", False)]
    assert (got(upstream), got(client)) == ([b"up!"], [b"down!"])


def test_they_see_the_session_and_reach_it(own: Listens) -> None:
    seen: list[Any] = []

    def answer(session: ISession, payload: bytes) -> Any:
        seen.append((session.client_address, session.path, session.upstream, session.route))
        session.send(DOWN, b"told")
        session.send(UP, b"told, too")
        session.tag("told")
        return DROP

    own.answer = answer
    world = World(CHAT)
    client, upstream = world.establish()
    say(world, client, Side.CLIENT, b"x")
    assert seen == [("192.0.2.7", "/chat", "a", "chat")]
    assert (got(client), got(upstream)) == ([b"told"], [b"told, too"])
    (session,) = world.relay.sessions.values()
    assert session.facts.tags == {"told"}
    assert list(world.relay.tags.sessions("told")) == [session]


@pytest.mark.parametrize(
    "answer",
    [Close(4000, "no"), lambda session, payload: session.close(4000, "no") or payload],
)
def test_a_close_of_theirs_goes_to_both_and_is_told_as_theirs(own: Listens, answer: Any) -> None:
    own.answer = answer
    world = World(CHAT)
    client, upstream = world.establish()
    say(world, client, Side.CLIENT, b"x")
    assert (close_code(client), close_code(upstream)) == (4000, 4000)
    assert got(upstream) == []
    world.advance(30)
    world.leave_all()
    world.assert_clean()
    (session,) = [session for _, session in world.observer.ended]
    assert session.cause is not None
    assert (session.cause.reason, session.cause.initiator) == ("no", "relay:filter")
    assert own.told == [" opened", " ended"]


def test_what_they_are_asked_when_the_session_ends_is_cancelled(own: Listens) -> None:
    cancelled: list[object] = []
    own.answer = Deferred(cancelled.append)
    world = World(CHAT)
    client, upstream = world.establish()
    say(world, client, Side.CLIENT, b"x")
    world.reset(client)
    world.reset(upstream)
    world.advance(30)
    world.assert_clean()
    assert len(cancelled) == 1
    assert own.told == [" opened", " ended"]


@pytest.mark.parametrize("meanwhile", [ROUTE, evolve(ROUTE, name="other")])
def test_who_was_let_in_before_a_reload_took_them_away_has_them_still(
    own: Listens, meanwhile: RouteConfig
) -> None:
    own.answer = DROP
    world = World(CHAT)
    client = world.ask()
    prepare(world.relay, evolve(world.relay.config, routes=(meanwhile,))).apply()
    assert world.relay.filters == {}
    upstream = world.accept()
    world.send(upstream, SWITCHING)
    upstream.received.clear()
    say(world, client, Side.CLIENT, b"x")
    assert own.payloads == [b"x"]
    assert got(upstream) == []


def test_nobody_is_let_in_without_them(own: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(call: PluginCall, reactor: Any) -> Any:
        raise ValueError("its file is gone")

    world = World(CHAT)
    client = world.ask()
    prepare(world.relay, evolve(world.relay.config, routes=(ROUTE,))).apply()
    monkeypatch.setattr(filters, "make_filter", make)
    upstream = world.accept()
    with capturedLogs() as logged:
        world.send(upstream, SWITCHING)
    assert [str(event["log_failure"].value) for event in logged] == ["its file is gone"]
    assert answer_in(client).status == 500
    world.leave_all()
    world.assert_clean()
